"""The embedded store: one SQLite database in one folder (:mod:`sfss.disk.shared_database`)."""

import asyncio
import logging
import sqlite3
from pathlib import Path

from sfss.completion import Completion
from sfss.disk.database import Schema
from sfss.disk.shared_database import SharedDatabase
from sfss.disk.usage import disk_families
from sfss.errors import NotFound, StoreRefused
from sfss.metrics.families import Family, counter, gauge, seconds, sizes
from sfss.models import FileInfo, Precondition, StoredFile, etag_of
from sfss.stores.base import EVENTS, Listed, Listing, Stats, Store
from sfss.stores.listing import in_order, in_pieces

log = logging.getLogger("sfss.store")

FILE_NAME = "files.sqlite3"
#: Beside it: an empty file that is as old as the last backup.
BACKED_UP = "last-backup"
BACKUP_TIME = "sfss_store_last_backup_timestamp_seconds"
#: Pages of the database that are kept in memory, unless it is said otherwise.
CACHE_BYTES = 64 * 1024 * 1024
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
#: The columns of :class:`Listed`.
_LIST = "SELECT path, size, etag, NULL, NULL FROM files WHERE path >= ? ORDER BY path LIMIT ?"
_DELETE = "DELETE FROM files WHERE path = ?"


class SqliteStore(Store):
    """Files in *folder*, which is made if it is not there.

    *request_timeout*: seconds that a write may take, waiting for its turn included. *cache_bytes*: memory for
    pages of the database, half of it for reads and half for writes: what is below the leaves of its two trees
    should fit (about 5 bytes a file).
    """

    reads_at_once = True

    def __init__(self, folder: Path, *, request_timeout: float, cache_bytes: int = CACHE_BYTES):
        file = Path(folder).absolute() / FILE_NAME
        self._database = SharedDatabase(file, SCHEMA, request_timeout, cache_bytes)
        self._folder = file.parent
        self._address = f"sqlite:{file}"
        self.description = f"sqlite {file}"
        self._counts = {"cmd_get": 0, "get_hits": 0, "cmd_set": 0, "cmd_delete": 0}

    def prepare(self) -> None:
        """Make the database if it is not there.

        :raises StoreUnusable: if the folder cannot be written or the file is not sfss's.
        """
        self._database.prepare()

    async def start(self) -> None:
        """Open the database, or make it. Raises as :meth:`prepare` does."""
        self._database.start()

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
        row = self._database.read_row(_GET, path)
        if row is None:
            return None
        file = _intact(row, path)
        self._counts["get_hits"] += 1
        return file

    async def stat(self, path: str) -> FileInfo:
        row = self._database.read_row(_STAT, path)
        if row is None:
            raise NotFound.of(path)
        return FileInfo(*row)

    def begin_stat(self, path: str, completion: Completion) -> bool:
        try:
            row = self._database.read_row(_STAT, path)
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

        self._database.writer.write(put, info.size, completion)
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

        self._database.writer.write(delete, 0, completion)
        return True

    is_ordered = True

    async def list_files(
        self, prefix: str = "", cursor: str = "", limit: int = 1000, delimiter: str = ""
    ) -> Listing:
        def read(database: sqlite3.Connection) -> Listing:
            # SQLite compares text as its bytes in UTF-8, which is the order of code points.
            walk = in_pieces(lambda *begin: list(map(Listed._make, database.execute(_LIST, begin))))
            return in_order(walk, prefix, cursor, limit, delimiter)

        return await self._database.read_long(read)

    async def stats(self) -> Stats:
        files, size = self._totals()
        backed_up = last_backup(self._folder)
        figures = {
            "curr_items": files,
            "bytes": size,
            "disk_bytes": self._database.size_on_disk(),
            **({} if backed_up is None else {"last_backup": backed_up}),
            **self._events(),
        }
        return {self._address: {name: str(value) for name, value in figures.items()}}

    def _events(self) -> dict[str, int]:
        """What this process has counted, by the names that memcached has for it, where it has."""
        counts = self._counts
        return counts | {
            "get_misses": counts["cmd_get"] - counts["get_hits"],
            "flushes": self._database.writer.flush_sizes.count,
            "flushed_writes": self._database.writer.flush_sizes.total,
        }

    def families(self) -> list[Family]:
        events = counter(EVENTS, "What the embedded store has done", "store", "event")
        for name, number in self._events().items():
            events.add((self._address, name), number)
        flush_sizes = sizes("sfss_store_flush_writes", "Writes that share an fsync", "store")
        flush_sizes.add((self._address,), self._database.writer.flush_sizes)
        flush_times = seconds("sfss_store_flush_duration_seconds", "Time of a commit", "store")
        flush_times.add((self._address,), self._database.writer.flush_times)
        writable = gauge("sfss_store_writable", "0 if the last write failed", "store", join="min")
        writable.add((self._address,), int(self._database.writer.last_failure is None))
        families = [events, flush_sizes, flush_times, writable]
        families += disk_families({"data": self._folder})
        try:
            files, size = self._totals()
        except StoreRefused:
            return families  # it is in the log
        for name, help, value in (
            ("sfss_store_files", "Files in the embedded store", files),
            ("sfss_store_bytes", "Bytes of its files", size),
            ("sfss_store_disk_bytes", "Bytes that it takes on disk", self._database.size_on_disk()),
            (BACKUP_TIME, "When the last sfss backup of it began (Unix time)", last_backup(self._folder)),
        ):
            if value is None:
                continue
            family = gauge(name, help, "store", join="max")  # all processes see the same store
            family.add((self._address,), value)
            families.append(family)
        return families

    async def ready(self) -> None:
        self._database.read_row("SELECT files FROM totals")
        self._database.check()

    async def close(self) -> None:
        await self._database.close()

    def _totals(self) -> tuple[int, int]:
        """How many files, and their bytes. :raises StoreRefused:"""
        row = self._database.read_row("SELECT files, bytes FROM totals")
        assert row is not None  # it is there from the beginning
        return row[0], row[1]


def last_backup(folder: Path) -> int | None:
    """When the last backup of the store in *folder* began, Unix seconds; None: there was none, as far as is known."""
    try:
        return int((folder / BACKED_UP).stat().st_mtime)
    except OSError:
        return None


def _intact(row: tuple[bytes, str], path: str) -> StoredFile:
    """The file of *row*. :raises StoreRefused: if its content is not what was put."""
    content, etag = row
    if type(content) is not bytes or etag_of(content) != etag:
        log.error("file is damaged on disk", extra={"path": path})
        raise StoreRefused(f"The content of {path!r} is damaged on the store's disk.")
    return StoredFile(content, etag)


def _check(database: sqlite3.Connection, path: str, precondition: Precondition | None) -> None:
    if precondition is not None:
        row = database.execute(_STAT, (path,)).fetchone()
        precondition.check(FileInfo(*row) if row else None)
