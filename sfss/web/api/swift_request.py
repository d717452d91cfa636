"""A request of Swift's API, taken apart, and an answer without a body."""

from typing import NamedTuple

from sfss.http.exchange import Exchange
from sfss.http.messages import Headers, Response
from sfss.web.api.object_headers import lines_of
from sfss.web.api.swift_tempurl import Opened
from sfss.web.streams import Incoming


class Asked(NamedTuple):
    """A request, and what it is about."""

    exchange: Exchange
    body: Incoming
    headers: Headers
    query: str
    account: int
    account_name: str
    container: str
    name: str  #: of the object
    is_owner: bool  #: whether it comes from a user of the account; else it may read what everybody may
    may_write: bool
    opened: Opened | None = None  #: the temporary URL by which it comes


def answer(status: int, headers: dict[str, str] | None = None, *, content_type: str = "") -> Response:
    more = {"Content-Type": content_type} if content_type else {}
    return Response(status, lines_of({**(headers or {}), **more}))


def document(content: str | bytes, content_type: str, headers: dict[str, str] | None = None) -> Response:
    body = content.encode() if isinstance(content, str) else content
    return Response(200, lines_of({**(headers or {}), "Content-Type": content_type}), body)
