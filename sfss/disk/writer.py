"""The thread that writes into a database: it commits groups of writes, each with one wait for the disk."""

import asyncio
import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sfss.completion import Completion, tell
from sfss.disk.database import DatabaseFiles, Turn
from sfss.disk.deadlines import Deadlines
from sfss.disk.errors import full, refusal
from sfss.disk.group_commit import MOST_BYTES, Changes
from sfss.disk.reserve import Reserve
from sfss.errors import NoStoreAvailable, SfssError, StoreRefused
from sfss.metrics.families import Histogram

log = logging.getLogger("sfss.store")

#: What puts leave free on the disk, so that there is room for deletes.
RESERVE_BYTES = 1024 * 1024

Action = Callable[[sqlite3.Connection], Any]


class _Write:
    """One write that waits for its group."""

    __slots__ = ("action", "completion", "size")

    def __init__(self, action: Action, size: int, completion: Completion):
        self.action = action  # raises an SfssError if it must not happen; that changes nothing
        self.size = size
        self.completion = completion


class Writer:
    """The single writer: a thread that commits groups of writes."""

    def __init__(
        self,
        file: Path,
        files: DatabaseFiles,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
        cache_bytes: int,
    ):
        self.flush_sizes = Histogram()  # writes; these two belong to the thread
        self.flush_times = Histogram()  # µs
        self.last_failure: str | None = None
        self._file = file
        self._files = files
        self._reserve = Reserve(file.parent)
        self._database = connect(file, timeout, cache_bytes)
        self._turn = Turn(file)
        self._loop = loop
        self._timeout = timeout
        self._writes: Changes[_Write] = Changes(loop)
        self._deadlines = Deadlines(loop, timeout, self._late)
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def write(self, action: Action, size: int, completion: Completion) -> None:
        """Do *action* in the next group; *completion* gets what it returns when that is on disk."""
        self._deadlines.add(completion)
        self._writes.add(_Write(action, size, completion))

    def _late(self) -> NoStoreAvailable:
        return NoStoreAvailable(f"The write was not on disk within {self._timeout:g} s. It may still happen.")

    async def close(self) -> None:
        """Commit what waits, then end."""
        self._writes.end()
        await self._loop.run_in_executor(None, self._thread.join)
        self._deadlines.close()
        self._database.close()
        self._turn.close()

    def _run(self) -> None:
        going_on = True
        while going_on:
            first = self._writes.wait()
            if first is None:
                return
            with self._turn:
                group, going_on = self._writes.group(first)
                # Nobody waits for these any more, and nobody was told that they happened.
                group = [write for write in group if not write.completion.done()]
                outcomes = self._commit(group) if group else []
            self._loop.call_soon_threadsafe(self._settle, group, outcomes)

    def _commit(self, group: list[_Write]) -> list[Any]:
        """Do the group in one transaction; for each write its result, or why it did not happen."""
        outcomes: list[Any] = []
        began = time.perf_counter()
        size = sum(write.size for write in group)
        try:
            self._files.check()
            self._files.check_log()
            self._make_room(size)
            self._database.execute("BEGIN IMMEDIATE")
            for write in group:
                try:
                    outcomes.append(write.action(self._database))
                except SfssError as error:
                    outcomes.append(error)
            self._database.execute("COMMIT")
        except Exception as error:  # whatever it is, the writer must live on
            self._roll_back()
            if _code(error) == sqlite3.SQLITE_FULL and not size and self._reserve.release():
                try:
                    return self._commit(group)  # deletes may have it
                finally:
                    self._reserve.hold_back()
            # One that does not fit must not take the others with it. But when another process
            # holds the lock, each would wait for it as long as the group has.
            if len(group) > 1 and _code(error) != sqlite3.SQLITE_BUSY:
                return [outcome for write in group for outcome in self._commit([write])]
            self._note(str(error))
            return [_failure(error) for _ in group]
        self.flush_sizes.observe(len(group))
        self.flush_times.observe(int((time.perf_counter() - began) * 1_000_000))
        self._note(None)
        return outcomes

    def _settle(self, group: list[_Write], outcomes: list[Any]) -> None:
        """Tell those who wait, in the loop's thread."""
        for write, outcome in zip(group, outcomes):
            tell(write.completion, outcome)
        self._deadlines.settle()

    def _make_room(self, size: int) -> None:
        """See that *size* bytes fit on the disk, with a reserve.

        They are written twice: into the log, and later into the database. Without room for the
        second, not even a delete could be written any more.

        :raises StoreFull:
        """
        if self._free_bytes() >= 2 * size + RESERVE_BYTES:
            return
        # Moves what the log holds into the database, and gives its space back.
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (pages,) = self._database.execute("PRAGMA freelist_count").fetchone()
        (page_size,) = self._database.execute("PRAGMA page_size").fetchone()
        grows_by = max(size - pages * page_size, 0)
        if size and self._free_bytes() < size + grows_by + RESERVE_BYTES:
            raise full()

    def _free_bytes(self) -> int:
        """What is free on the disk, less what the log has still to be moved."""
        disk = os.statvfs(self._file.parent)
        try:
            log_size = os.stat(f"{self._file}-wal").st_size
        except FileNotFoundError:
            log_size = 0
        return disk.f_bavail * disk.f_frsize - log_size

    def _roll_back(self) -> None:
        if self._database.in_transaction:  # SQLite itself rolls back after some errors
            try:
                self._database.execute("ROLLBACK")
            except sqlite3.Error as error:
                log.error("roll-back failed", extra={"reason": str(error)})

    def _note(self, failure: str | None) -> None:
        """Log the first of a row of equal failures, and the end of the row."""
        if failure != self.last_failure:
            if failure is not None:
                log.error("store cannot write", extra={"reason": failure})
            else:
                log.info("store can write again")
            self.last_failure = failure


def connect(file: Path, busy_timeout: float, cache_bytes: int) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=busy_timeout, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA synchronous = FULL")
    # Negative: KiB, and not pages (https://sqlite.org/pragma.html#pragma_cache_size).
    database.execute(f"PRAGMA cache_size = {-(cache_bytes // 1024)}")
    # Debian's SQLite overwrites what is deleted, which on a full disk needs room of its own.
    database.execute("PRAGMA secure_delete = OFF")
    database.execute(f"PRAGMA journal_size_limit = {2 * MOST_BYTES}")
    return database


def gone(error: OSError) -> str:
    return f"{error.strerror}. Put it back as it was, or restart the server. Nothing was changed."


def _code(error: Exception) -> int:
    """The primary result code (https://sqlite.org/rescode.html), 0 if SQLite gave none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _failure(error: Exception) -> SfssError:
    if isinstance(error, SfssError):
        return error
    if isinstance(error, OSError):
        return StoreRefused(gone(error)) if error.errno == errno.ESTALE else refusal(error)
    if _code(error) == sqlite3.SQLITE_FULL:
        return full()
    if _code(error) == sqlite3.SQLITE_BUSY:
        return NoStoreAvailable("Another process kept the database locked. Nothing was changed.")
    return StoreRefused(f"The store could not write: {error}. The write may have happened all the same.")
