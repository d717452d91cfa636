"""The values that travel between the floors."""

from dataclasses import dataclass
from typing import NamedTuple

import xxhash

from sfss.errors import PreconditionFailed

#: The header in which a server says whether it is a ``gateway`` or a ``node``.
SERVER_HEADER = "X-SFSS-Server"
SERVERS = ("gateway", "node")
#: Where a gateway is, if nobody says.
DEFAULT_URL = "http://127.0.0.1:8255"


class FileInfo(NamedTuple):
    """What is known of a file without its content."""

    size: int  #: bytes
    etag: str  #: see :func:`etag_of`
    modified: float | None = None  #: seconds since the epoch, where the store knows it
    sha1: str = ""  #: 40 hex digits, where the store knows it


class StoredFile(NamedTuple):
    """A file as a store gives it."""

    content: bytes | bytearray
    etag: str  #: see :func:`etag_of`
    modified: float | None = None  #: seconds since the epoch, where the store knows it
    sha1: str = ""  #: 40 hex digits, where the store knows it

    @property
    def info(self) -> FileInfo:
        return FileInfo(len(self.content), self.etag, self.modified, self.sha1)


def etag_of(content: bytes | bytearray | memoryview) -> str:
    """The entity tag of *content*: its XXH3-128 as 32 hex digits, without the quotes.

    It depends on the content alone, so every gateway and every store gives the same. It tells
    versions apart and is no defence against someone who makes collisions on purpose: all that
    could win him is a stale cache of his own file. (SHA-1 of 100 KB costs more than the rest
    of the request: 45 µs against 0.8.)
    """
    return xxhash.xxh3_128_hexdigest(content)


@dataclass(frozen=True, slots=True)
class Precondition:
    """The state that a file must be in for a write to happen (RFC 9110 13.1.1, 13.1.2).

    ``None`` asks for nothing; an empty tuple never matches; ``("*",)`` is any file at all.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    sha1: str | None = None  #: of the content that is put, 40 hex digits; for stores that know SHA-1s

    def check(self, current: FileInfo | None) -> None:
        """:raises PreconditionFailed: if *current* (``None``: no file) is not in that state."""
        if self.if_match is not None and not matches(self.if_match, current):
            raise PreconditionFailed(
                "If-Match does not hold: "
                + (f'the file\'s ETag is "{current.etag}".' if current else "there is no such file.")
            )
        # RFC 9110 13.2.2: If-None-Match is looked at after If-Match held.
        if self.if_none_match is not None and matches(self.if_none_match, current):
            raise PreconditionFailed("If-None-Match does not hold: the file exists already.")


def matches(etags: tuple[str, ...], current: FileInfo | None) -> bool:
    """Whether *etags*, or ("*",), are fulfilled by the file as it is (``None``: there is none)."""
    return current is not None and ("*" in etags or current.etag in etags)
