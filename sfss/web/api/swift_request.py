"""A request of Swift's API, taken apart, and an answer without a body."""

from typing import NamedTuple

from aiohttp import web

from sfss.http.messages import Headers


class Asked(NamedTuple):
    """A request, and what it is about."""

    request: web.Request
    headers: Headers
    query: str
    account: int
    account_name: str
    container: str
    name: str  #: of the object
    is_owner: bool  #: whether it comes from a user of the account; else it may read what everybody may


def answer(status: int, headers: dict[str, str] | None = None, *, content_type: str = "") -> web.Response:
    more = {"Content-Type": content_type} if content_type else {}
    return web.Response(status=status, headers={**(headers or {}), **more})
