"""The contents of a node's files, for code in the replica's thread: nothing changes meanwhile."""

import logging

from sfss.disk.errors import TOO_MUCH, refusal
from sfss.disk.folder import Folder
from sfss.replication.changes import Change, Piece
from sfss.replication.clock import Version
from sfss.replication.digests import is_content
from sfss.replication.entries import Entry

log = logging.getLogger("sfss.node")

#: So much of what was put last is kept in memory. Bytes.
_RECENT_BYTES = 16 * 1024 * 1024


class Contents:
    """What lies in *folder*, and the latest puts, which are about to be sent to every neighbour."""

    def __init__(self, folder: Folder):
        #: Files that were found damaged or missing, and not yet healed.
        self.damaged: set[str] = set()
        self._folder = folder
        # By path, the oldest first.
        self._recent: dict[str, tuple[Version, Piece]] = {}
        self._recent_bytes = 0

    def remember(self, change: Change) -> None:
        """Keep its content for a while: neighbours can be told without a look at the disk."""
        if change.content is None or change.size > _RECENT_BYTES // 8:
            return
        if change.path in self._recent:
            self._recent_bytes -= len(self._recent.pop(change.path)[1])
        self._recent[change.path] = change.version, change.content
        self._recent_bytes += change.size
        while self._recent_bytes > _RECENT_BYTES:
            _, content = self._recent.pop(next(iter(self._recent)))
            self._recent_bytes -= len(content)

    def of(self, entry: Entry) -> Piece | None:
        """The content of *entry*; None if it is damaged or missing, which is noted."""
        recent = self._recent.get(entry.path)
        if recent is not None and recent[0] == entry.version:
            return recent[1]
        return self.on_disk(entry)

    def on_disk(self, entry: Entry) -> bytes | bytearray | None:
        """The same, whatever is in memory. :raises Overloaded: if no file can be opened at the moment."""
        try:
            content = self._folder.read(entry.path, limit=entry.size)
        except OSError as error:
            if error.errno in TOO_MUCH:
                raise refusal(error) from error  # that says nothing about the file
            log.error("cannot read a file", extra={"path": entry.path, "reason": str(error)})
            content = None
        if entry.is_intact(content):
            return content
        if entry.path not in self.damaged:
            what = "is missing" if content is None else "is damaged on disk"
            log.error(f"a file {what}", extra={"path": entry.path})
            self.damaged.add(entry.path)
        return None

    def is_intact(self, entry: Entry) -> bool:
        """Whether the file is the one that was put; if not, that is noted."""
        content = self.on_disk(entry)
        if content is None:
            return False
        if not is_content(content, entry.digests):
            self.damaged.add(entry.path)
            return False
        self.damaged.discard(entry.path)
        return True

    def change_of(self, entry: Entry) -> Change | None:
        """*entry* as it is sent, with its content; None if that is damaged or missing."""
        change = announcement(entry)
        if change.is_delete:
            return change
        content = self.of(entry)
        # The ETag tells damage; its receiver checks the SHA-256.
        return None if content is None else change._replace(content=content)


def announcement(entry: Entry) -> Change:
    """*entry* as it is announced, without its content."""
    return Change(entry.path, entry.version, entry.size, entry.digests)
