"""What can be compared and copied: a place has files, by paths that are relative to it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

#: Takes what is wrong with one file, and says so: its path, and why.
Complain = Callable[[str, str], None]


class Item(NamedTuple):
    path: str
    size: int | None = None  #: bytes; None: the place does not know it without a look at the file
    etag: str | None = None


class Place(Protocol):
    #: Whether :meth:`pages` has everything in the order of the paths. (Known when they have begun.)
    is_ordered: bool
    #: Whether something may be there that :meth:`pages` could not see.
    is_partly_hidden: bool

    def pages(self) -> AsyncIterator[Sequence[Item]]:
        """All that is there; the first page may be empty."""

    async def find(self, paths: Sequence[str]) -> Mapping[str, Item]:
        """Those of *paths* that are there."""

    async def etags(self, items: Sequence[Item]) -> Mapping[str, str]:
        """Their ETags, by their paths, as sfss makes them. What is not there any more is left out."""

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
