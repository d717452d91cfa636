"""The embedded store: one SQLite database in one folder.

Many uploads share one fsync. Writes queue up for a single writer thread, which takes all that
are waiting, does them in one transaction, and only then acknowledges them (WAL mode with
synchronous=FULL: a commit has returned when it is on disk, https://sqlite.org/wal.html).
While it waits for the disk, the next group gathers.

Reads do not wait for writes, nor for a thread: in WAL mode a reader sees the last commit, and
reading a small file from the page cache takes less time than handing it to a thread and back.

A kill at any moment leaves the last commit. Several processes may share the folder: one of them
writes at a time, and the others wait for their turn (:class:`sfss.disk.database.Turn`).

Only the user that runs sfss can read the database, or lock it. Before each group of writes the store checks
that the files are still those that were opened: what is written into one that was removed or cut off
would be gone with the process.
"""

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfss.completion import Completion
from sfss.disk.database import DatabaseFiles, Schema, Turn, claim, hold
from sfss.disk.folder import make_folders, sync_folder
from sfss.disk.reader import Reader
from sfss.disk.reserve import Reserve
from sfss.disk.usage import disk_families
from sfss.errors import NotFound, StoreRefused, StoreUnusable
from sfss.metrics.families import Family, counter, gauge, seconds, sizes
from sfss.models import FileInfo, Precondition, StoredFile, etag_of
from sfss.stores.base import EVENTS, Listed, Listing, Stats, Store
from sfss.stores.listing import in_order, in_pieces
from sfss.stores.sqlite_writer import Writer, connect, gone

log = logging.getLogger("sfss.store")

FILE_NAME = "files.sqlite3"
#: Pages of the database that are kept in memory, unless it is said otherwise.
CACHE_BYTES = 64 * 1024 * 1024
#: Of these, for listings: what they read is not read again soon.
_LISTER_CACHE = 2 * 1024 * 1024
#: The totals are kept by the database itself, so that they are true whichever process writes,
#: and whatever is killed, and cost the same for any number of files.
_SCRIPT = """
CREATE TABLE files (
    path TEXT PRIMARY KEY NOT NULL,
    etag TEXT NOT NULL,
    size INTEGER NOT NULL,
    content BLOB NOT NULL
);
CREATE TABLE totals (files INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0);
CREATE TRIGGER files_insert AFTER INSERT ON files BEGIN
    UPDATE totals SET files = files + 1, bytes = bytes + new.size;
END;
CREATE TRIGGER files_update AFTER UPDATE ON files BEGIN
    UPDATE totals SET bytes = bytes + new.size - old.size;
END;
CREATE TRIGGER files_delete AFTER DELETE ON files BEGIN
    UPDATE totals SET files = files - 1, bytes = bytes - old.size;
END;
"""
SCHEMA = Schema(0x53465353, 1, 8192, _SCRIPT, "a store")  # "SFSS"
_PUT = """
INSERT INTO files (path, etag, size, content) VALUES (?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET etag = excluded.etag, size = excluded.size,
    content = excluded.content
"""
_GET = "SELECT content, etag FROM files WHERE path = ?"
_STAT = "SELECT size, etag FROM files WHERE path = ?"
_LIST = "SELECT path, size, etag FROM files WHERE path >= ? ORDER BY path LIMIT ?"
_DELETE = "DELETE FROM files WHERE path = ?"


class SqliteStore(Store):
    """Files in *folder*, which is made if it is not there.

    *request_timeout*: seconds that a write may take, waiting for its turn included. *cache_bytes*: memory for
    pages of the database, half of it for reads and half for writes: what is below the leaves of its two trees
    should fit (about 5 bytes a file).
    """

    _lister: Reader
    _reader: sqlite3.Connection
    _writer: Writer

    def __init__(self, folder: Path, *, request_timeout: float, cache_bytes: int = CACHE_BYTES):
        self._file = Path(folder).absolute() / FILE_NAME
        self._address = f"sqlite:{self._file}"
        self.description = f"sqlite {self._file}"
        self._timeout = request_timeout
        self._cache_bytes = cache_bytes
        self._counts = {"cmd_get": 0, "get_hits": 0, "cmd_set": 0, "cmd_delete": 0}
        self._claim: int | None = None  # see hold()
        self._files = DatabaseFiles(self._file)
        self._is_open = False

    def prepare(self) -> None:
        """Make the database if it is not there.

        :raises StoreUnusable: if the folder cannot be written or the file is not sfss's.
        """
        create(self._file)

    async def start(self) -> None:
        """Open the database, or make it. Raises as :meth:`prepare` does."""
        self.prepare()
        self._claim = hold(self._file.parent, alone=False)
        try:
            with _room_to_open(self._file):
                self._reader = connect(self._file, self._timeout, self._cache_bytes // 2)
                self._reader.execute("PRAGMA query_only = ON")
                self._read_row("SELECT files FROM totals")  # now all its files are there
                self._files.note()
        except (sqlite3.Error, OSError, StoreRefused) as error:
            raise StoreUnusable(f"Cannot use {self._file}: {error}.") from error
        loop = asyncio.get_running_loop()
        self._writer = Writer(self._file, self._files, loop, self._timeout, self._cache_bytes // 2)
        self._lister = Reader(self._connect_lister, self._timeout)
        self._is_open = True

    async def get(self, path: str) -> StoredFile:
        file = self._get(path)
        if file is None:
            raise NotFound.of(path)
        return file

    def begin_get(self, path: str, completion: Completion) -> bool:
        try:
            file = self._get(path)
        except StoreRefused as error:
            completion.set_exception(error)
        else:
            completion.set_result(file)
        return True

    def _get(self, path: str) -> StoredFile | None:
        """The file, None if there is none. :raises StoreRefused:"""
        self._counts["cmd_get"] += 1
        row = self._read_row(_GET, path)
        if row is None:
            return None
        file = _intact(row, path)
        self._counts["get_hits"] += 1
        return file

    async def stat(self, path: str) -> FileInfo:
        row = self._read_row(_STAT, path)
        if row is None:
            raise NotFound.of(path)
        return FileInfo(*row)

    def begin_stat(self, path: str, completion: Completion) -> bool:
        try:
            row = self._read_row(_STAT, path)
        except StoreRefused as error:
            completion.set_exception(error)
        else:
            completion.set_result(None if row is None else FileInfo(*row))
        return True

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        done: asyncio.Future[FileInfo] = asyncio.get_running_loop().create_future()
        self.begin_put(path, content, precondition, done)
        return await done

    def begin_put(
        self,
        path: str,
        content: bytes | bytearray,
        precondition: Precondition | None,
        completion: Completion,
    ) -> bool:
        self._counts["cmd_set"] += 1
        info = FileInfo(len(content), etag_of(content))

        def put(database: sqlite3.Connection) -> FileInfo:
            _check(database, path, precondition)
            database.execute(_PUT, (path, info.etag, info.size, content))
            return info

        self._writer.write(put, info.size, completion)
        return True

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        done = asyncio.get_running_loop().create_future()
        self.begin_delete(path, precondition, done)
        await done

    def begin_delete(self, path: str, precondition: Precondition | None, completion: Completion) -> bool:
        self._counts["cmd_delete"] += 1

        def delete(database: sqlite3.Connection) -> None:
            _check(database, path, precondition)
            if not database.execute(_DELETE, (path,)).rowcount:
                raise NotFound.of(path)

        self._writer.write(delete, 0, completion)
        return True

    is_ordered = True

    async def list_files(
        self, prefix: str = "", cursor: str = "", limit: int = 1000, delimiter: str = ""
    ) -> Listing:
        def read(database: sqlite3.Connection) -> Listing:
            # SQLite compares text as its bytes in UTF-8, which is the order of code points.
            walk = in_pieces(lambda *begin: [Listed(*row) for row in database.execute(_LIST, begin)])
            return in_order(walk, prefix, cursor, limit, delimiter)

        try:
            return await self._lister.read(read)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    async def stats(self) -> Stats:
        files, size = self._totals()
        figures = {
            "curr_items": files,
            "bytes": size,
            "disk_bytes": _size_on_disk(self._file),
            **self._events(),
        }
        return {self._address: {name: str(value) for name, value in figures.items()}}

    def _events(self) -> dict[str, int]:
        """What this process has counted, by the names that memcached has for it, where it has."""
        counts = self._counts
        return counts | {
            "get_misses": counts["cmd_get"] - counts["get_hits"],
            "flushes": self._writer.flush_sizes.count,
            "flushed_writes": self._writer.flush_sizes.total,
        }

    def families(self) -> list[Family]:
        events = counter(EVENTS, "What the embedded store has done", "store", "event")
        for name, number in self._events().items():
            events.add((self._address, name), number)
        flush_sizes = sizes("sfss_store_flush_writes", "Writes that share an fsync", "store")
        flush_sizes.add((self._address,), self._writer.flush_sizes)
        flush_times = seconds("sfss_store_flush_duration_seconds", "Time of a commit", "store")
        flush_times.add((self._address,), self._writer.flush_times)
        writable = gauge("sfss_store_writable", "0 if the last write failed", "store", join="min")
        writable.add((self._address,), int(self._writer.last_failure is None))
        families = [events, flush_sizes, flush_times, writable]
        families += disk_families({"data": self._file.parent})
        try:
            files, size = self._totals()
        except StoreRefused:
            return families  # it is in the log
        for name, help, value in (
            ("sfss_store_files", "Files in the embedded store", files),
            ("sfss_store_bytes", "Bytes of its files", size),
            ("sfss_store_disk_bytes", "Bytes that it takes on disk", _size_on_disk(self._file)),
        ):
            family = gauge(name, help, "store", join="max")  # all processes see the same store
            family.add((self._address,), value)
            families.append(family)
        return families

    async def ready(self) -> None:
        self._read_row("SELECT files FROM totals")
        try:
            self._files.check()
            self._files.check_log()
        except OSError as error:
            raise StoreRefused(gone(error)) from error

    async def close(self) -> None:
        if self._is_open:
            await self._writer.close()
            await self._lister.close()
            self._reader.close()
            self._files.close()
            Reserve(self._file.parent).hold_back()  # of what its files have taken
        if self._claim is not None:
            os.close(self._claim)

    def _connect_lister(self) -> sqlite3.Connection:
        database = connect(self._file, self._timeout, _LISTER_CACHE)
        database.execute("PRAGMA query_only = ON")
        return database

    def _totals(self) -> tuple[int, int]:
        """How many files, and their bytes. :raises StoreRefused:"""
        row = self._read_row("SELECT files, bytes FROM totals")
        assert row is not None  # it is there from the beginning
        return row[0], row[1]

    def _read_row(self, query: str, *arguments: str) -> tuple[Any, ...] | None:
        rows = self._read_rows(query, *arguments)
        return rows[0] if rows else None

    def _read_rows(self, query: str, *arguments: str | int) -> list[tuple[Any, ...]]:
        try:
            # fetchall, not fetchone: a statement that is not at its end keeps its snapshot.
            return self._reader.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: sqlite3.Error) -> StoreRefused:
        log.error("store read failed", extra={"store": self._address, "reason": str(error)})
        return StoreRefused(f"The store could not read: {error}.")


def create(file: Path) -> None:
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
            if not SCHEMA.is_in(database):
                claim(database, file, SCHEMA)
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


def _intact(row: tuple[bytes, str], path: str) -> StoredFile:
    """The file of *row*. :raises StoreRefused: if its content is not what was put."""
    content, etag = row
    if type(content) is not bytes or etag_of(content) != etag:
        log.error("file is damaged on disk", extra={"path": path})
        raise StoreRefused(f"The content of {path!r} is damaged on the store's disk.")
    return StoredFile(content, etag)


def _size_on_disk(file: Path) -> int:
    """Bytes of the database and its write-ahead log."""
    total = 0
    for suffix in ("", "-wal"):
        try:
            total += os.stat(f"{file}{suffix}").st_size
        except OSError:
            continue  # there is no log before the first write
    return total


def _check(database: sqlite3.Connection, path: str, precondition: Precondition | None) -> None:
    if precondition is not None:
        row = database.execute(_STAT, (path,)).fetchone()
        precondition.check(FileInfo(*row) if row else None)
