"""Moves what nobody asks for: all files of an old store, one listing after the other, until it is empty."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator

from sfss.disk.path_locks import PathLocks
from sfss.errors import NoStoreAvailable, SfssError, StoreFull
from sfss.metrics.families import Family, gauge
from sfss.stores.base import Lists

log = logging.getLogger("sfss.store")

#: So many files are moved at once: clients shall not wait for them.
_AT_ONCE = 8
#: When so many fail one after the other, it is not about the files.
_IN_A_ROW = 2 * _AT_ONCE
_LISTED_AT_ONCE = 1000
#: How often a process looks whether the one that moves files has ended, in seconds.
_LOOK = 1.0
#: How long it waits before it begins again after something has failed, at first and at most, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
#: How often it says how far it is, in seconds.
_REPORT = 60.0


class _Pass:
    """What came of one walk through the old store."""

    def __init__(self) -> None:
        self.seen = 0
        self.moved = 0
        self.unnamed = 0  #: files whose paths the old store does not know
        self.failed = 0
        self.reason = ""  #: of the first failure
        self.in_a_row = 0  #: the last ones that failed since a store is away, or full
        self.is_cut = False  #: it has ended early, since it is


class Mover:
    """Calls *move* with the path of each file of *old*, in one process of those that share *locks*. It says whether
    *old* has one file less now.
    """

    def __init__(self, old: Lists, move: Callable[[str], Awaitable[bool]], locks: PathLocks):
        self._old, self._move, self._locks = old, move, locks
        self._task: asyncio.Task[None] | None = None
        self._failed = 0  # of the last pass
        self.is_over = False  #: the old store was seen to be empty

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def families(self) -> list[Family]:
        over = gauge("sfss_migration_finished", "1 once the old store is empty", join="max")
        over.add((), int(self.is_over))
        failed = gauge("sfss_migration_failed_files", "Files that the last pass could not move", join="max")
        failed.add((), self._failed)
        return [over, failed]

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        begun = time.monotonic()
        total = 0
        has_office = has_told_of_unnamed = False
        while True:
            try:
                while not has_office:
                    has_office = self._locks.take_office()
                    if not has_office:
                        await asyncio.sleep(_LOOK)
                done = await self._pass(total)
            except SfssError as error:
                done = _Pass()
                done.is_cut, done.reason = True, str(error)
            except Exception:
                log.exception("moving files has failed; it is tried again")
                await asyncio.sleep(_LONGEST_PAUSE)
                continue
            total += done.moved
            self._failed = done.failed
            if not done.seen and not done.is_cut and not done.unnamed:
                self.is_over = True
                log.info(
                    "the old store is empty and can go: start sfss without migrate_from",
                    extra={"moved": total, "took_s": round(time.monotonic() - begun, 1)},
                )
                return
            if not done.seen and not done.is_cut:
                if not has_told_of_unnamed:
                    has_told_of_unnamed = True
                    log.warning(
                        "all files were moved whose paths the old store knows; "
                        "the others are, when somebody reads them",
                        extra={"moved": total, "others": done.unnamed},
                    )
                pause = _LONGEST_PAUSE
            elif done.is_cut or done.failed or not done.moved:
                log.warning(
                    "not all files could be moved; trying again",
                    extra={
                        "moved": total,
                        "failed": done.failed,
                        "reason": done.reason or "files are listed that are not there",
                        "in_s": pause,
                    },
                )
            else:
                pause = _FIRST_PAUSE
                continue  # once more, to see that nothing is left
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _pass(self, before: int) -> _Pass:
        """One walk. *before*: files that were moved earlier, for the log. :raises SfssError:"""
        done = _Pass()
        cursor = ""
        reported = time.monotonic()
        while True:
            listing = await self._old.list_files("", cursor, _LISTED_AT_ONCE)
            done.unnamed += listing.unnamed
            paths = iter([file.path for file in listing.files])
            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(self._move_some(paths, done))
            if listing.cursor is None or done.is_cut:
                return done
            cursor = listing.cursor
            if time.monotonic() - reported > _REPORT:
                reported = time.monotonic()
                log.info("moving files", extra={"moved": before + done.moved, "failed": done.failed})

    async def _move_some(self, paths: Iterator[str], done: _Pass) -> None:
        for path in paths:
            if done.is_cut:
                return
            done.seen += 1
            try:
                was_moved = await self._move(path)
                done.moved += was_moved  # (not in one line: others count meanwhile)
                done.in_a_row = 0
            except SfssError as error:
                done.failed += 1
                done.reason = done.reason or f"{path}: {error}"
                # What is of one file alone is no reason not to try the next one.
                if isinstance(error, (NoStoreAvailable, StoreFull)):
                    done.in_a_row += 1
                    done.is_cut |= done.in_a_row >= _IN_A_ROW
                else:
                    done.in_a_row = 0
            except Exception as error:  # one file's own trouble is not that of all behind it
                log.exception("a file could not be moved", extra={"path": path})
                done.failed += 1
                done.reason = done.reason or f"{path}: {error}"
