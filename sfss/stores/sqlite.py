"""The embedded store: one SQLite database in one folder.

Many uploads share one fsync. Writes queue up for a single writer thread, which takes all that
are waiting, does them in one transaction, and only then acknowledges them (WAL mode with
synchronous=FULL: a commit has returned when it is on disk, https://sqlite.org/wal.html).
While it waits for the disk, the next group gathers.

Reads do not wait for writes, nor for a thread: in WAL mode a reader sees the last commit, and
reading a small file from the page cache takes less time than handing it to a thread and back.

A kill at any moment leaves the last commit. Several processes may share the folder: one of them
writes at a time, and the others wait for their turn (:class:`_Turn`).

Nobody but the user who runs sfss can read the database, or lock it. Before each group of writes it is seen
that the files are still those that were opened: what is written into one that was removed or cut off
would be gone with the process.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import queue
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sfss.errors import (
    NoStoreAvailable,
    NotFound,
    SfssError,
    StoreRefused,
    StoreUnusable,
)
from sfss.metrics.families import Family, Histogram, counter, gauge, seconds, sizes
from sfss.models import FileInfo, Precondition, StoredFile, etag_of
from sfss.completion import Completion, tell
from sfss.stores.base import EVENTS, Stats, Store
from sfss.disk.deadlines import Deadlines
from sfss.disk.errors import full, refusal
from sfss.disk.usage import disk_families
from sfss.disk.folder import check_same, make_folders, sync_folder
from sfss.disk.reserve import Reserve

log = logging.getLogger("sfss.store")

FILE_NAME = "files.sqlite3"
#: "SFSS": how SQLite files say whose they are (https://sqlite.org/fileformat.html#application_id).
APPLICATION_ID = 0x53465353
SCHEMA_VERSION = 1

#: One transaction holds at most so much; what waits longer shares the next one.
MAX_GROUP_FILES = 1000
MAX_GROUP_BYTES = 32 * 1024 * 1024
#: Pages of the database that are kept in memory, unless it is said otherwise.
CACHE_BYTES = 64 * 1024 * 1024
#: What puts leave free on the disk, so that there is room for deletes.
RESERVE_BYTES = 1024 * 1024

#: The totals are kept by the database itself, so that they are true whoever writes and
#: whatever is killed, and cost the same for any number of files.
_SCHEMA = """
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
_PUT = """
INSERT INTO files (path, etag, size, content) VALUES (?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET etag = excluded.etag, size = excluded.size,
    content = excluded.content
"""
_GET = "SELECT content, etag FROM files WHERE path = ?"
_STAT = "SELECT size, etag FROM files WHERE path = ?"
_DELETE = "DELETE FROM files WHERE path = ?"


class SqliteStore(Store):
    """Files in *folder*, which is made if it is not there.

    *request_timeout*: seconds that a write may take, waiting for its turn included. *cache_bytes*: memory for
    pages of the database, half of it for reads and half for writes: what is below the leaves of its two trees
    should fit (about 5 bytes a file).
    """

    def __init__(self, folder: Path, *, request_timeout: float, cache_bytes: int = CACHE_BYTES):
        self._file = Path(folder).absolute() / FILE_NAME
        self._address = f"sqlite:{self._file}"
        self.description = f"sqlite {self._file}"
        self._timeout = request_timeout
        self._cache_bytes = cache_bytes
        self._counts = {"cmd_get": 0, "get_hits": 0, "cmd_set": 0, "cmd_delete": 0}
        self._claim: int | None = None  # see claim()
        self._files = _Files(self._file)
        self._reader: sqlite3.Connection | None = None
        self._writer: _Writer | None = None

    def prepare(self) -> None:
        """Make the database if it is not there.

        :raises StoreUnusable: if the folder cannot be written or the file is not sfss's.
        """
        create(self._file)

    async def start(self) -> None:
        """Open the database, or make it. Raises as :meth:`prepare` does."""
        self.prepare()
        self._claim = claim(self._file.parent, alone=False)
        try:
            with _room_to_open(self._file):
                self._reader = _connect(self._file, self._timeout, self._cache_bytes // 2)
                self._reader.execute("PRAGMA query_only = ON")
                self._read_row("SELECT files FROM totals")  # now all its files are there
                self._files.note()
        except (sqlite3.Error, OSError, StoreRefused) as error:
            raise StoreUnusable(f"Cannot use {self._file}: {error}.") from error
        loop = asyncio.get_running_loop()
        self._writer = _Writer(self._file, self._files, loop, self._timeout, self._cache_bytes // 2)

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
        done = asyncio.get_running_loop().create_future()
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

    def begin_delete(
        self, path: str, precondition: Precondition | None, completion: Completion
    ) -> bool:
        self._counts["cmd_delete"] += 1

        def delete(database: sqlite3.Connection) -> None:
            _check(database, path, precondition)
            if not database.execute(_DELETE, (path,)).rowcount:
                raise NotFound.of(path)

        self._writer.write(delete, 0, completion)
        return True

    async def stats(self) -> Stats:
        files, size = self._read_row("SELECT files, bytes FROM totals")
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
            files, size = self._read_row("SELECT files, bytes FROM totals")
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
            raise StoreRefused(_gone(error)) from error

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.close()
            self._reader.close()
            self._files.close()
            Reserve(self._file.parent).hold_back()  # of what its files have taken
        if self._claim is not None:
            os.close(self._claim)

    def _read_row(self, query: str, *arguments: str) -> tuple | None:
        try:
            # fetchall, not fetchone: a statement that is not at its end keeps its snapshot.
            rows = self._reader.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            log.error("store read failed", extra={"store": self._address, "reason": str(error)})
            raise StoreRefused(f"The store could not read: {error}.") from error
        return rows[0] if rows else None


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
            if not is_ours(database):
                _claim(database, file)
                sync_folder(file.parent)
            database.execute("PRAGMA journal_mode = WAL")
    except (sqlite3.Error, OSError) as error:
        # If it is "database is locked": SQLite has waited for that for five seconds.
        raise StoreUnusable(f"Cannot use {file}: {error}.") from error


def _plain_connection(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, isolation_level=None)


def _make_private(file: Path) -> None:
    """See that nobody else can read or lock the database. SQLite gives its other files the same rights."""
    if not file.exists():  # (see _Files: one that is open must not be closed here)
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
    turn = _Turn(file)
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


def claim(folder: Path, *, alone: bool) -> int:
    """A descriptor that holds *folder* until it is closed: with others that serve from it, or *alone*.

    :raises StoreUnusable: if somebody else holds it in a way that does not go with that.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreUnusable(
            f"A server runs over {folder}, or a backup is made of it: that has to end first."
            if alone
            else f"{folder} is being restored: start the server when that has ended."
        ) from None
    return descriptor


def is_ours(database: sqlite3.Connection) -> bool:
    """Whether it is there, and of this version: that waits for no writer."""
    (owner,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return (owner, version) == (APPLICATION_ID, SCHEMA_VERSION)


def _claim(database: sqlite3.Connection, file: Path) -> None:
    database.execute("PRAGMA page_size = 8192")
    database.execute("BEGIN IMMEDIATE")
    try:
        (owner,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if owner == 0 and version == 0 and tables == 0:
            # All in one transaction, before WAL mode writes the first page: a kill in
            # between leaves an empty file, which the next start takes as its own.
            for statement in statements(_SCHEMA):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif owner != APPLICATION_ID:
            raise StoreUnusable(f"{file} is a database, but not one of sfss; it stays untouched.")
        elif version != SCHEMA_VERSION:
            raise StoreUnusable(
                f"{file} has version {version}; this sfss reads version {SCHEMA_VERSION}."
            )
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def statements(script: str) -> Iterable[str]:
    """The statements of *script* (executescript would commit before it begins)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _intact(row: tuple[bytes, str], path: str) -> StoredFile:
    """The file of *row*. :raises StoreRefused: if its content is not what was put."""
    content, etag = row
    if type(content) is not bytes or etag_of(content) != etag:
        log.error("file is damaged on disk", extra={"path": path})
        raise StoreRefused(f"The content of {path!r} is damaged on the store's disk.")
    return StoredFile(content, etag)


def _connect(file: Path, busy_timeout: float, cache_bytes: int) -> sqlite3.Connection:
    database = sqlite3.connect(
        file, timeout=busy_timeout, isolation_level=None, check_same_thread=False
    )
    database.execute("PRAGMA synchronous = FULL")
    # Negative: KiB, and not pages (https://sqlite.org/pragma.html#pragma_cache_size).
    database.execute(f"PRAGMA cache_size = {-(cache_bytes // 1024)}")
    # Debian's SQLite overwrites what is deleted, which on a full disk needs room of its own.
    database.execute("PRAGMA secure_delete = OFF")
    database.execute(f"PRAGMA journal_size_limit = {2 * MAX_GROUP_BYTES}")
    return database


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


Action = Callable[[sqlite3.Connection], FileInfo | None]


class _Write:
    """One write that waits for its group."""

    __slots__ = ("action", "receiver", "size")

    def __init__(self, action: Action, size: int, completion: Completion):
        self.action = action  # raises an SfssError if it must not happen; that changes nothing
        self.size = size
        self.completion = completion


class _Files:
    """The files of the database, as they were when it was opened.

    No file of an open database may be opened and closed by its own process: closing one drops all of the
    process's locks on it (https://sqlite.org/howtocorrupt.html, section 2.2; seen here: the next process to come
    took the index of the log for nobody's, and truncated it). So the one that is read stays open.
    """

    #: Of the write-ahead log: its header, and that of each frame (https://sqlite.org/fileformat2.html#walformat).
    _LOG_HEADER, _FRAME_HEADER = 32, 24
    #: The page size, and the number of frames that are valid, in the index of the log
    #: (https://sqlite.org/walformat.html, section 2.1).
    _INDEX = struct.Struct("=14xHI")

    def __init__(self, file: Path):
        self._file = file
        self._known: dict[Path, os.stat_result] = {}
        self._index: int | None = None

    def note(self) -> None:
        """They are what they should be now."""
        for suffix in ("", "-wal", "-shm"):
            place = Path(f"{self._file}{suffix}")
            self._known[place] = os.stat(place)
        self._index = os.open(f"{self._file}-shm", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """After all connections of this process."""
        if self._index is not None:
            os.close(self._index)

    def check(self) -> None:
        """Return if they still are. :raises OSError: ESTALE, if one was removed, replaced or cut off."""
        for place, status in self._known.items():
            found = check_same(place, status)
            # (The log is emptied now and then; the others only grow.)
            if found.st_size < status.st_size and not place.name.endswith("-wal"):
                raise self._cut_off(place)
            if found.st_size > status.st_size:
                self._known[place] = found

    def check_log(self) -> None:
        """The same of the log's length."""
        for _ in range(3):  # another process may just be emptying it: first the index, then the log
            index = os.pread(self._index, self._INDEX.size, 0)
            if len(index) < self._INDEX.size:
                raise self._cut_off(Path(f"{self._file}-shm"))
            page_size, frames = self._INDEX.unpack(index)
            page_size = 65536 if page_size == 1 else page_size
            least = self._LOG_HEADER + frames * (self._FRAME_HEADER + page_size) if frames else 0
            if os.stat(f"{self._file}-wal").st_size >= least:
                return
        raise self._cut_off(Path(f"{self._file}-wal"))

    @staticmethod
    def _cut_off(place: Path) -> OSError:
        return OSError(errno.ESTALE, f"{place} was cut off while it is in use")


def _gone(error: OSError) -> str:
    return f"{error.strerror}. Put it back as it was, or restart the server. Nothing was changed."


class _Turn:
    """Whose turn it is to write, among all processes that share the folder.

    The kernel wakes who has waited for longest. SQLite's own waiting is to look again now and then:
    who has just written is there first again, and others wait for seconds (seen: 10).
    """

    def __init__(self, file: Path):
        self._descriptor = os.open(f"{file}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)


class _Writer:
    """The single writer: a thread that commits groups of writes."""

    def __init__(
        self,
        file: Path,
        files: _Files,
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
        self._database = _connect(file, timeout, cache_bytes)
        self._turn = _Turn(file)
        self._loop = loop
        self._timeout = timeout
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._deadlines = Deadlines(loop, timeout, self._late)
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def write(self, action: Action, size: int, completion: Completion) -> None:
        """Do *action* in the next group; *completion* gets what it returns when that is on disk."""
        self._deadlines.add(completion)
        self._waiting.put(_Write(action, size, completion))

    def _late(self) -> NoStoreAvailable:
        return NoStoreAvailable(
            f"The write was not on disk within {self._timeout:g} s. It may still happen."
        )

    async def close(self) -> None:
        """Commit what waits, then end."""
        self._waiting.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._deadlines.close()
        self._database.close()
        self._turn.close()

    def _run(self) -> None:
        going_on = True
        while going_on:
            first = self._waiting.get()
            if first is None:
                return
            with self._turn:
                group, going_on = self._group_with(first)
                # Nobody waits for these any more, and nobody was told that they happened.
                group = [write for write in group if not write.completion.done()]
                outcomes = self._commit(group) if group else []
            self._loop.call_soon_threadsafe(self._settle, group, outcomes)

    def _group_with(self, first: _Write) -> tuple[list[_Write], bool]:
        """*first* and all that wait, up to the limits; whether more may come."""
        group = [first]
        size = first.size
        while len(group) < MAX_GROUP_FILES and size < MAX_GROUP_BYTES:
            try:
                write = self._waiting.get_nowait()
            except queue.Empty:
                break
            if write is None:
                return group, False
            group.append(write)
            size += write.size
        return group, True

    def _commit(self, group: list[_Write]) -> list[FileInfo | SfssError | None]:
        """Do the group in one transaction; for each write its result, or why it did not happen."""
        outcomes: list[FileInfo | SfssError | None] = []
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

    def _settle(self, group: list[_Write], outcomes: list[FileInfo | SfssError | None]) -> None:
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


def _code(error: Exception) -> int:
    """The primary result code (https://sqlite.org/rescode.html), 0 if SQLite gave none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _failure(error: Exception) -> SfssError:
    if isinstance(error, SfssError):
        return error
    if isinstance(error, OSError):
        return StoreRefused(_gone(error)) if error.errno == errno.ESTALE else refusal(error)
    if _code(error) == sqlite3.SQLITE_FULL:
        return full()
    if _code(error) == sqlite3.SQLITE_BUSY:
        return NoStoreAvailable("Another process kept the database locked. Nothing was changed.")
    return StoreRefused(
        f"The store could not write: {error}. The write may have happened all the same."
    )
