"""What one node keeps, and how it changes: files, catalog and log of changes, in step.

A change takes four steps: its content is written under a temporary name; the record of its group
reaches the log, synced: *now it has happened*; the file gets its name; the catalog gets its entry, with
what the neighbours have to be told. A kill between any two of them leaves either nothing or a record in
the log, from which the start does the rest again.

Nothing here waits for anything but the disk, and only one thread may be in here at a time.

The module is long because a change, its failure, and its repetition after a kill are one procedure over one state.
"""

import contextlib
import errno
import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sfss.disk.errors import DISK_FAILS, FULL, full, refusal
from sfss.disk.folder import Folder
from sfss.errors import SfssError, StoreRefused, StoreUnusable
from sfss.models import etag_of
from sfss.replication import resolve
from sfss.replication.catalog import Catalog
from sfss.replication.changes import Change
from sfss.replication.clock import Clock, Version, stamp_of
from sfss.replication.contents import Contents
from sfss.replication.digests import are_same, is_content
from sfss.replication.entries import LEARNED, OWN, Entry
from sfss.replication.merkle import leaf_of
from sfss.replication.operations import Adopt, Heal, Learn, Operation, Outcome, Put, path_of
from sfss.replication.oplog import LogBroken, OpLog
from sfss.replication.queue_folder import QueueFolder

log = logging.getLogger("sfss.node")

#: What puts leave free on the disks, so that there is room for deletes. Bytes.
RESERVE_BYTES = 4 * 1024 * 1024
#: What came from a neighbour is passed on after so many µs at the least and at the most: by then
#: others have it from him too. Nodes differ in it, so that one of two says it first, and spares the other.
PASSING_DELAYS = 500_000, 1_300_000
#: After a failure of the disk, changes are refused for so long (µs) before it is tried again.
_MENDING_PAUSE = 1_000_000


class _Step(NamedTuple):
    """A change that is going to happen."""

    before: Entry | None
    change: Change
    entry: Entry
    operation: Operation | None
    temporary: str | None  # its content, if that is to be written


class Replica:
    """The files in *storage* and all else in *queue*; both folders are made if they are not there.

    *peers*: their URLs. *rules* hold for every file; larger ones that somebody has put into
    *storage* are none of the node's. *new_storage*: whether *storage* may be empty, though it was not. *wall*: seconds
    since the epoch. *now*: µs, from a clock that never goes back while the process lives. *reached* is
    called with the name of each step that is done.

    :raises StoreUnusable: if a folder cannot be used, or is in use.
    """

    def __init__(
        self,
        storage: Path,
        queue: Path,
        *,
        peers: Sequence[str],
        wall: Callable[[], float],
        now: Callable[[], int],
        rules: resolve.Rules,
        new_storage: bool = False,
        reached: Callable[[str], None] = lambda step: None,
    ):
        self.now = now
        self.process = secrets.token_hex(8)  #: another one in each life of the node
        self.peers: tuple[str, ...] = ()
        #: Ids of the neighbours that soon hear from this node itself what begins here.
        self.tells: tuple[str, ...] = ()
        #: Paths that peers have announced and not yet sent, and which peer has.
        self.announced: dict[str, str] = {}
        self.rules = rules
        self._reached = reached
        self.full = False  #: whether a file was refused because there is no room
        self._generation = 0  # of the log
        self._wall = wall
        self._last_receipt = 0
        self._broken: str | None = None
        self._is_full = False  # that is why
        self._reserve_is_used = False
        self._mend_at = 0
        self._last_due = 0
        with contextlib.ExitStack() as opened:
            self._place_of_queue = QueueFolder(queue, storage)
            opened.callback(self._place_of_queue.close)
            self._queue = self._place_of_queue.path
            self.folder = Folder(storage, alone=True)
            opened.callback(self.folder.close)
            self.contents = Contents(self.folder)
            opened.callback(self._place_of_queue.reserve.hold_back)  # of what the catalog has taken
            self.catalog = Catalog(self._queue)
            opened.callback(self.catalog.close)
            least, most = PASSING_DELAYS
            self._passing_delay = least + (most - least) * int(self.node[:4], 16) // 0xFFFF
            self.clock = Clock(self.catalog.node, wall, self.catalog.last_stamp)
            self._last_receipt = self.catalog.last_receipt
            self.knows_folder = self._knows_folder(new_storage)
            self._log = OpLog(self._queue)
            self.use_peers(peers)
            try:
                self._replay()
            except (OSError, sqlite3.Error) as error:
                if getattr(error, "errno", None) not in FULL and "full" not in str(error):
                    raise StoreUnusable(f"Cannot use {storage} and {queue}: {error}.") from error
                self._break(error)  # reads can go on, and changes as soon as there is room
            self._place_of_queue.reserve.hold_back()
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

    def use_peers(self, peers: Sequence[str]) -> list[str]:
        """Tell these from now on, and forget what others were to be told; those are returned."""
        self.peers = tuple(peers)
        return self.catalog.keep_queues_of(peers, self.now())

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
            self._check_in_place()
        except SfssError as error:
            return [error for _ in operations]
        except OSError as error:
            failure = self._break(error)
            return [failure for _ in operations]
        try:
            with self.catalog.snapshot():
                return self._apply(operations)
        except sqlite3.Error as error:  # before anything has happened
            log.error("the catalog cannot be read", extra={"reason": str(error)})
            return [StoreRefused(f"The catalog cannot be read: {error}.") for _ in operations]

    def _check_in_place(self) -> None:
        """Return if what is written now will be found by the next start. :raises OSError: if not."""
        self.folder.check()
        self._place_of_queue.check()
        self.catalog.check()
        self._log.check()

    def _apply(self, operations: Sequence[Operation]) -> list[Outcome | SfssError]:
        outcomes: list[Outcome | SfssError] = []
        steps: list[_Step] = []
        newest: dict[str, Entry] = {}  # of what is decided, and not yet in the catalog
        room = self._room()
        for operation in operations:
            path = path_of(operation)
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
            # What has found itself done already may have found what is not done now.
            outcomes = [
                failure if isinstance(outcome, Outcome) and path_of(operation) in newest else outcome
                for operation, outcome in zip(operations, outcomes)
            ]
        return outcomes

    def _decide(self, operation: Operation, path: str, before: Entry | None, room: int) -> _Step | None:
        """What is to change, None if nothing is. :raises SfssError: if it must not."""
        if isinstance(operation, Adopt):
            return self._adopt(operation, before)
        if isinstance(operation, Learn):
            change = resolve.learned(operation.change, before, self.clock, self.rules)
        else:
            assert not isinstance(operation, Heal)
            change = resolve.wanted(operation, before, self.clock)
            if change is not None:
                self._check_right_to(change, before)
        if change is None:
            return None
        etag, temporary = "", None
        if change.content is not None:
            temporary = self._write(change.content, room)
            etag = etag_of(change.content)
        elif not change.is_delete and before is not None:  # the content is the same
            etag = before.etag
        return self._step(before, change, etag, operation, temporary)

    def _step(
        self,
        before: Entry | None,
        change: Change,
        etag: str,
        operation: Operation,
        temporary: str | None,
    ) -> _Step:
        path, version, size, digests, _ = change
        entry = Entry(path, version, size, digests, etag, self.receipt())
        return _Step(before, change, entry, operation, temporary)

    def _adopt(self, operation: Adopt, before: Entry | None) -> _Step | None:
        try:
            found = resolve.found(operation.path, before, self.clock, self.folder, self.rules.max_file_size)
        except OSError as error:
            raise _disk_error(error) from error
        if found is None:
            return None
        change, content = found
        return self._step(before, change, etag_of(content), operation, None)

    def _check_right_to(self, change: Change, before: Entry | None) -> None:
        replaces = before is not None and not (before.is_delete and change.is_delete)
        if replaces and not self.folder.may_change(change.path):
            raise StoreRefused("The folder of this file may not be changed by the node's user.")

    def receipt(self) -> int:
        """A stamp of when this node came to know of something, by its own wall clock: it lies between all
        that were given before and all that are to come.
        """
        self._last_receipt = max(self._last_receipt + 1, stamp_of(self._wall()))
        return self._last_receipt

    def _do(self, steps: list[_Step], known: list[tuple[str, str, Version]]) -> SfssError | None:
        """Do *steps*. If that is not possible: why, and whether they may have happened."""
        if not steps and not known:
            return None
        entries = [(step.before, step.entry) for step in steps]
        try:
            if steps:
                self._reached("written")
                try:
                    self._append([step.change for step in steps])
                except OSError as error:
                    for step in steps:
                        self._discard(step.temporary)
                    return self._break(error) if isinstance(error, LogBroken) else self._full(error)
                self._reached("logged")
            with self.folder.keeping_open():
                for step in steps:
                    self._place(step)
            self._reached("placed")
            self.catalog.step(entries, self._to_tell(steps), known)
            self._reached("committed")
        except Exception as error:  # whatever it is: the log knows more than the catalog now
            for step in steps:
                self._discard(step.temporary)
            return self._break(error)
        finally:
            if self._reserve_is_used:
                self._reserve_is_used = False
                self._place_of_queue.reserve.hold_back()
        if any(step.temporary is not None for step in steps):
            self._note_room()
        for step in steps:
            self.announced.pop(step.change.path, None)
            if self.peers and isinstance(step.operation, Put):
                self.contents.remember(step.change)
            if step.temporary is not None or step.change.is_delete:
                self.contents.damaged.discard(step.change.path)
        return None

    def _append(self, changes: list[Change]) -> None:
        """Write *changes* into the log. Deletes may use the reserve. :raises OSError: as the log does."""
        try:
            self._log.append(changes)
        except OSError as error:
            has_contents = any(change.content is not None for change in changes)
            if error.errno not in FULL or isinstance(error, LogBroken) or has_contents:
                raise
            if not self._place_of_queue.reserve.release():
                raise
            self._reserve_is_used = True
            self._log.append(changes)

    def _place(self, step: _Step) -> None:
        if step.temporary is not None:
            self.folder.place(step.temporary, step.change.path)
        elif step.change.is_delete:
            try:
                self.folder.remove(step.change.path)
            except OSError as error:
                if error.errno in DISK_FAILS:
                    raise
                log.error(
                    "a file is deleted and cannot be removed from the folder",
                    extra={"path": step.change.path, "reason": str(error)},
                )

    def _to_tell(self, steps: list[_Step]) -> list[tuple[str, str, int, int, Version]]:
        rows = []
        for step in steps:
            operation = step.operation
            know: frozenset[str | None] = frozenset()
            origin, delay = OWN, 0
            if isinstance(operation, Learn):
                know = operation.told | {operation.source}
                origin, delay = LEARNED, self._passing_delay
            due = self.next_due() + delay
            rows += [
                (peer, step.change.path, origin, due, step.change.version)
                for peer in self.peers
                if peer not in know
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
            raise self._full(OSError(errno.ENOSPC, "what is left is for deletes"))
        try:
            return self.folder.write_temporary(content, sync=False)
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> SfssError:
        """What to say of *error*; that the disk is full is logged once."""
        if error.errno in FULL and not self.full:
            self.full = True
            log.error("the disk is full: no more files are taken", extra={"reason": str(error)})
        return _disk_error(error)

    def _note_room(self) -> None:
        if self.full:
            self.full = False
            log.info("there is room on the disk again")

    def _discard(self, temporary: str | None) -> None:
        if temporary is not None:
            with contextlib.suppress(OSError):  # the next start sweeps
                self.folder.discard(temporary)

    def _heal(self, operation: Heal, before: Entry | None) -> Outcome:
        if before is None or before.is_delete or not is_content(operation.content, before.digests):
            raise StoreRefused("The file has changed meanwhile.")
        try:
            temporary = self.folder.write_temporary(operation.content, sync=True)
            try:
                self.folder.place(temporary, operation.path)
            except OSError:
                self._discard(temporary)
                raise
        except OSError as error:
            raise self._full(error) from error
        etag = etag_of(operation.content)
        if etag != before.etag:  # it was not known
            healed = before._replace(etag=etag)
            self.catalog.step([(before, healed)])
            before = healed
        self.contents.damaged.discard(operation.path)
        return Outcome(before, before, True)

    def _room(self) -> int:
        """Bytes that may be written now. 0 or less: none."""
        try:
            disk = os.statvfs(self._queue)
            free = min(disk.f_bavail * disk.f_frsize, self.folder.free_bytes())
            # What waits in the write-ahead log of the catalog is written a second time.
            return free - RESERVE_BYTES - self.catalog.unwritten_bytes()
        except OSError:
            return 0

    # Tombstones.

    def forget(self, before: int, limit: int) -> int:
        """Forget deletes that came before the stamp *before* and that all neighbours know of."""
        return self.catalog.forget(before, limit)

    @property
    def horizon(self) -> int:
        """Deletes that came after this stamp are all remembered."""
        horizon: int = self.catalog.state("horizon")
        return horizon

    # The log's end: what it says is on disk elsewhere too.

    def begin_checkpoint(self) -> tuple[int, int]:
        """All changes so far, for :meth:`end_checkpoint`; then sync the folder, in any thread.

        :raises StoreRefused: if the log knows more than the rest.
        """
        if self._broken is not None:
            raise StoreRefused(f"The node cannot write: {self._broken}.")
        return self._generation, self._log.rotate()

    def end_checkpoint(self, begun: tuple[int, int]) -> None:
        """The folder was synced since *begun* was given: the log need not know of them any more."""
        generation, number = begun
        if self._broken is None and generation == self._generation and self.catalog.checkpoint():
            self._log.discard(number)
            self._place_of_queue.reserve.hold_back()

    def checkpoint(self) -> None:
        """All of it at once. Raises as :meth:`begin_checkpoint` does. :raises OSError:"""
        begun = self.begin_checkpoint()
        self.folder.sync()
        self.end_checkpoint(begun)

    # After a kill, a power cut, or a failure of the disk.

    def _break(self, error: Exception) -> SfssError:
        self._is_full = getattr(error, "errno", None) in FULL
        self._broken = str(error) or type(error).__name__
        self._generation += 1  # a checkpoint under way must not end
        self._mend_at = self.now() + _MENDING_PAUSE
        expected = isinstance(error, (OSError, sqlite3.Error))
        log.error(
            "no more changes: the disk has failed",
            extra={"reason": str(error)},
            exc_info=None if expected else error,
        )
        return StoreRefused(f"The node could not write: {error}. It may have happened all the same.")

    def mend(self) -> None:
        """If the disk has failed, see whether it works again."""
        with contextlib.suppress(StoreRefused):
            self._mend()

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
                self._check_in_place()
                self._log = OpLog(self._queue, self._log.number)
                self._replay()
                # What was read again may never have been on disk.
                number = self._log.rotate()
                self.folder.sync()
                if self.catalog.checkpoint():
                    self._log.discard(number, keep=False)  # its blocks may be bad
            except Exception as error:
                self._is_full = getattr(error, "errno", None) in FULL
                self._broken = str(error) or type(error).__name__
            else:
                self._broken = None
                log.warning("the disk works again, and so do changes")
                return
        if self._is_full:
            raise full()
        raise StoreRefused(f"The node cannot write: {self._broken}.")

    def _replay(self) -> None:
        """Do again what the log says, as far as nothing newer is known."""
        count = 0
        leaves: set[int] = set()
        # What was replaced later by something that stands for itself need not be written again: there may
        # be no room for it.
        last: dict[str, Version] = {}
        for changes in self._log.replay(quiet=True):
            last |= {c.path: c.version for c in changes if c.is_delete or c.content is not None}
        for changes in self._log.replay():
            leaves.update(leaf_of(change.path) for change in changes)
            newest: dict[str, Entry] = {}
            first: dict[str, Entry | None] = {}  # what the catalog has
            steps: dict[str, _Step] = {}
            for change in changes:
                path = change.path
                if path not in first:
                    first[path] = self.catalog.get(path)
                before = newest.get(path) or first[path]
                if not (_is_of(change, before) or resolve.is_newer(change, before)):
                    continue
                if path in last and change.version < last[path]:
                    continue
                step = self._redo(change, before)
                newest[path] = step.entry
                if not _is_of(change, first[path]):
                    steps[path] = step._replace(before=first[path])
            if steps:
                self.catalog.step(
                    [(step.before, step.entry) for step in steps.values()],
                    self._to_tell([*steps.values()]),
                )
            count += len(changes)
        self.catalog.count_again(leaves)
        if count:
            log.info("read the log of changes again", extra={"changes": count})

    def _is_in_place(self, change: Change) -> bool:
        """Whether its content lies there already: then it need not be written, for which there may be no room."""
        try:
            return is_content(self.folder.read(change.path, limit=change.size), change.digests)
        except OSError:
            return False

    def _etag_on_disk(self, change: Change) -> str:
        """The ETag of the file, which was there when this was logged; "" if it is not any more."""
        try:
            content = self.folder.read(change.path, limit=change.size)
        except OSError as error:
            log.error("cannot read a file", extra={"path": change.path, "reason": str(error)})
            return ""
        if content is None or not is_content(content, change.digests):
            return ""  # it will be found damaged, and healed
        return etag_of(content)

    def _redo(self, change: Change, before: Entry | None) -> _Step:
        """*change*, which is on disk; its file too, but perhaps not for long."""
        self.clock.observe(change.version.stamp)
        etag, temporary = "", None
        if change.content is not None:
            etag = etag_of(change.content)
            if not self._is_in_place(change):
                temporary = self.folder.write_temporary(change.content, sync=False)
        elif before is not None and are_same(before.digests, change.digests):
            etag = before.etag
        elif not change.is_delete:
            etag = self._etag_on_disk(change)
        received = before.received if before is not None and _is_of(change, before) else self.receipt()
        entry = Entry(change.path, change.version, change.size, change.digests, etag, received)
        step = _Step(before, change, entry, None, temporary)
        try:
            self._place(step)
        except OSError:
            self._discard(temporary)
            raise
        return step

    def _knows_folder(self, new_storage: bool) -> bool:
        """Whether the folder is the one that the catalog is about.

        :raises StoreUnusable: if it is empty and should not be, but *new_storage* allows it.
        """
        known = self.catalog.state("storage")
        if known is None:
            known = secrets.token_hex(8)
            self.catalog.set_state("storage", known)
            if next(self.folder.walk(), None) is None:
                try:
                    self.folder.identify(known)
                except OSError as error:
                    if error.errno not in FULL:
                        raise StoreUnusable(
                            f"Cannot write in {self.folder.root}: {error.strerror}."
                        ) from error
        if self.folder.identity == known:
            return True
        if self.catalog.counts.files and not new_storage and next(self.folder.walk(), None) is None:
            raise StoreUnusable(
                f"{self.folder.root} is empty, and should have {self.catalog.counts.files} files. Is its"
                f" disk mounted? If they are lost, start once with --new-storage: the other nodes have them."
            )
        return False

    def folder_is_known(self) -> None:
        """The folder was compared with the catalog, file by file."""
        self.folder.identify(self.catalog.state("storage"))
        self.knows_folder = True


def _is_of(change: Change, entry: Entry | None) -> bool:
    """Whether *entry* is what *change* has made of its path."""
    return (
        entry is not None
        and entry.version == change.version
        and (are_same(entry.digests, change.digests) or entry.is_delete == change.is_delete is True)
    )


def _disk_error(error: OSError) -> SfssError:
    if error.errno not in FULL:
        log.error("the disk refuses", extra={"reason": str(error)})
    return refusal(error)
