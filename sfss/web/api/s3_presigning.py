"""``POST /_page/sign``: a URL of S3 that opens an object for who has no key. For the page: the key stays here."""

import json
from urllib.parse import quote

from sfss.errors import InvalidRequest, MethodNotAllowed, SwiftUnauthorized
from sfss.http.exchange import Exchange
from sfss.http.messages import Request, Response
from sfss.web.api.listings import number_argument
from sfss.web.api.page import ELSEWHERE
from sfss.web.api.s3_signature import MOST_EXPIRES, presigned
from sfss.web.api.status import fresh_response
from sfss.web.api.swift_identity import Identity
from sfss.web.operations import Call, MakeOperation
from sfss.web.query import argument

PATH = f"{ELSEWHERE}/sign"
#: Seconds that such a URL is good for, if it is not said. (A rotated key ends it sooner.)
LIFETIME = 3600


class Presigning:
    """*identity* knows who has a token."""

    def __init__(self, identity: Identity):
        self._identity = identity

    def find(self, request: Request) -> tuple[MakeOperation, str] | None:
        """See :class:`Api`."""
        if request.path != PATH:
            return None
        if request.method != "POST":
            raise MethodNotAllowed(request.method, ["POST"])
        return lambda asked: Call(asked, self.post), PATH

    async def post(self, exchange: Exchange) -> Response:
        """``path``: CONTAINER/OBJECT, which need not be there; ``lifetime``: seconds.

        :raises Unauthorized: :raises InvalidRequest:
        """
        user = await self._identity.user_of(exchange.headers)
        if user is None:
            raise SwiftUnauthorized("To sign a URL takes a token: X-Auth-Token.")
        path = argument(exchange.query, "path") or ""
        container, _, name = path.partition("/")
        if not container or not name:
            raise InvalidRequest("The argument 'path' is CONTAINER/OBJECT.")
        lifetime = number_argument(exchange.query, "lifetime", least=1, most=MOST_EXPIRES) or LIFETIME
        host = exchange.headers.get("host")
        url, expires = presigned(user, "GET", host, f"/{quote(path)}", lifetime)
        return fresh_response(json.dumps({"url": url, "expires": expires}).encode(), "application/json")
