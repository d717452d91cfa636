"""What a node knows of a path, and how its catalog is read: by its writer (``catalog.py``) and by other threads."""

import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mypy_extensions import mypyc_attr

from sfss.models import etag_of
from sfss.replication.clock import Version
from sfss.replication.digests import Digests
from sfss.replication.merkle import leaf_of

#: Changes that began here, and those that others sent: the latter can wait, who sent them has told others.
OWN, LEARNED = 0, 1
ROW = "path, stamp, node, size, sha256, sha1, etag, received"
_GET = f"SELECT {ROW} FROM files WHERE leaf = ? AND path = ?"
#: So many entries a reader keeps (about 700 bytes each).
_MOST_KEPT = 16 * 1024
#: Usually the node's own checkpoint comes long before that.
_WAL_PAGES = 64 * 1024


class Entry(NamedTuple):
    """What is known of a path."""

    path: str
    version: Version
    size: int
    digests: Digests | None  #: of its content; None: it is deleted
    etag: str  #: see :func:`sfss.models.etag_of`; "" if it is deleted
    received: int  #: a stamp of this node: when it came to know

    @property
    def is_delete(self) -> bool:
        return self.digests is None

    def is_intact(self, content: bytes | bytearray | None) -> bool:
        """Whether *content* is what was put. (The ETag tells damage; a forger could make another of the same.)"""
        return content is not None and etag_of(content) == self.etag

    @property
    def sha256(self) -> str:
        """Of its content, 64 hex digits; "" if it is deleted."""
        return self.digests.sha256 if self.digests is not None else ""

    @property
    def sha1(self) -> str:
        """Of its content, 40 hex digits; "" if it is deleted."""
        return self.digests.sha1 if self.digests is not None else ""


@mypyc_attr(allow_interpreted_subclasses=True)
class Reading:
    """What both the catalog and its readers can be asked."""

    _database: sqlite3.Connection

    def get(self, path: str) -> Entry | None:
        # fetchall: a statement that is not at its end keeps its snapshot.
        rows = self._database.execute(_GET, (leaf_of(path), path)).fetchall()
        return entry_of(rows[0]) if rows else None

    def queue_length(self, peer: str) -> int:
        query = "SELECT length FROM lengths WHERE neighbour = ?"
        rows = self._database.execute(query, (peer,)).fetchall()
        return rows[0][0] if rows else 0

    def oldest_due(self, peer: str) -> int | None:
        """When the first of what *peer* is to be told was, or will be, due (µs)."""
        query = "SELECT min(due) FROM queue WHERE neighbour = ? AND origin = ?"
        found = [self._database.execute(query, (peer, origin)).fetchall()[0][0] for origin in (OWN, LEARNED)]
        return min((due for due in found if due is not None), default=None)


class CatalogReader(Reading):
    """For another thread, while changes are made. It sees the last commit.

    What was read last is kept, until :meth:`drop` says that it has changed.
    """

    def __init__(self, file: Path):
        self._database = connect(file)
        self._database.execute("PRAGMA query_only = ON")
        # Two generations: when the younger is full, it becomes the older one.
        self._young: dict[str, Entry] = {}
        self._old: dict[str, Entry] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def get(self, path: str) -> Entry | None:
        entry = self._young.get(path)
        return entry if entry is not None else self._get(path)

    def _get(self, path: str) -> Entry | None:
        changes = self._changes
        entry = self._old.get(path)
        if entry is None:
            entry = Reading.get(self, path)
        if entry is not None:
            with self._lock:
                if changes == self._changes:  # else it may be out of date
                    if len(self._young) >= _MOST_KEPT // 2:
                        self._old, self._young = self._young, {}
                    self._young[path] = entry
        return entry

    def drop(self, paths: Iterable[str]) -> None:
        """These have changed. Called by the thread that has committed that, before anybody is told."""
        with self._lock:
            self._changes += 1
            for path in paths:
                self._young.pop(path, None)
                self._old.pop(path, None)

    def close(self) -> None:
        self._database.close()


def entry_of(row: tuple[Any, ...]) -> Entry:
    path, stamp, node, size, sha256, sha1, etag, received = row
    digests = None if sha256 is None else Digests(sha256, sha1)
    return Entry(path, Version(stamp, node), size, digests, etag, received)


def connect(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=30.0)
    database.execute("PRAGMA synchronous = NORMAL")  # consistent; the log makes it durable
    database.execute("PRAGMA secure_delete = OFF")
    database.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    return database
