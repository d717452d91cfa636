"""What one node keeps, and how it changes: files, catalog and log of changes, in step.

A change takes four steps: its content is written under a temporary name; the record of its group
reaches the log, synced: *now it has happened*; the file gets its name; the catalog gets its entry, with
what the neighbours have to be told. A kill between any two of them leaves either nothing or a record in
the log, from which the start does the rest again.

Nothing here waits for anybody but the disk, and only one thread may be in here at a time.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from hashlib import sha1
from pathlib import Path
from typing import NamedTuple

from sfss.errors import (
    AlreadyDeleted,
    SfssError,
    StoreFull,
    StoreRefused,
    StoreUnusable,
)
from sfss.models import FileInfo, Precondition, etag_of
from sfss.replication.catalog import LEARNED, OWN, Catalog, Entry
from sfss.replication.changes import Change
from sfss.replication.oplog import LogBroken, OpLog, sync_folder
from sfss.replication.tree import leaf_of
from sfss.replication.versions import Clock, Version
from sfss.stores.folder import FULL, Folder

log = logging.getLogger("sfss.node")

#: What puts leave free on the disks, so that there is room for deletes. Bytes.
RESERVE_BYTES = 4 * 1024 * 1024
#: What came from a neighbour is passed on after so many µs at the least and at the most: by then
#: others have it from him too. Nodes differ in it, so that one of two says it first, and spares the other.
PASSING_DELAYS = 700_000, 2_200_000
#: After a failure of the disk, changes are refused for so long (µs) before it is tried again.
_MENDING_PAUSE = 1_000_000
#: So much of what was put last is kept in memory.
_RECENT_BYTES = 16 * 1024 * 1024
#: A file that somebody else has put into the folder is older than every change.
_FOUND_STAMP = 0


class Put(NamedTuple):
    """A client's file. *immutable*: a name has one content only, and is never used again."""

    path: str
    content: bytes | bytearray
    sha1: str
    precondition: Precondition | None = None
    immutable: bool = False


class Delete(NamedTuple):
    """A client's delete. It is remembered even if there is no such file: it may be on its way."""

    path: str
    precondition: Precondition | None = None
    final: bool = False  #: the name is never used again


class Learn(NamedTuple):
    """What *source* (a neighbour's URL, or None) says; with the content, or ours is the same."""

    change: Change
    source: str | None


class Adopt(NamedTuple):
    """A file lies in the folder that is not in the catalog."""

    path: str


class Heal(NamedTuple):
    """The content of a file that was damaged or missing."""

    path: str
    content: bytes | memoryview


Operation = Put | Delete | Learn | Adopt | Heal


class Outcome(NamedTuple):
    """What an operation has found, and what is true now."""

    before: Entry | None
    entry: Entry | None
    changed: bool


class _Step(NamedTuple):
    """A change that is going to happen."""

    before: Entry | None
    change: Change
    entry: Entry
    operation: Operation | None
    temporary: str | None  # its content, if that is to be written


class Replica:
    """The files in *storage* and all else in *queue*; both folders are made if they are not there.

    *neighbours*: their URLs. *max_file_size*: larger files that somebody has put into *storage* are
    none of the node's. *wall*: seconds since the epoch. *now*: µs, from a clock that never goes back
    while the process lives. *reached* is called with the name of each step that is done.

    :raises StoreUnusable: if a folder cannot be used, or is in use.
    """

    def __init__(
        self,
        storage: Path,
        queue: Path,
        *,
        neighbours: Sequence[str],
        wall: Callable[[], float],
        now: Callable[[], int],
        max_file_size: int,
        reached: Callable[[str], None] = lambda step: None,
    ):
        self.now = now
        self.neighbours: tuple[str, ...] = ()
        #: Paths that neighbours have announced and not yet sent, and who has.
        self.announced: dict[str, str] = {}
        #: Files that were found damaged or missing, and not yet healed.
        self.damaged: set[str] = set()
        self._max_file_size = max_file_size
        self._reached = reached
        # The contents of the latest puts by path, the oldest first.
        self._recent: dict[str, tuple[Version, bytes | bytearray]] = {}
        self._recent_bytes = 0
        self._broken: str | None = None
        self._mend_at = 0
        self._last_due = 0
        self._queue = Path(queue).absolute()
        with contextlib.ExitStack() as opened:
            self._lock = _take_queue(self._queue, Path(storage).absolute())
            opened.callback(os.close, self._lock)
            self.folder = Folder(storage, alone=True)
            opened.callback(self.folder.close)
            self.catalog = Catalog(self._queue)
            opened.callback(self.catalog.close)
            least, most = PASSING_DELAYS
            self._passing_delay = least + (most - least) * int(self.node[:4], 16) // 0xFFFF
            self.clock = Clock(self.catalog.node, wall, self.catalog.last_stamp)
            self.knows_folder = self._knows_folder()
            self._log = OpLog(self._queue)
            self.use_neighbours(neighbours)
            try:
                self._replay()
            except (OSError, sqlite3.Error) as error:
                raise StoreUnusable(f"Cannot use {storage} and {queue}: {error}.") from error
            self._opened = opened.pop_all()

    @property
    def node(self) -> str:
        """The id of this node: 16 hex digits."""
        return self.catalog.node

    @property
    def broken(self) -> str | None:
        """Why no change can be made at the moment, if so."""
        return self._broken

    @property
    def log_bytes(self) -> int:
        return self._log.size

    def use_neighbours(self, neighbours: Sequence[str]) -> list[str]:
        """Tell these from now on, and forget what others were to be told; those are returned."""
        self.neighbours = tuple(neighbours)
        return self.catalog.keep_queues_of(neighbours, self.now())

    def close(self) -> None:
        """Let go of everything. What was to be synced is in the log."""
        self._log.close()
        self._opened.close()

    # Changes.

    def apply(self, operations: Sequence[Operation]) -> list[Outcome | SfssError]:
        """Do what can be done of *operations*; it is on disk when this returns.

        For each its outcome, or why it did not happen (or, of a :class:`StoreRefused`, may have).
        """
        try:
            self._mend()
        except SfssError as error:
            return [error for _ in operations]
        with self.catalog.snapshot():
            return self._apply(operations)

    def _apply(self, operations: Sequence[Operation]) -> list[Outcome | SfssError]:
        outcomes: list[Outcome | SfssError] = []
        steps: list[_Step] = []
        newest: dict[str, Entry] = {}  # of what is decided, and not yet in the catalog
        room = self._room()
        for operation in operations:
            path = operation.change.path if isinstance(operation, Learn) else operation.path
            before = newest.get(path) or self.catalog.get(path)
            try:
                if isinstance(operation, Heal):
                    outcomes.append(self._heal(operation, before))
                    continue
                step = self._decide(operation, path, before, room)
            except SfssError as error:
                outcomes.append(error)
                continue
            if step is None:
                outcomes.append(Outcome(before, before, False))
                continue
            if step.temporary is not None:
                room -= 2 * step.change.size
            steps.append(step)
            newest[path] = step.entry
            outcomes.append(Outcome(before, step.entry, True))
        failure = self._do(steps, self._known(operations, outcomes))
        if failure is not None:
            outcomes = [
                failure if isinstance(outcome, Outcome) and outcome.changed else outcome
                for outcome in outcomes
            ]
        return outcomes

    def _decide(
        self, operation: Operation, path: str, before: Entry | None, room: int
    ) -> _Step | None:
        """What is to change, None if nothing is. :raises SfssError: if it must not."""
        content: bytes | bytearray | memoryview | None = None
        if isinstance(operation, Learn):
            change = operation.change
            self.clock.observe(change.version.stamp)
            if before is not None and change.version <= before.version:
                return None
            if not change.is_delete and not (before and before.sha1 == change.sha1):
                if not change.is_intact:
                    raise StoreRefused("The content is not what its SHA-1 says.")
                content = change.content
            change = change._replace(content=content)
        elif isinstance(operation, Adopt):
            return None if before is not None else self._adopted(operation)
        else:
            change, content = self._decide_for_client(operation, before)
            if change is None:
                return None
        etag = ""
        temporary = None
        if content is not None:
            temporary = self._write(content, room)
            etag = etag_of(content)
        elif not change.is_delete:
            etag = before.etag
        entry = Entry(path, change.version, change.size, change.sha1, etag, self.clock.tick())
        return _Step(before, change, entry, operation, temporary)

    def _adopted(self, operation: Adopt) -> _Step | None:
        path = operation.path
        try:
            content = self.folder.read(path, limit=self._max_file_size)
        except OSError as error:
            raise _disk_error(error) from error
        if content is None:
            return None
        digest = sha1(content).hexdigest()
        # The same file is the same change on every node.
        version = Version(_FOUND_STAMP, digest[:16])
        change = Change(path, version, len(content), digest)
        entry = Entry(path, version, change.size, digest, etag_of(content), self.clock.tick())
        return _Step(None, change, entry, operation, None)

    def _decide_for_client(
        self, operation: Put | Delete, before: Entry | None
    ) -> tuple[Change | None, bytes | bytearray | None]:
        there = before if before is not None and before.sha1 is not None else None
        if operation.precondition is not None:
            operation.precondition.check(there and FileInfo(there.size, there.etag))
        if isinstance(operation, Delete):
            if before is not None and there is None and operation.final:
                return None, None  # it is remembered already, and nothing can be newer
            version = self.clock.version(final=operation.final)
            return Change(operation.path, version, 0, None), None
        if operation.immutable and before is not None:
            if there is None:
                raise AlreadyDeleted.of(operation.path)
            return None, None
        version, content = self.clock.version(), operation.content
        return Change(operation.path, version, len(content), operation.sha1, content), content

    def _do(self, steps: list[_Step], known: list[tuple[str, str, Version]]) -> SfssError | None:
        """Do *steps*. If that is not possible: why, and whether they may have happened."""
        if not steps and not known:
            return None
        entries = [(step.before, step.entry) for step in steps]
        synced = None
        try:
            if steps:
                self._reached("written")
                try:
                    synced = self._log.append([step.change for step in steps])
                except OSError as error:
                    for step in steps:
                        self._discard(step.temporary)
                    return self._break(error) if isinstance(error, LogBroken) else _disk_error(error)
            self.catalog.stage(entries, self._to_tell(steps), known)
            if synced is not None:
                synced.result()
                self._reached("logged")
            for step in steps:
                self._place(step)
            self._reached("placed")
            self.catalog.commit()
            self._reached("committed")
        except (OSError, sqlite3.Error) as error:
            return self._break(error)
        finally:
            if synced is not None:
                wait([synced])  # whatever went wrong, nobody else may write into the log meanwhile
        for step in steps:
            self.announced.pop(step.change.path, None)
            if isinstance(step.operation, Put):
                self._remember(step.change)
            if step.temporary is not None or step.change.is_delete:
                self.damaged.discard(step.change.path)
        return None

    def _remember(self, change: Change) -> None:
        """Its content is about to be sent to every neighbour: they need not read it from disk."""
        if not self.neighbours or change.size > _RECENT_BYTES // 8:
            return
        if change.path in self._recent:
            self._recent_bytes -= len(self._recent.pop(change.path)[1])
        self._recent[change.path] = change.version, change.content
        self._recent_bytes += change.size
        while self._recent_bytes > _RECENT_BYTES:
            _, content = self._recent.pop(next(iter(self._recent)))
            self._recent_bytes -= len(content)

    def _place(self, step: _Step) -> None:
        if step.temporary is not None:
            self.folder.place(step.temporary, step.change.path)
        elif step.change.is_delete:
            self.folder.remove(step.change.path)

    def _to_tell(self, steps: list[_Step]) -> list[tuple[str, str, int, int, Version]]:
        rows = []
        for step in steps:
            operation = step.operation
            source, lane, delay = None, OWN, 0
            if isinstance(operation, Learn):
                source, lane, delay = operation.source, LEARNED, self._passing_delay
            due = self.next_due() + delay
            rows += [
                (neighbour, step.change.path, lane, due, step.change.version)
                for neighbour in self.neighbours
                if neighbour != source
            ]
        return rows

    def _known(
        self, operations: Sequence[Operation], outcomes: Sequence[Outcome | SfssError]
    ) -> list[tuple[str, str, Version]]:
        """What the neighbours that have spoken have, as they say."""
        return [
            (operation.source, operation.change.path, operation.change.version)
            for operation, outcome in zip(operations, outcomes)
            if isinstance(operation, Learn) and operation.source and isinstance(outcome, Outcome)
        ]

    def next_due(self) -> int:
        """Now, in µs, and later than any time before: what is due keeps its order."""
        self._last_due = max(self._last_due + 1, self.now())
        return self._last_due

    def _write(self, content: bytes | bytearray | memoryview, room: int) -> str:
        if room < 2 * len(content):
            raise StoreFull(_FULL)
        try:
            return self.folder.write_temporary(content, sync=False)
        except OSError as error:
            raise _disk_error(error) from error

    def _discard(self, temporary: str | None) -> None:
        if temporary is not None:
            with contextlib.suppress(OSError):  # the next start sweeps
                self.folder.discard(temporary)

    def _heal(self, operation: Heal, before: Entry | None) -> Outcome:
        if before is None or sha1(operation.content).hexdigest() != before.sha1:
            raise StoreRefused("The file has changed meanwhile.")
        try:
            temporary = self.folder.write_temporary(operation.content, sync=True)
            self.folder.place(temporary, operation.path)
        except OSError as error:
            raise _disk_error(error) from error
        self.damaged.discard(operation.path)
        return Outcome(before, before, True)

    def _room(self) -> int:
        """Bytes that may be written now. 0 or less: none."""
        try:
            disk = os.statvfs(self._queue)
            return min(disk.f_bavail * disk.f_frsize, self.folder.free_bytes()) - RESERVE_BYTES
        except OSError:
            return 0

    # Reading, for those who are in here anyway.

    def content_of(self, entry: Entry) -> bytes | None:
        """The content of *entry*; None if it is damaged or missing, which is noted."""
        recent = self._recent.get(entry.path)
        if recent is not None and recent[0] == entry.version:
            return recent[1]
        return self.content_on_disk(entry)

    def content_on_disk(self, entry: Entry) -> bytes | None:
        """The same, whatever is in memory."""
        try:
            content = self.folder.read(entry.path)
        except OSError as error:
            log.error("cannot read a file", extra={"path": entry.path, "reason": str(error)})
            content = None
        if content is not None and etag_of(content) == entry.etag:
            return content
        if entry.path not in self.damaged:
            what = "is missing" if content is None else "is damaged on disk"
            log.error(f"a file {what}", extra={"path": entry.path})
            self.damaged.add(entry.path)
        return None

    def is_intact(self, entry: Entry) -> bool:
        """Whether the file is what its SHA-1 says; if not, that is noted."""
        content = self.content_on_disk(entry)
        if content is None:
            return False
        if sha1(content).hexdigest() != entry.sha1:
            self.damaged.add(entry.path)
            return False
        self.damaged.discard(entry.path)
        return True

    def change_of(self, entry: Entry) -> Change | None:
        """*entry* as it is sent, with its content; None if that is damaged or missing."""
        change = announcement(entry)
        if change.is_delete:
            return change
        content = self.content_of(entry)
        # The ETag tells damage; the SHA-1 is held against it by whoever gets it.
        return None if content is None else change._replace(content=content)

    # Tombstones.

    def forget(self, before: int, limit: int) -> int:
        """Forget deletes that came before the stamp *before* and that all neighbours know of."""
        count, _ = self.catalog.forget(before, limit)
        return count

    @property
    def horizon(self) -> int:
        """Deletes that came after this stamp are all remembered."""
        return self.catalog.state("horizon")

    # The log's end: what it says is on disk elsewhere too.

    def begin_checkpoint(self) -> int:
        """All changes so far, for :meth:`end_checkpoint`; then sync the folder, in any thread."""
        return self._log.rotate()

    def end_checkpoint(self, number: int) -> None:
        """The folder was synced since *number* was given: the log need not know of them any more."""
        if self.catalog.checkpoint():
            self._log.discard(number)

    def checkpoint(self) -> None:
        """All of it at once."""
        number = self.begin_checkpoint()
        self.folder.sync()
        self.end_checkpoint(number)

    # After a kill, a power cut, or a failure of the disk.

    def _break(self, error: Exception) -> SfssError:
        self._broken = str(error)
        self._mend_at = self.now() + _MENDING_PAUSE
        log.error("no more changes: the disk has failed", extra={"reason": str(error)})
        return StoreRefused(f"The node could not write: {error}. It may have happened all the same.")

    def _mend(self) -> None:
        """If the disk has failed: read the log again, and go on if that can be done.

        :raises StoreRefused: if not.
        """
        if self._broken is None:
            return
        if self.now() >= self._mend_at:
            self._mend_at = self.now() + _MENDING_PAUSE
            try:
                self._log.close()
                self._log = OpLog(self._queue)
                self._replay()
                self.checkpoint()  # what was read again may never have been on disk
            except (OSError, sqlite3.Error) as error:
                self._broken = str(error)
            else:
                self._broken = None
                log.warning("the disk works again, and so do changes")
                return
        raise StoreRefused(f"The node cannot write: {self._broken}.")

    def _replay(self) -> None:
        """Do again what the log says, as far as nothing newer is known."""
        count = 0
        leaves: set[int] = set()
        for changes in self._log.replay():
            steps = []
            leaves.update(leaf_of(change.path) for change in changes)
            for change in changes:
                self.clock.observe(change.version.stamp)
                before = self.catalog.get(change.path)
                if before is not None and change.version < before.version:
                    continue
                # The same version again: the catalog had it, but the file may not be on disk.
                etag, temporary = before.etag if before is not None else "", None
                if change.is_delete:
                    etag = ""
                elif change.content is not None:
                    temporary = self.folder.write_temporary(change.content, sync=False)
                    etag = etag_of(change.content)
                elif not etag:
                    content = self.folder.read(change.path) or b""
                    etag = etag_of(content)  # the file was there when this was written
                received = before.received if before is not None else self.clock.tick()
                if before is None or before.version != change.version:
                    received = self.clock.tick()
                entry = Entry(
                    change.path, change.version, change.size, change.sha1, etag, received
                )
                step = _Step(before, change, entry, None, temporary)
                self._place(step)
                if before is None or before.version != change.version:
                    steps.append(step)
            if steps:
                # A path may be there several times, and only its last state is to be kept.
                last = {step.change.path: step for step in steps}
                self.catalog.stage(
                    [(step.before, step.entry) for step in last.values()],
                    self._to_tell([*last.values()]),
                )
                self.catalog.commit()
            count += len(changes)
        self.catalog.count_again(leaves)
        if count:
            log.info("read the log of changes again", extra={"changes": count})

    def _knows_folder(self) -> bool:
        """Whether the folder is the one that the catalog is about."""
        known = self.catalog.state("storage")
        if known is None:
            known = secrets.token_hex(8)
            self.catalog.set_state("storage", known)
            has_files = next(self.folder.walk(), None) is not None
            if not has_files:
                self.folder.identify(known)
        return self.folder.identity == known

    def folder_is_known(self) -> None:
        """The folder was compared with the catalog, file by file."""
        self.folder.identify(self.catalog.state("storage"))
        self.knows_folder = True


def announcement(entry: Entry) -> Change:
    """*entry* as it is announced, without its content."""
    return Change(entry.path, entry.version, entry.size, entry.sha1)


_FULL = "The disk is full; reading and deleting go on. Nothing was changed."


def _disk_error(error: OSError) -> SfssError:
    if error.errno in FULL:
        return StoreFull(_FULL)
    log.error("the disk refuses", extra={"reason": str(error)})
    return StoreRefused(f"The disk refused: {error.strerror}. Nothing was changed.")


def _take_queue(queue: Path, storage: Path) -> int:
    """The lock of *queue*. :raises StoreUnusable: if it is taken, or no place for a queue."""
    if queue.resolve().is_relative_to(storage.resolve()):
        raise StoreUnusable(f"The queue {queue} lies in the storage, where everybody could read it.")
    try:
        queue.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(queue / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_folder(queue.parent)
        except BaseException:
            os.close(lock)
            raise
    except BlockingIOError:
        raise StoreUnusable(f"{queue} is in use by another node.") from None
    except OSError as error:
        raise StoreUnusable(f"Cannot use the folder {queue}: {error.strerror}.") from error
    return lock
