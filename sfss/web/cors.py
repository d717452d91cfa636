"""Cross-origin requests from pages of other sites (https://fetch.spec.whatwg.org/#http-cors-protocol).

Off without an allow-list. What is allowed is to call the API; cookies play no part in it.
"""

from aiohttp import web

_METHODS = "GET, HEAD, PUT, POST, DELETE"
_REQUEST_HEADERS = "Authorization, Content-Type, If-Match, If-None-Match, If-Range, Range, X-Request-ID"
_ANSWER_HEADERS = "Accept-Ranges, Content-Range, ETag, Location, Retry-After, X-Request-ID"
_MAX_AGE = "7200"  # seconds; browsers do not believe more


class Cors:
    """*origins* may use the API; ``*`` is everybody."""

    def __init__(self, origins: tuple[str, ...]):
        self._origins = frozenset(origins)

    @property
    def common_headers(self) -> dict[str, str]:
        """Headers of every answer, so that a cache gives to no origin what is another one's."""
        if not self._origins:
            return {}
        if "*" in self._origins:
            return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _ANSWER_HEADERS}
        return {"Vary": "Origin"}

    def preflight(self, request: web.BaseRequest) -> web.Response | None:
        """The answer, if *request* asks whether a page may send another one."""
        if (
            request.method != "OPTIONS"
            or "Access-Control-Request-Method" not in request.headers
            or self._allowed(request) is None
        ):
            return None
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": _REQUEST_HEADERS,
                "Access-Control-Max-Age": _MAX_AGE,
            },
        )

    def answer(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Let the page that sent *request* see *response*, if it may."""
        allowed = self._allowed(request)
        if allowed is not None and allowed != "*":
            response.headers["Access-Control-Allow-Origin"] = allowed
            response.headers["Access-Control-Expose-Headers"] = _ANSWER_HEADERS

    def _allowed(self, request: web.BaseRequest) -> str | None:
        origin = request.headers.get("Origin")
        if origin is None:
            return None
        if "*" in self._origins:
            return "*"
        return origin if origin in self._origins else None
