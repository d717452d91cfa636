"""A SQLite database in a folder: whose it is, who uses it, and whether its files are still those that were opened."""

import errno
import fcntl
import os
import sqlite3
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from sfss.disk.folder import check_same
from sfss.errors import StoreUnusable

_CLOSED = -1


class Schema(NamedTuple):
    """What a database of ours has in it."""

    application_id: int  #: https://sqlite.org/fileformat.html#application_id
    version: int
    page_size: int  #: bytes
    script: str  #: the statements that make it
    what: str  #: it is, for messages
    #: What was added to this version later: the statements, and a table of theirs. Who does not know of it goes on
    #: working beside those who do.
    addition: str = ""
    added: str = ""

    def is_in(self, database: sqlite3.Connection) -> bool:
        """Whether it is there, in this version. It waits for no writer."""
        return _identity(database) == (self.application_id, self.version) and self.has_addition(database)

    def has_addition(self, database: sqlite3.Connection) -> bool:
        query = "SELECT count(*) FROM sqlite_master WHERE name = ?"
        return not self.added or database.execute(query, (self.added,)).fetchone() == (1,)


def claim(
    database: sqlite3.Connection,
    file: Path,
    schema: Schema,
    fill: Callable[[sqlite3.Connection], None] = lambda database: None,
) -> None:
    """Make *schema* in the *database* that *file* is, and *fill* it, if it is empty.

    What was added to it later is added.

    :raises StoreUnusable: if it is another program's, or of another version; it stays untouched.
    """
    database.execute(f"PRAGMA page_size = {schema.page_size}")
    database.execute("BEGIN IMMEDIATE")
    try:
        owner, version = _identity(database)
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if owner == 0 and version == 0 and tables == 0:
            # All in one transaction, before WAL mode writes the first page: a kill in
            # between leaves an empty file, which the next start takes as its own.
            for statement in _statements(schema.script):
                database.execute(statement)
            fill(database)
            database.execute(f"PRAGMA application_id = {schema.application_id}")
            database.execute(f"PRAGMA user_version = {schema.version}")
        elif owner != schema.application_id:
            raise StoreUnusable(f"{file} is a database, but not {schema.what} of sfss; it stays untouched.")
        elif version != schema.version:
            raise StoreUnusable(f"{file} has version {version}; this sfss reads version {schema.version}.")
        if not schema.has_addition(database):
            for statement in _statements(schema.addition):
                database.execute(statement)
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _identity(database: sqlite3.Connection) -> tuple[int, int]:
    (owner,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return owner, version


def _statements(script: str) -> Iterable[str]:
    """The statements of *script* (executescript would commit before it begins)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def hold(folder: Path, *, alone: bool) -> int:
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


class DatabaseFiles:
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
    #: That header, twice.
    _HEADERS = 96

    def __init__(self, file: Path):
        self._file = file
        self._known: dict[Path, os.stat_result] = {}
        self._index = _CLOSED

    def note(self) -> None:
        """They are what they should be now."""
        for suffix in ("", "-wal", "-shm"):
            place = Path(f"{self._file}{suffix}")
            self._known[place] = os.stat(place)
        self._index = os.open(f"{self._file}-shm", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """After all connections of this process."""
        if self._index != _CLOSED:
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

    def state(self) -> bytes:
        """What is another one after each commit, of whatever process: the header of the index, with its counter of
        transactions and the salts and the checksum of the log.
        """
        return os.pread(self._index, self._HEADERS, 0)

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


class Turn:
    """Whose turn it is to write, among all processes that share the folder.

    The kernel wakes the process that has waited for longest. SQLite itself only looks again now and then:
    the last writer is there first again, and others wait for seconds (seen: 10).
    """

    def __init__(self, file: Path):
        self._descriptor = os.open(f"{file}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)
