"""``POST /sign``: a signed URL for whoever could do himself what it lets its bearer do. The key stays here."""

import json
from collections.abc import Sequence

from aiohttp import web

from sfss.errors import Forbidden, InvalidRequest
from sfss.http.messages import Request
from sfss.paths import check_path
from sfss.signing import METHODS, signed_query
from sfss.web.api.listings import number_argument
from sfss.web.api.status import fresh
from sfss.web.query import argument

PATH = "/sign"
#: Seconds: of a URL, if it is not said, and at the most. (To withdraw one, the key has to be changed.)
LIFETIME, LONGEST = 3600, 7 * 24 * 3600
#: The largest limit that a signature can have (sfss/signing.py).
MOST_BYTES = 10**15 - 1


class Signing:
    """*keys*: the first one signs; without any, nothing is signed."""

    def __init__(self, keys: Sequence[str]):
        self._keys = keys

    @property
    def is_open(self) -> bool:
        return bool(self._keys)

    def routes(self) -> list[web.RouteDef]:
        return [web.post(PATH, self.post)]

    @staticmethod
    def is_reading(request: Request) -> bool:
        """Who may read a file may pass that on; to pass on a write, one must be allowed to write."""
        return request.path == PATH and (argument(request.query, "method") or "GET") == "GET"

    async def post(self, request: web.Request) -> web.Response:
        """``path``, ``method`` (GET or PUT), ``lifetime`` (seconds), ``limit`` (bytes, of a PUT)."""
        if not self._keys:
            raise Forbidden("This server signs nothing: it has no key (--signing-key-file).")
        query = request.rel_url.raw_query_string
        path = argument(query, "path")
        if path is None:
            raise InvalidRequest("The argument 'path' is missing; it belongs in the query string.")
        method = argument(query, "method") or "GET"
        if method not in METHODS:
            raise InvalidRequest(f"The argument 'method' is {' or '.join(METHODS)}.")
        lifetime = number_argument(query, "lifetime", least=1, most=LONGEST)
        limit = number_argument(query, "limit", least=0, most=MOST_BYTES)
        lifetime = LIFETIME if lifetime is None else lifetime
        signed = signed_query(self._keys[0], method, check_path(path), lifetime=lifetime, limit=limit)
        answer = {
            "url": f"/file?{signed}",
            "method": method,
            "expires": int(argument(signed, "expires") or 0),
        }
        return fresh(json.dumps(answer) + "\n", "application/json")
