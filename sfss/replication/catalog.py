"""What a node knows of every path, and what it has still to tell its neighbours: one SQLite database.

It follows the log of changes (``oplog.py``) and is not synced by itself: after a power cut it is as it
was some time before, and the log brings it up to date. :meth:`Catalog.step` makes one of all that a group
of changes does to it.

No step reads all files: totals and the hash tree are kept up to date, and everything else goes by an
index. The tree, half a megabyte, is saved with each checkpoint only; after a kill, the leaves of what the
log says are counted again.
"""

import os
import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sfss.disk.database import Schema, claim
from sfss.disk.folder import check_same
from sfss.errors import StoreUnusable
from sfss.replication.clock import FINAL, Version
from sfss.replication.entries import LEARNED, OWN, ROW, CatalogReader, Entry, Reading, connect, entry_of
from sfss.replication.merkle import FAN, MerkleTree, digest_of, leaf_of

FILE_NAME = "catalog.sqlite3"

_SCRIPT = """
CREATE TABLE files (
    leaf INTEGER NOT NULL, path TEXT NOT NULL,
    stamp INTEGER NOT NULL, node TEXT NOT NULL,
    size INTEGER NOT NULL, sha256 TEXT, sha1 TEXT, etag TEXT NOT NULL, received INTEGER NOT NULL,
    PRIMARY KEY (leaf, path)
) WITHOUT ROWID;
CREATE INDEX tombstones ON files (received) WHERE sha256 IS NULL;
CREATE TABLE queue (
    neighbour TEXT NOT NULL, path TEXT NOT NULL,
    origin INTEGER NOT NULL, due INTEGER NOT NULL, stamp INTEGER NOT NULL, node TEXT NOT NULL,
    PRIMARY KEY (neighbour, path)
) WITHOUT ROWID;
CREATE INDEX queue_order ON queue (neighbour, origin, due);
CREATE TABLE lengths (neighbour TEXT PRIMARY KEY, length INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE tree (branch INTEGER PRIMARY KEY, leaves BLOB NOT NULL);
CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
# A change touches a page here and there: small pages are less to write (measured: 5 % of a PUT).
SCHEMA = Schema(0x5346534E, 4, 2048, _SCRIPT, "a catalog")  # "SFSN"
#: For listings (``listing.py``). (Catalogs of before have it from their next start on.)
_PATHS = "CREATE INDEX IF NOT EXISTS paths ON files (path) WHERE sha256 IS NOT NULL"
_PUT = f"INSERT OR REPLACE INTO files (leaf, {ROW}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_QUEUE = "INSERT OR IGNORE INTO queue VALUES (?, ?, ?, ?, ?, ?)"
_QUEUE_AGAIN = (
    "UPDATE queue SET origin = ?, due = ?, stamp = ?, node = ?"
    " WHERE neighbour = ? AND path = ? AND (stamp, node) <= (?, ?)"
)
_UNQUEUE = "DELETE FROM queue WHERE neighbour = ? AND path = ? AND (stamp, node) <= (?, ?)"
_LENGTH = (
    "INSERT INTO lengths VALUES (?, ?)"
    " ON CONFLICT (neighbour) DO UPDATE SET length = length + excluded.length"
)
_STATE = "INSERT OR REPLACE INTO state VALUES (?, ?)"


class Counts(NamedTuple):
    files: int
    bytes: int
    tombstones: int


class Catalog(Reading):
    """The database in *folder*, made if it is not there.

    :raises StoreUnusable: if it cannot be, or is another program's.
    """

    def __init__(self, folder: Path):
        self._file = folder / FILE_NAME
        try:
            self._database = _open(self._file)
            self._status = os.stat(self._file)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnusable(f"Cannot use {self._file}: {error}.") from error
        state = dict(self._database.execute("SELECT name, value FROM state"))
        #: The id of this node: 16 hex digits, for as long as its catalog lives.
        self.node: str = state["node"]
        self.counts = Counts(state["files"], state["bytes"], state["tombstones"])
        self.last_stamp: int = state["last_stamp"]  #: of a version
        self.last_receipt: int = state["last_receipt"]
        self.tree = _tree(self._database)
        self._unsaved: set[int] = set()  # leaves of the tree
        self._readers: list[CatalogReader] = []

    def close(self) -> None:
        self._database.close()

    def check(self) -> None:
        """Return if the database is still at its place. :raises OSError: ESTALE, if not."""
        check_same(self._file, self._status)

    # What is known.

    def entries(self, leaves: Iterable[int]) -> list[Entry]:
        """All of *leaves*, the deleted ones too."""
        return [
            entry_of(row)
            for leaf in leaves
            for row in self._database.execute(f"SELECT {ROW} FROM files WHERE leaf = ?", (leaf,))
        ]

    def after(self, leaf: int, path: str, limit: int) -> list[Entry]:
        """The next files behind *path* of *leaf*, in the catalog's own order; no deleted ones."""
        rows = self._database.execute(
            f"SELECT {ROW} FROM files WHERE (leaf, path) > (?, ?) AND sha256 IS NOT NULL"
            " ORDER BY leaf, path LIMIT ?",
            (leaf, path, limit),
        )
        return [entry_of(row) for row in rows]

    def step(
        self,
        entries: Sequence[tuple[Entry | None, Entry]],
        queued: Sequence[tuple[str, str, int, int, Version]] = (),
        known: Sequence[tuple[str, str, Version]] = (),
    ) -> None:
        """All of this, or, if it raises, nothing.

        Of *entries*, what was known before of each path, and what is known now. *queued*: neighbour,
        path, origin, due, version: to be told. *known*: neighbour, path and the version that the neighbour
        has, so that it need not be told that.
        """
        database, tree = self._database, self.tree
        files, size, tombstones = self.counts
        touched: dict[int, int] = {}  # leaf to its digest before
        if not database.in_transaction:
            database.execute("BEGIN IMMEDIATE")
        try:
            for before, entry in entries:
                path = entry.path
                leaf = leaf_of(path)
                touched.setdefault(leaf, tree.leaves[leaf])
                if before is not None and before.is_delete:
                    tombstones -= 1
                elif before is not None:
                    files, size = files - 1, size - before.size
                    tree.take(leaf, digest_of(path, before.version, before.sha256))
                if entry.is_delete:
                    tombstones += 1
                else:
                    files, size = files + 1, size + entry.size
                    tree.add(leaf, digest_of(path, entry.version, entry.sha256))
                self._put(leaf, entry)
            self._change_queues(queued, known)
            stamps = (entry.version.stamp & ~FINAL for _, entry in entries)
            last_stamp = max([self.last_stamp, *stamps])
            last_receipt = max([self.last_receipt, *(entry.received for _, entry in entries)])
            counts = Counts(files, size, tombstones)
            self._save_state(last_stamp=last_stamp, last_receipt=last_receipt, **counts._asdict())
            database.execute("COMMIT")
        except BaseException:
            self._roll_back()
            for leaf, digest in touched.items():
                tree.leaves[leaf] = digest
            raise
        if entries:
            self._tell_readers([entry.path for _, entry in entries])
        self.counts, self.last_stamp, self.last_receipt = counts, last_stamp, last_receipt
        self._unsaved.update(touched)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Many questions, and at the end one :meth:`step`, for the price of one."""
        self._database.execute("BEGIN")
        try:
            yield
        finally:
            self._roll_back()  # if there was no step

    def forget(self, before: int, limit: int) -> int:
        """Drop tombstones that came before the stamp *before*, and that no neighbour has yet to be told.

        At most *limit* of them; how many there were.
        """
        rows = self._database.execute(
            "SELECT leaf, path, received FROM files WHERE sha256 IS NULL AND received < ?"
            " AND NOT EXISTS (SELECT 1 FROM lengths CROSS JOIN queue"
            " ON queue.neighbour = lengths.neighbour AND queue.path = files.path)"
            " ORDER BY received LIMIT ?",
            (before, limit),
        ).fetchall()
        if not rows:
            return 0
        counts = self.counts._replace(tombstones=self.counts.tombstones - len(rows))
        latest = max(received for _, _, received in rows)
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany(
                "DELETE FROM files WHERE leaf = ? AND path = ?", [row[:2] for row in rows]
            )
            self._save_state(tombstones=counts.tombstones, horizon=latest)
            self._database.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._tell_readers([path for _, path, _ in rows])
        self.counts = counts
        return len(rows)

    # What is to be told.

    def queued(self, peer: str, origin: int, now: int, limit: int) -> list[Entry]:
        """What *peer* is to be told by *now* (µs), the longest waiting first."""
        rows = self._database.execute(
            "SELECT path FROM queue INDEXED BY queue_order"
            " WHERE neighbour = ? AND origin = ? AND due <= ? ORDER BY due LIMIT ?",
            (peer, origin, now, limit),
        ).fetchall()
        # What is queued is in the catalog: tombstones stay for as long as somebody is to be told.
        entries = [self.get(path) for (path,) in rows]
        return [entry for entry in entries if entry is not None]

    def is_queued(self, peer: str, path: str) -> bool:
        query = "SELECT 1 FROM queue WHERE neighbour = ? AND path = ?"
        return self._database.execute(query, (peer, path)).fetchone() is not None

    def queue(self, rows: Sequence[tuple[str, str, int, int, Version]]) -> None:
        """See :meth:`step`."""
        self.step([], rows)

    def told(self, peer: str, known: Sequence[tuple[str, Version]]) -> None:
        """*peer* has these versions, or newer ones."""
        self.step([], (), [(peer, path, version) for path, version in known])

    def defer(self, peer: str, changes: Iterable[tuple[str, Version]], due: int) -> None:
        """Tell these later, and others first; but not what is newer by now."""
        self._database.executemany(
            "UPDATE queue SET due = ? WHERE neighbour = ? AND path = ? AND (stamp, node) <= (?, ?)",
            [(due, peer, path, *version) for path, version in changes],
        )

    def keep_queues_of(self, peers: Sequence[str], now: int) -> list[str]:
        """Drop the queues of all others, which are returned. Nothing is due later than *now*."""
        found = self._database.execute("SELECT neighbour FROM lengths").fetchall()
        gone = [name for (name,) in found if name not in peers]
        for name in gone:
            self._database.execute("DELETE FROM queue WHERE neighbour = ?", (name,))
            self._database.execute("DELETE FROM lengths WHERE neighbour = ?", (name,))
        late = ((now, name, origin, now) for name in peers for origin in (OWN, LEARNED))
        self._database.executemany(
            "UPDATE queue SET due = ? WHERE neighbour = ? AND origin = ? AND due > ?", late
        )
        return gone

    # Odds and ends, by name.

    def state(self, name: str) -> Any:
        row = self._database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def set_state(self, name: str, value: Any) -> None:
        self._save_state(**{name: value})

    def count_again(self, leaves: Iterable[int]) -> None:
        """The tree was not saved since these have changed."""
        for leaf in leaves:
            files = [entry for entry in self.entries([leaf]) if not entry.is_delete]
            self.tree.reset(leaf, sum([digest_of(e.path, e.version, e.sha256) for e in files]))
            self._unsaved.add(leaf)

    def checkpoint(self) -> bool:
        """Return when all that was committed is on disk; False if somebody is in the way."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._save_tree()
            self._database.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._unsaved.clear()
        return not self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def unwritten_bytes(self) -> int:
        """What a checkpoint has still to write."""
        try:
            return os.stat(f"{self._file}-wal").st_size
        except OSError:
            return 0

    def write_back(self) -> None:
        """Do most of what :meth:`checkpoint` has to do, in any thread, and keep nobody waiting."""
        database = connect(self._file)
        try:
            database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            database.close()

    def reader(self) -> "CatalogReader":
        reader = CatalogReader(self._file)
        self._readers.append(reader)
        return reader

    def _tell_readers(self, paths: Sequence[str]) -> None:
        for reader in self._readers:
            reader.drop(paths)

    def _put(self, leaf: int, entry: Entry) -> None:
        path, version, size, digests, etag, received = entry
        row = (leaf, path, *version, size, *(digests or (None, None)), etag, received)
        self._database.execute(_PUT, row)

    def _save_tree(self) -> None:
        branches = {leaf // FAN for leaf in self._unsaved}
        rows = [(branch, self.tree.branch_bytes(branch)) for branch in branches]
        self._database.executemany("INSERT OR REPLACE INTO tree VALUES (?, ?)", rows)

    def _change_queues(
        self,
        queued: Iterable[tuple[str, str, int, int, Version]],
        known: Iterable[tuple[str, str, Version]],
    ) -> None:
        """Each path is in a queue at most once, with its newest version: nothing grows with retries."""
        queues: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for peer, path, origin, due, version in queued:
            queues[peer].append((peer, path, origin, due, *version))
        for peer, rows in queues.items():
            added = self._database.executemany(_QUEUE, rows).rowcount
            if added < len(rows):  # some were there
                again = [(*row[2:], *row[:2], *row[-2:]) for row in rows]
                self._database.executemany(_QUEUE_AGAIN, again)
            self._database.execute(_LENGTH, (peer, added))
        dropped: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for peer, path, version in known:
            dropped[peer].append((peer, path, *version))
        for peer, rows in dropped.items():
            removed = self._database.executemany(_UNQUEUE, rows).rowcount
            self._database.execute(_LENGTH, (peer, -removed))

    def _save_state(self, **values: Any) -> None:
        self._database.executemany(_STATE, values.items())

    def _roll_back(self) -> None:
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")


def _open(file: Path) -> sqlite3.Connection:
    is_new = not file.exists()
    database = connect(file)
    try:
        if not SCHEMA.is_in(database):
            claim(database, file, SCHEMA, _fill)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(_PATHS)
    except BaseException:
        database.close()
        raise
    if is_new:
        os.chmod(file, 0o600)
    return database


def _fill(database: sqlite3.Connection) -> None:
    state = {"node": secrets.token_hex(8), "files": 0, "bytes": 0, "tombstones": 0}
    database.executemany(_STATE, {**state, "last_stamp": 0, "last_receipt": 0, "horizon": 0}.items())


def _tree(database: sqlite3.Connection) -> MerkleTree:
    tree = MerkleTree()
    for branch, leaves in database.execute("SELECT branch, leaves FROM tree"):
        tree.set_branch(branch, leaves)
    return tree
