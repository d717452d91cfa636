"""``POST /sign``: a signed URL for whoever could do himself what it lets its bearer do. The key stays here."""

import json
import re
from collections.abc import Sequence

from aiohttp import web

from sfss.errors import Forbidden, InvalidRequest
from sfss.http.messages import Request
from sfss.paths import check_path
from sfss.signing import METHODS, signed_query
from sfss.web.api.status import fresh
from sfss.web.query import argument

PATH = "/sign"
#: Seconds: of a URL, if it is not said, and at the most. (To withdraw one, the key has to be changed.)
LIFETIME, LONGEST = 3600, 7 * 24 * 3600
_NUMBER = re.compile("[0-9]{1,15}")


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
        lifetime = _number(query, "lifetime", least=1, most=LONGEST)
        limit = _number(query, "limit", least=0, most=10**15)
        lifetime = LIFETIME if lifetime is None else lifetime
        signed = signed_query(self._keys[0], method, check_path(path), lifetime=lifetime, limit=limit)
        answer = {
            "url": f"/file?{signed}",
            "method": method,
            "expires": int(argument(signed, "expires") or 0),
        }
        return fresh(json.dumps(answer) + "\n", "application/json")


def _number(query: str, name: str, *, least: int, most: int) -> int | None:
    """:raises InvalidRequest:"""
    text = argument(query, name)
    if text is None:
        return None
    if not (_NUMBER.fullmatch(text) and least <= int(text) <= most):
        raise InvalidRequest(f"The argument {name!r} is a number from {least} to {most}.")
    return int(text)
