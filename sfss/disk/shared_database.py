"""A SQLite database that several processes read and write at once.

Many writes share one fsync. They queue up for a single writer thread (``writer.py``), which takes all that are waiting,
does them in one transaction, and only then acknowledges them (WAL mode with synchronous=FULL: a commit has returned
when it is on disk, https://sqlite.org/wal.html). While it waits for the disk, the next group gathers.

Reads do not wait for writes, nor for a thread: in WAL mode a reader sees the last commit, and reading a small row from
the page cache takes less time than handing it to a thread and back. Long reads have a thread (``reader.py``).

A kill at any moment leaves the last commit. One process writes at a time, and the others wait for their turn. Only the
user that runs sfss can read the database, or lock it. Before each group of writes it is checked that the files are
still those that were opened: what is written into one that was removed or cut off would be gone with the process.
"""

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sfss.disk.database import DatabaseFiles, Schema, Turn, claim, hold
from sfss.disk.folder import make_folders, sync_folder
from sfss.disk.reader import Reader
from sfss.disk.reserve import Reserve
from sfss.disk.writer import Writer, connect, gone
from sfss.errors import StoreRefused, StoreUnusable

log = logging.getLogger("sfss.store")

T = TypeVar("T")

#: Memory for pages that long reads look at: what they read is not read again soon.
_LONG_CACHE = 2 * 1024 * 1024


class SharedDatabase:
    """The database *file* of this *schema*, in a folder that is made if it is not there.

    *timeout*: seconds that a write, or a long read, may take, waiting for its turn included. *cache_bytes*: memory for
    pages of the database, half of it for reads and half for writes.
    """

    writer: Writer
    _long: Reader
    _reader: sqlite3.Connection

    def __init__(self, file: Path, schema: Schema, timeout: float, cache_bytes: int):
        self._file = file
        self._schema = schema
        self._timeout = timeout
        self._cache_bytes = cache_bytes
        self._claim: int | None = None  # see hold()
        self._files = DatabaseFiles(file)
        self._is_open = False

    def prepare(self) -> None:
        """Make the database if it is not there; see to it that it is sfss's and can be written.

        :raises StoreUnusable: if not, with a sentence for the operator.
        """
        _create(self._file, self._schema)

    def start(self) -> None:
        """Open the database, or make it, in the running loop. Raises as :meth:`prepare` does."""
        self.prepare()
        self._claim = hold(self._file.parent, alone=False)
        try:
            with _room_to_open(self._file):
                self._reader = self._connect(self._cache_bytes // 2)
                self.read_row("SELECT count(*) FROM sqlite_master")  # now all its files are there
                self._files.note()
        except (sqlite3.Error, OSError, StoreRefused) as error:
            raise StoreUnusable(f"Cannot use {self._file}: {error}.") from error
        loop = asyncio.get_running_loop()
        self.writer = Writer(self._file, self._files, loop, self._timeout, self._cache_bytes // 2)
        self._long = Reader(lambda: self._connect(_LONG_CACHE), self._timeout)
        self._is_open = True

    def _connect(self, cache_bytes: int) -> sqlite3.Connection:
        database = connect(self._file, self._timeout, cache_bytes)
        database.execute("PRAGMA query_only = ON")
        return database

    def state(self) -> bytes:
        """What is another one after each commit, whichever process makes it. It costs a tenth of a small read."""
        return self._files.state()

    def read_row(self, query: str, *arguments: str | int) -> tuple[Any, ...] | None:
        """The first row, if there is one. :raises StoreRefused:"""
        rows = self.read_rows(query, *arguments)
        return rows[0] if rows else None

    def read_rows(self, query: str, *arguments: str | int) -> list[tuple[Any, ...]]:
        """:raises StoreRefused:"""
        try:
            # fetchall, not fetchone: a statement that is not at its end keeps its snapshot.
            return self._reader.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    async def read_long(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """What *ask* returns, in a thread. :raises StoreRefused: :raises NoStoreAvailable: if it takes too long."""
        try:
            return await self._long.read(ask)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: sqlite3.Error) -> StoreRefused:
        log.error("store read failed", extra={"store": f"sqlite:{self._file}", "reason": str(error)})
        return StoreRefused(f"The store could not read: {error}.")

    def check(self) -> None:
        """Return if its files are still there. :raises StoreRefused:"""
        try:
            self._files.check()
            self._files.check_log()
        except OSError as error:
            raise StoreRefused(gone(error)) from error

    def size_on_disk(self) -> int:
        """Bytes of the database and its write-ahead log."""
        total = 0
        for suffix in ("", "-wal"):
            try:
                total += os.stat(f"{self._file}{suffix}").st_size
            except OSError:
                continue  # there is no log before the first write
        return total

    async def close(self) -> None:
        """Commit what waits, and let go of everything."""
        if self._is_open:
            await self.writer.close()
            await self._long.close()
            self._reader.close()
            self._files.close()
            Reserve(self._file.parent).hold_back()  # of what its files have taken
        if self._claim is not None:
            os.close(self._claim)


def _create(file: Path, schema: Schema) -> None:
    """Make the database if it is not there; see to it that it is sfss's and can be written.

    :raises StoreUnusable: if not, with a sentence for the operator.
    """
    try:
        make_folders(file.parent, mode=0o700)
    except OSError as error:
        raise StoreUnusable(f"Cannot make the folder {file.parent}: {error.strerror}.") from error
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise StoreUnusable(f"The folder {file.parent} cannot be written by this user.")
    try:
        if file.exists() and not os.access(file, os.W_OK):
            raise StoreUnusable(f"{file} cannot be written by this user.")
        _make_private(file)
        with _room_to_open(file), contextlib.closing(_plain_connection(file)) as database:
            if not schema.is_in(database):
                claim(database, file, schema)
                sync_folder(file.parent)
            database.execute("PRAGMA journal_mode = WAL")
    except (sqlite3.Error, OSError) as error:
        # If it is "database is locked": SQLite has waited for that for five seconds.
        raise StoreUnusable(f"Cannot use {file}: {error}.") from error


def _plain_connection(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, isolation_level=None)


def _make_private(file: Path) -> None:
    """See that nobody else can read or lock the database. SQLite gives its other files the same rights."""
    if not file.exists():  # (see DatabaseFiles: one that is open must not be closed here)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for suffix in ("", "-wal", "-shm", "-turn"):
        with contextlib.suppress(FileNotFoundError):
            place = f"{file}{suffix}"
            status = os.stat(place)
            if status.st_mode & 0o077 and status.st_uid == os.geteuid():
                os.chmod(place, 0o600)


@contextlib.contextmanager
def _room_to_open(file: Path) -> Iterator[None]:
    """Opening the database is possible in here though the disk is full."""
    turn = Turn(file)
    reserve = Reserve(file.parent)
    try:
        with turn:
            reserve.release()
            try:
                yield
            finally:
                reserve.hold_back()
    finally:
        turn.close()
