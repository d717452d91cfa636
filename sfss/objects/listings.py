"""Listings of names: forwards, backwards, and up to an end."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import TypeVar

from sfss.objects.models import Query
from sfss.stores.listing import HasPath, Page, Position, Walk, behind, folder_of, in_pieces, page_of

__all__ = ["HasPath", "Page", "every", "listed"]

T = TypeVar("T", bound=HasPath)

#: Greater than any name: those are shorter.
_END = "\U0010ffff" * 1025
_FIRST, _MOST = 4, 1000


def listed(read: Callable[[bool, str, int], list[T]], query: Query) -> Page[T]:
    """*read* gives so many entries in their order, from a name on; or, if its first argument is true, those before that
    name, the last first.
    """
    if query.reverse:
        return _reversed_page(partial(read, True), query)
    walk = in_pieces(partial(read, False))
    if query.end_marker:
        walk = _until(walk, query.end_marker)
    return page_of(walk, query.prefix, query.marker, query.limit, query.delimiter)


async def every(ask: Callable[[Query], Awaitable[Page[T]]], query: Query) -> AsyncIterator[T]:
    """All that *ask* lists, page by page, as *query* says."""
    marker: str | None = query.marker
    while marker is not None:
        page = await ask(query._replace(marker=marker))
        for each in page.files:
            yield each
        marker = page.cursor


def _until(walk: Walk[T], end: str) -> Walk[T]:
    """*walk*, up to what is less than *end*."""

    def shorter(position: Position) -> Iterator[T]:
        for entry in walk(position):
            if entry.path >= end:
                return
            yield entry

    return shorter


def _reversed_page(read: Callable[[str, int], list[T]], query: Query) -> Page[T]:
    """The end of the listing first. *read* gives so many entries before a name, the last first."""
    files: list[T] = []
    folders: list[str] = []
    bound = (behind(query.prefix) if query.prefix else None) or _END
    if query.marker:
        bound = min(bound, query.marker)
    last, count = "", _FIRST
    while True:
        entries = read(bound, count)
        count = min(count * 4, _MOST)
        for entry in entries:
            if not entry.path.startswith(query.prefix) or (
                query.end_marker and entry.path <= query.end_marker
            ):
                return Page(files, folders, None)
            if len(files) + len(folders) == query.limit:
                return Page(files, folders, last)
            folder = folder_of(entry.path, query.prefix, query.delimiter)
            if folder is None:
                files.append(entry)
                bound = last = entry.path
                continue
            folders.append(folder)
            bound = last = folder
            count = _FIRST
            break
        else:
            if not entries:
                return Page(files, folders, None)
