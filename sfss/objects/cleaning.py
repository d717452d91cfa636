"""Removes what no object has any more: the pieces of what was replaced, deleted, or never finished.

What was replaced or deleted is garbage, and stays for a while: somebody may still be reading it. It is told from what
is in use within the transaction that names a content, and again when it is removed. What a process has
begun and not finished, because it was killed, is found by its age: contents of several pieces say that they are being
written, and of those in one piece the store is asked, where it lists in order.
"""

import asyncio
import logging
import time
from collections.abc import Iterable

from sfss.errors import AlreadyDeleted, NotFound, SfssError
from sfss.objects.catalog import Catalog
from sfss.objects.clock import now_us
from sfss.objects.contents import PREFIX, TIME_DIGITS, begun_at, piece_path
from sfss.objects.models import Garbage
from sfss.service import FileService

log = logging.getLogger("sfss.objects")

_SECOND = 1_000_000
#: Seconds between two rounds.
INTERVAL = 60.0
#: Between two looks for what a killed process has left.
ORPHANS_INTERVAL = 3600.0
#: Nobody writes a content for so long without saying so (seconds).
ABANDONED = 24 * 3600.0
_AT_ONCE = 200
#: What was removed stays known for so long (seconds), so that nobody who still writes it gets it named.
_REMEMBERED = 7 * 86400.0
#: Where the number of pieces is not known: after so many that are not there, none comes.
_MISSES = 4


class Cleaner:
    """Of the files in *service* that *catalog* knows, or does not. *grace*: garbage stays for so many seconds, since a
    download of it may be under way.
    """

    def __init__(self, service: FileService, catalog: Catalog, *, grace: float = 3600.0):
        self._service = service
        self._grace = grace
        self._catalog = catalog
        self._looked_up_to = ""  # contents that are older have been looked at

    async def keep_cleaning(self) -> None:
        """Now and then. (A store that cannot list, or not in order, is asked by ``sfss objects fsck`` alone.)"""
        looked = -ORPHANS_INTERVAL
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                if self._service.lists_in_order and time.monotonic() - looked >= ORPHANS_INTERVAL:
                    looked = time.monotonic()
                    await self.give_up(await self.orphans())
                await self.clean()
            except SfssError as error:  # there will be a next time
                log.warning("cleaning has stopped", extra={"reason": str(error)})
            except Exception:
                log.exception("cleaning has failed")

    async def clean(self, *, grace: float | None = None, abandoned: float = ABANDONED) -> int:
        """Remove what is due; how many contents."""
        while await self._catalog.expire(int(time.time()), _AT_ONCE) == _AT_ONCE:
            pass  # there are more
        for content in await self._catalog.abandoned(now_us() - int(abandoned * _SECOND)):
            await self._catalog.give_up(content, None)
        before = now_us() - int((self._grace if grace is None else grace) * _SECOND)
        count = 0
        while found := await self._catalog.garbage(before, _AT_ONCE):
            gone = []
            for garbage in found:
                try:
                    await self._remove(garbage)
                    gone.append(garbage.content)
                except SfssError as error:
                    log.warning(
                        "pieces cannot be removed", extra={"content": garbage.content, "reason": str(error)}
                    )
                    await self._catalog.put_off(garbage.content)
            await self._catalog.removed(gone)
            count += len(gone)
        await self._catalog.forget_removed(now_us() - int(_REMEMBERED * _SECOND))
        return count

    async def _remove(self, garbage: Garbage) -> None:
        number = misses = 0
        while (garbage.pieces is None and misses < _MISSES) or number < (garbage.pieces or 0):
            try:
                await self._service.delete(piece_path(garbage.content, number))
                misses = 0
            except (NotFound, AlreadyDeleted):
                misses += 1
            number += 1

    async def orphans(self, *, older_than: float = ABANDONED) -> list[str]:
        """Contents in the store that the catalog does not know, and that are so old (seconds).

        :raises CannotList: if the store does not say what it has.
        """
        before = now_us() - int(older_than * _SECOND)
        is_ordered = self._service.lists_in_order
        prefix = f"{PREFIX}{self._catalog.id}/"
        cursor: str | None = f"{prefix}{self._looked_up_to}" if is_ordered and self._looked_up_to else ""
        found: list[str] = []
        delimiter = "/" if is_ordered else ""
        while cursor is not None:
            listing = await self._service.list_files(prefix, cursor, 1000, delimiter)
            names = [folder[len(PREFIX) : -1] for folder in listing.folders]
            names += sorted({file.path[len(PREFIX) :].rpartition("/")[0] for file in listing.files})
            ages = {name: begun for name in names if (begun := begun_at(name)) is not None}
            old = [name for name, begun in ages.items() if begun < before]
            known = await self._catalog.known(old)
            found += [name for name in old if name not in known]
            cursor = listing.cursor
            if is_ordered and len(old) < len(ages):
                break  # all that comes is younger
        self._looked_up_to = f"{before:0{TIME_DIGITS}x}"
        return list(dict.fromkeys(found))

    async def give_up(self, contents: Iterable[str]) -> None:
        """Make garbage of them."""
        for content in contents:
            await self._catalog.give_up(content, None)
