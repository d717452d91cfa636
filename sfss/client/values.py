"""What a client gives, and what it raises beside the service's own errors."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sfss.errors import (
    CannotList,
    FileTooLarge,
    Forbidden,
    InvalidRequest,
    NoStoreAvailable,
    NotFound,
    Overloaded,
    PreconditionFailed,
    SfssError,
    StoreFull,
    StoreRefused,
    Unauthorized,
)

_ERRORS: dict[int, type[SfssError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    412: PreconditionFailed,
    413: FileTooLarge,
    501: CannotList,
    502: StoreRefused,
    503: Overloaded,
    504: NoStoreAvailable,
    507: StoreFull,
}


class ServerUnreachable(SfssError):
    """No answer from the server: no connection, or none in time."""


#: What is wrong with the server or its store, and would be with other files, too.
OF_THE_SERVER = (ServerUnreachable, NoStoreAvailable, Overloaded, StoreFull, Unauthorized, Forbidden)


class UnexpectedAnswer(SfssError):
    """The answer is not one that sfss gives: another server, or something on the way, gave it."""


class Stored(NamedTuple):
    """What a put has made."""

    size: int  #: bytes
    etag: str
    path: str  #: nodes with generated names give a file another one than it was sent by


class Listed(NamedTuple):
    """A file of a listing, with what the store knows of it."""

    path: str
    size: int | None = None  #: bytes
    etag: str | None = None
    modified: str | None = None  #: RFC 3339


class Page(NamedTuple):
    """A part of a listing."""

    files: Sequence[Listed]
    folders: Sequence[str]  #: with a delimiter
    next: str | None  #: the *after* of the next one; None: that was all
    is_ordered: bool  #: whether it is in the order of the paths
    unnamed: int = 0  #: files whose paths the store does not have


_NUMBER, _TEXT = (int, type(None)), (str, type(None))


def page_in(document: dict[str, Any]) -> Page:
    """:raises UnexpectedAnswer: if it is no listing."""
    try:
        files = [
            Listed(file["path"], file.get("size"), file.get("etag"), file.get("modified"))
            for file in document["files"]
        ]
        for path, size, etag, _ in files:
            if type(path) is not str or type(size) not in _NUMBER or type(etag) not in _TEXT:
                raise TypeError
        folders = document.get("folders", ())
        return Page(files, folders, document["next"], bool(document["ordered"]), document.get("unnamed", 0))
    except (KeyError, TypeError, AttributeError):
        raise UnexpectedAnswer("The answer is not a listing of sfss; is this its URL?") from None


def document_in(body: bytes) -> dict[str, Any]:
    """:raises UnexpectedAnswer:"""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UnexpectedAnswer("The answer is not the JSON of sfss; is this its URL?")
    return document


def error_of(status: int, detail: str) -> SfssError:
    """That of an answer with *status*."""
    return _ERRORS.get(status, UnexpectedAnswer)(detail)
