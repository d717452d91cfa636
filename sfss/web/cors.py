"""Cross-origin requests from pages of other sites (https://fetch.spec.whatwg.org/#http-cors-protocol).

Off without an allow-list. What is allowed is to call the API; cookies play no part in it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sfss.http.messages import Request, Response, header_lines

_METHODS = "GET, HEAD, PUT, POST, DELETE"
_MAX_AGE = "7200"  # seconds; browsers do not believe more
#: What upload widgets and HTTP libraries send by themselves. It changes nothing here.
_OF_WIDGETS = ("Accept", "Cache-Control", "Pragma", "X-Requested-With")


class ApiHeaders(NamedTuple):
    """The headers of an API that its clients send, and that they read, as they are documented."""

    request: frozenset[str]
    answer: frozenset[str]


class Cors:
    """*origins* may use the API; ``*`` is everybody. *headers*: of the API that is served."""

    def __init__(self, origins: tuple[str, ...], headers: ApiHeaders):
        self._origins = frozenset(origins)
        self._request_headers = _listed({*headers.request, *_OF_WIDGETS})
        self._answer_headers = _listed(headers.answer)

    @property
    def common_headers(self) -> dict[str, str]:
        """Headers of every answer, so that a cache gives to no origin what is another one's."""
        if not self._origins:
            return {}
        if "*" in self._origins:
            return {
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Expose-Headers": self._answer_headers,
            }
        return {"Vary": "Origin"}

    def allows(self, origin: str) -> bool:
        """Whether pages of *origin* may use the API."""
        return "*" in self._origins or origin in self._origins

    def preflight(self, request: Request) -> Response | None:
        """The answer, if *request* asks whether a page may send another one."""
        if (
            request.method != "OPTIONS"
            or "access-control-request-method" not in request.headers
            or not self.allows(request.headers.get("origin"))
            or "origin" not in request.headers
        ):
            return None
        headers = {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": self._request_headers,
            "Access-Control-Max-Age": _MAX_AGE,
        }
        return Response(204, header_lines(headers))

    def headers_for(self, request: Request) -> dict[str, str]:
        """Headers of the answer that let the page which sent *request* see it, if it may."""
        origin = request.headers.get("origin")
        if "*" in self._origins or origin not in self._origins:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": self._answer_headers,
        }


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
