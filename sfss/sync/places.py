"""What can be compared and copied: a place has files, by paths that are relative to it."""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from sfss.models import etag_of

#: Takes what is wrong with one file, and says so: its path, and why.
Complain = Callable[[str, str], None]


class Item(NamedTuple):
    path: str
    size: int | None = None  #: bytes; None: the place does not know it without a look at the file
    etag: str | None = None
    md5: str | None = None  #: hex digits


#: What contents are told apart by: the ETag of sfss, or the MD5 that S3 has.
ETAG, MD5 = "etag", "md5"
#: Larger files are not read: no server keeps them. Bytes.
LARGEST = 256 * 1024 * 1024
TOO_LARGE = f"has over {LARGEST} bytes, which are more than any server keeps"


def digest_of(content: bytes, kind: str) -> str:
    return etag_of(content) if kind == ETAG else hashlib.md5(content, usedforsecurity=False).hexdigest()


class Place(Protocol):
    #: Whether :meth:`pages` has everything in the order of the paths. (Known when they have begun.)
    is_ordered: bool
    #: What it can tell contents apart by, first what costs least.
    digests_known: Sequence[str]
    #: Whether something may be there that :meth:`pages` could not see.
    is_partly_hidden: bool

    def pages(self) -> AsyncIterator[Sequence[Item]]:
        """All that is there; the first page may be empty."""

    async def find(self, paths: Sequence[str]) -> Mapping[str, Item | None]:
        """Those of *paths* that are there; None of those of which nobody can say, which was complained of."""

    async def digests(self, items: Sequence[Item], kind: str) -> Mapping[str, str]:
        """Their ETags or MD5s, by their paths. What is not there any more is left out."""

    async def read(self, items: Sequence[Item]) -> Mapping[str, bytes]:
        """Their contents, by their paths. What is not there any more, or cannot be read, is left out: the latter was
        complained of.
        """

    async def write(self, files: Mapping[str, bytes]) -> Mapping[str, str]:
        """Why which of them could not be kept, by their paths."""

    async def delete(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Why which of them are still there."""

    async def finish(self) -> None:
        """What was written is on disk then."""
