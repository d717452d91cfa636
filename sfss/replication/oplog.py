"""The log of changes: what makes them durable, one wait for the disk for many of them.

A record is a message (``changes.py``) with the changes of one group and their contents. A change has
happened when its record is on disk; the files and the catalog follow, and are not waited for. After
a kill or a power cut the log is read again from its beginning, and what the rest had not got yet is
done again. When files and catalog are on disk too, the log's older segments go.

The file of one that goes becomes that of a new one, and its bytes are written over: that syncs in half the
time, for the file system has nothing to note. So each segment has a mark of its own, random, in its name and
in each of its records: what is left behind the last one has another.
"""

import logging
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from sfss.disk.folder import check_same, sync_folder
from sfss.replication.changes import HEAD_BYTES, BadMessage, Change, Piece, decode_first, encode

log = logging.getLogger("sfss.node")

#: A segment's name: its number, and its mark.
_NAME = re.compile("changes-(?P<number>[0-9]{16})-(?P<mark>[0-9a-f]{16})[.]log")
#: A file that is larger (bytes) is not kept for later.
_LARGEST_SPARE = 128 * 1024 * 1024
_MOST_CHANGES = 1000  # of one record
_MOST_PIECES = 1000  # of one writev: IOV_MAX is 1024
_CLOSED = -1


class LogBroken(OSError):
    """The disk has failed in a way that leaves unknown what is on it."""


class OpLog:
    """The segments in *folder*, which is there. Appends go to a new one, with a number after *after*."""

    def __init__(self, folder: Path, after: int = 0):
        self._folder = folder
        self._spare = folder / "spare.log"
        self._segment = _CLOSED  # an open descriptor
        self._end = 0  # of the open segment, bytes
        self._broken = False
        found = [(name, match) for name in sorted(os.listdir(folder)) if (match := _NAME.fullmatch(name))]
        self._files = {int(match["number"]): folder / name for name, match in found}
        self._marks = {int(match["number"]): match["mark"] for _, match in found}
        # Bytes of the older segments. (What has ended is not known of those that another life has left.)
        self._old = {number: file.stat().st_size for number, file in self._files.items()}
        self.number = max([after, *self._old])  #: of the latest segment

    @property
    def size(self) -> int:
        """Bytes that a start would have to read again."""
        return sum(self._old.values()) + self._end

    def replay(self, *, quiet: bool = False) -> Iterator[list[Change]]:
        """The changes of each record, the oldest first. An end that was cut off is passed over.

        *quiet*: without a word in the log of what cannot be read.
        """
        for number, file in sorted(self._files.items()):
            data = file.read_bytes()
            start = 0
            while start < len(data):
                try:
                    message, size = decode_first(memoryview(data)[start:])
                    if message.fields.get("segment") != self._marks[number]:
                        raise BadMessage("It is of another segment.")
                    # (Without a content: the file had it already.)
                    if not all(c.content is None or c.is_intact for c in message.changes):
                        raise BadMessage("The content of a change is not what it was.")
                except BadMessage as error:
                    start = self._next_record(number, data, start, str(error), quiet)
                    continue
                yield message.changes
                start += size

    def _next_record(self, number: int, data: bytes, bad: int, reason: str, quiet: bool) -> int:
        """Where it goes on behind a record that cannot be read."""
        details = {"file": self._files[number], "position": bad, "reason": reason}
        beginning = f'{{"segment": "{self._marks[number]}"'.encode()  # of a document, as encode writes it
        following = bad + HEAD_BYTES
        while (following := data.find(beginning, following + 1)) >= 0:
            try:
                decode_first(memoryview(data)[following - HEAD_BYTES :])
            except BadMessage:
                continue
            if not quiet:
                log.error("the log of changes is damaged: what was there is lost", extra=details)
            return following - HEAD_BYTES
        # It is what was being written when the process ended, of which nobody was told that it has
        # happened; or what is left of an older segment.
        if not quiet:
            log.info("the log of changes ends", extra=details)
        return len(data)

    def append(self, changes: list[Change]) -> None:
        """Write *changes*; they are on disk when this returns.

        :raises OSError: and they are not; but of a :class:`LogBroken` nobody knows.
        """
        if self._broken:
            raise LogBroken("the log of changes is broken")
        if self._segment == _CLOSED:
            self._begin_segment()
        try:
            pieces: list[Piece] = []
            for first in range(0, len(changes), _MOST_CHANGES):  # each record can be read again
                records = changes[first : first + _MOST_CHANGES]
                pieces += encode("changes", records, segment=self._marks[self.number])
            self._end += _write_all(self._segment, pieces)
        except OSError:
            self._take_back()
            raise
        try:
            os.fdatasync(self._segment)
        except OSError as error:
            # What was to be written may be lost, and the next sync would not tell
            # (https://wiki.postgresql.org/wiki/Fsync_Errors): only reading it again does.
            self._broken = True
            raise LogBroken(error.errno, f"the log of changes cannot be synced: {error}") from error

    def check(self) -> None:
        """Return if what is written can be found again. :raises OSError: ESTALE, if the segment is gone."""
        if self._segment != _CLOSED:
            check_same(self._files[self.number], os.fstat(self._segment))

    def rotate(self) -> int:
        """Begin a new segment with the next record; the number of the last one before it."""
        if self._segment != _CLOSED:
            os.close(self._segment)
            self._segment = _CLOSED
            self._old[self.number], self._end = self._end, 0
        return self.number

    def discard(self, number: int, *, keep: bool = True) -> None:
        """Remove the segments up to *number*: what they say is on disk elsewhere.

        *keep*: whether a file of them may be used again.
        """
        for old in [old for old in self._files if old <= number]:
            file = self._files.pop(old)
            if not keep or self._spare.exists() or file.stat().st_size > _LARGEST_SPARE:
                file.unlink()
            else:
                file.rename(self._spare)
            del self._old[old], self._marks[old]

    def close(self) -> None:
        self.rotate()

    def _begin_segment(self) -> None:
        number, mark = self.number + 1, secrets.token_hex(8)
        file = self._folder / f"changes-{number:016d}-{mark}.log"
        if self._spare.exists():
            self._spare.rename(file)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            sync_folder(self._folder)
        except OSError:
            os.close(descriptor)
            file.unlink()
            raise
        self._segment, self.number, self._end = descriptor, number, 0
        self._files[number], self._marks[number] = file, mark

    def _take_back(self) -> None:
        """Half a record was written: the next one begins where it began."""
        try:
            os.ftruncate(self._segment, self._end)
            os.lseek(self._segment, self._end, os.SEEK_SET)
        except OSError as error:
            self._broken = True
            log.error("the log of changes is broken", extra={"reason": str(error)})


def _write_all(descriptor: int, pieces: list[Piece]) -> int:
    total = 0
    for start in range(0, len(pieces), _MOST_PIECES):
        views = [memoryview(piece) for piece in pieces[start : start + _MOST_PIECES]]
        while views:
            written = os.writev(descriptor, views)
            total += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if views:
                views[0] = views[0][written:]
    return total
