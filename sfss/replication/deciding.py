"""What an operation is to change, given what is known of its path. Nothing is changed here."""

from hashlib import sha1

from sfss.errors import AlreadyDeleted, StoreRefused
from sfss.models import FileInfo
from sfss.replication.catalog import Entry
from sfss.replication.changes import Change
from sfss.replication.names import can_name_a_file
from sfss.replication.operations import Delete, Put
from sfss.replication.versions import MOST_AHEAD, Clock, Version, seconds_of
from sfss.stores.folder import Folder

#: A file that somebody else has put into the folder is older than every change.
_FOUND_STAMP = 0


def wanted(operation: Put | Delete, before: Entry | None, clock: Clock) -> Change | None:
    """What a client wants; None if it is so already.

    :raises AlreadyDeleted, PreconditionFailed: if it must not be.
    """
    there = before if before is not None and before.sha1 is not None else None
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
        return None
    content = operation.content
    return Change(operation.path, clock.version(), len(content), operation.sha1, content)


def learned(change: Change, before: Entry | None, clock: Clock) -> Change | None:
    """What a neighbour says, with the content that is to be written; None if it is not newer.

    :raises StoreRefused: if it cannot be true.
    """
    if clock.ahead(change.version.stamp) > MOST_AHEAD:
        raise StoreRefused("It is from a clock that is years ahead.")
    if before is not None and change.version <= before.version:
        return None
    if change.is_delete:
        change = change._replace(content=None)
    elif before is not None and before.sha1 == change.sha1:
        if before.size != change.size:
            raise StoreRefused("The size is not that of a content with this SHA-1.")
        change = change._replace(content=None)
    elif not change.is_intact:
        raise StoreRefused("The content is not what its SHA-1 says.")
    clock.observe(change.version.stamp)
    return change


def found(
    path: str, before: Entry | None, clock: Clock, folder: Folder, limit: int
) -> tuple[Change, bytes] | None:
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
    digest = sha1(content).hexdigest()
    if before is not None and (before.sha1 == digest or not _is_written_since(before, folder)):
        return None
    # The same file is the same change on every node. (But one that somebody has gone on to write
    # after it was found is newer than what was found.)
    version = Version(_FOUND_STAMP, digest[:16]) if before is None else clock.version()
    return Change(path, version, len(content), digest), content


def _is_written_since(entry: Entry, folder: Folder) -> bool:
    """Whether somebody has written the file after *entry* was made. (Rot changes no times.)"""
    status = folder.stat(entry.path)
    return status is not None and status.st_mtime > seconds_of(entry.received) - 1.0
