"""What an operation is to change, given what is known of its path. Nothing is changed here."""

from typing import NamedTuple

from sfss.disk.folder import Folder
from sfss.errors import AlreadyDeleted, NameTaken, StoreRefused
from sfss.models import FileInfo
from sfss.replication.changes import Change
from sfss.replication.clock import MOST_AHEAD, Clock, Version, seconds_of
from sfss.replication.digests import are_same, digests_of
from sfss.replication.entries import Entry
from sfss.replication.names import can_name_a_file
from sfss.replication.operations import Delete, Put

#: A file that somebody else has put into the folder is older than every change.
_FOUND_STAMP = 0


class ContentDamaged(StoreRefused):
    """A content is not what its digests say: it was changed on its way here."""


class Rules(NamedTuple):
    """What holds for every file of a node, wherever it comes from."""

    immutable: bool  #: names are generated, and a delete is final
    max_file_size: int  #: bytes

    @property
    def names(self) -> str:
        """What kind of names the files have, as ``--names`` says it."""
        return "generated" if self.immutable else "exact"

    def check(self, change: Change) -> None:
        """:raises StoreRefused: if a peer could not have this *change*, or this node cannot take it."""
        if not can_name_a_file(change.path):
            raise StoreRefused(f"{change.path!r} cannot be the name of a file here.")
        if change.size > self.max_file_size:
            raise StoreRefused(
                f"The file has {change.size} bytes; this node takes at most {self.max_file_size}"
                " (--max-file-size)."
            )
        if change.is_delete and change.version.is_final != self.immutable:
            kind = "final" if self.immutable else "not final"
            raise StoreRefused(f"With the --names of this node a delete is {kind}.")


def is_newer(change: Change, before: Entry | None) -> bool:
    """Whether *change* comes after what is known, for every node alike.

    Two contents with one version (two found files whose digests begin alike) are put in an order, too.
    """
    if before is None or change.version != before.version:
        return before is None or change.version > before.version
    if change.digests is None or before.digests is None:
        return False
    return change.digests.sha256 > before.digests.sha256


def wanted(operation: Put | Delete, before: Entry | None, clock: Clock) -> Change | None:
    """What a client wants; None if it is so already.

    :raises AlreadyDeleted, NameTaken, PreconditionFailed: if it must not be.
    """
    there = before if before is not None and not before.is_delete else None
    if operation.precondition is not None:
        operation.precondition.check(there and FileInfo(there.size, there.etag))
    if isinstance(operation, Delete):
        if before is not None and there is None and operation.final:
            return None  # it is remembered already, and nothing can be newer
        return Change(operation.path, clock.version(final=operation.final), 0, None)
    if before is not None and before.version.is_final:
        raise AlreadyDeleted.of(operation.path)
    if operation.immutable and before is not None:
        if there is None:
            raise AlreadyDeleted.of(operation.path)
        if not are_same(there.digests, operation.digests):
            raise NameTaken.of(operation.path)
        return None
    content = operation.content
    return Change(operation.path, clock.version(), len(content), operation.digests, content)


def learned(change: Change, before: Entry | None, clock: Clock, rules: Rules) -> Change | None:
    """What a peer says, with the content that is to be written; None if it is not newer.

    :raises ContentDamaged: if its content was changed on the way.
    :raises StoreRefused: if it cannot be true, or cannot be taken.
    """
    if clock.ahead(change.version.stamp) > MOST_AHEAD:
        raise StoreRefused("The timestamp is too far in the future.")
    if not is_newer(change, before):
        return None
    rules.check(change)
    if change.is_delete:
        change = change._replace(content=None)
    elif before is not None and are_same(before.digests, change.digests):
        if before.size != change.size:
            raise StoreRefused("The size is not that of a content with this SHA-256.")
        # Its SHA-1 is known, too: a peer cannot give it another one.
        change = change._replace(content=None, digests=before.digests)
    elif not change.is_intact:
        raise ContentDamaged("The content is not what its SHA-256 says.")
    clock.observe(change.version.stamp)
    return change


def found(
    path: str, before: Entry | None, clock: Clock, folder: Folder, limit: int
) -> tuple[Change, bytes | bytearray] | None:
    """What somebody else has put into *folder*, and its content; None if nobody has.

    :raises StoreRefused: if it cannot be a file of the node's. :raises OSError: EFBIG, if it has more
        than *limit* bytes.
    """
    if before is not None and before.version.stamp != _FOUND_STAMP:
        return None
    if not can_name_a_file(path):
        raise StoreRefused(f"{path!r} cannot be the name of a file here.")
    content = folder.read(path, limit=limit)
    if content is None:
        return None
    digests = digests_of(content)
    if before is not None:
        if are_same(before.digests, digests) or not _is_written_since(before, folder):
            return None
    # The same file is the same change on every node. (But one that somebody has gone on to write
    # after it was found is newer than what was found.)
    version = Version(_FOUND_STAMP, digests.sha256[:16]) if before is None else clock.version()
    return Change(path, version, len(content), digests), content


def _is_written_since(entry: Entry, folder: Folder) -> bool:
    """Whether somebody has written the file after *entry* was made. (Rot changes no times.)"""
    status = folder.stat(entry.path)
    return status is not None and status.st_mtime > seconds_of(entry.received) - 1.0
