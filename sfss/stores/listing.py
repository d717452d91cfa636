"""Listings of what is in the order of its paths."""

import sys
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from sfss.stores.base import Listed, Listing

#: So many files are read at once, at first and at most; and at first where none is passed over.
_FIRST, _MOST = 4, 1000
_FIRST_OF_ALL = 64
_SURROGATES = range(0xD800, 0xE000)


class Position:
    """Where a walk through all files is. Who walks gives no file whose path is less than *start*, which whoever is
    given files may put further on. *first*: so many are to be read at once at first; *left*: so many are still wanted.
    """

    def __init__(self, start: str, first: int, left: int):
        self.start = start
        self.first = first
        self.left = left


class HasPath(Protocol):
    @property
    def path(self) -> str: ...


T = TypeVar("T", bound=HasPath)
Walk = Callable[[Position], Iterator[T]]


class Page(NamedTuple, Generic[T]):
    """A part of a listing: what is in it, the folders, and where the next one begins."""

    files: list[T]
    folders: list[str]
    cursor: str | None


def in_order(walk: Walk[Listed], prefix: str, cursor: str, limit: int, delimiter: str) -> Listing:
    """See :meth:`sfss.stores.base.Lists.list_files`."""
    page = page_of(walk, prefix, cursor, limit, delimiter)
    return Listing(page.files, page.cursor, folders=page.folders)


def page_of(walk: Walk[T], prefix: str, cursor: str, limit: int, delimiter: str) -> Page[T]:
    """What of *walk* begins with *prefix*, from behind *cursor*. What is in a folder is passed over, not read."""
    files: list[T] = []
    folders: list[str] = []
    start: str | None = prefix
    if cursor:
        is_folder = folder_of(cursor, prefix, delimiter) == cursor
        start = behind(cursor) if is_folder else max(prefix, just_after(cursor))
    if start is None:
        return Page(files, folders, None)
    position = Position(start, _FIRST if delimiter else _FIRST_OF_ALL, limit + 1)
    last = ""
    left = limit
    for file in walk(position):
        if not file.path.startswith(prefix):
            break
        if not left:
            return Page(files, folders, last)
        left -= 1
        folder = folder_of(file.path, prefix, delimiter) if delimiter else None
        if folder is None:
            files.append(file)
            last = file.path
            continue
        folders.append(folder)
        last = folder
        further = behind(folder)
        if further is None:
            break
        position.start = further
    return Page(files, folders, None)


def in_pieces(read: Callable[[str, int], list[T]]) -> Walk[T]:
    """A walk by *read*, which gives so many files from a path on: few at first, and whenever some were passed over."""

    def walk(position: Position) -> Iterator[T]:
        count = min(position.first, position.left)
        while True:
            files = read(position.start, count)
            for file in files:
                if file.path >= position.start:
                    position.left -= 1
                    yield file
            if len(files) < count:
                return
            end = just_after(files[-1].path)
            count = min(count * 16, _MOST) if end >= position.start else _FIRST
            count = min(count, max(position.left, 1))
            position.start = max(end, position.start)

    return walk


def just_after(path: str) -> str:
    """The least text that is greater than *path*."""
    return path + "\0"


def behind(prefix: str) -> str | None:
    """The least text that is greater than all that begins with *prefix*; None: there is none."""
    for length in range(len(prefix), 0, -1):
        code = ord(prefix[length - 1]) + 1
        if code in _SURROGATES:
            code = _SURROGATES.stop
        if code <= sys.maxunicode:
            return prefix[: length - 1] + chr(code)
    return None


def folder_of(path: str, prefix: str, delimiter: str) -> str | None:
    """What *path* begins with, up to the first *delimiter* behind *prefix*; None: it is in no such folder."""
    end = path.find(delimiter, len(prefix)) if delimiter and path.startswith(prefix) else -1
    return path[: end + len(delimiter)] if end >= 0 else None
