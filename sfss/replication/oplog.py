"""The log of changes: what makes them durable, one wait for the disk for many of them.

A record is a message (``changes.py``) with the changes of one group and their contents. A change has
happened when its record is on disk; the files and the catalog follow, and are not waited for. After
a kill or a power cut the log is read again from its beginning, and what the rest had not got yet is
done again. When files and catalog are on disk too, the log's older segments go.

The file of one that goes becomes that of a new one, and its bytes are written over: that syncs in half the
time, for the file system has nothing to note. So each record has the number of its segment, and what is
left behind the last one is none.
"""

import logging
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from sfss.replication.changes import MAGIC, BadMessage, Change, decode_first, encode

log = logging.getLogger("sfss.node")

_PREFIX, _SUFFIX = "changes-", ".log"
#: A file that is larger (bytes) is not kept for later.
_LARGEST_SPARE = 128 * 1024 * 1024
_MOST_CHANGES = 1000  # of one record
_MOST_PIECES = 1000  # of one writev: IOV_MAX is 1024


class LogBroken(OSError):
    """The disk has failed in a way that leaves unknown what is on it."""


class OpLog:
    """The segments in *folder*, which is there. Appends go to a new one, with a number after *after*."""

    def __init__(self, folder: Path, after: int = 0):
        self._folder = folder
        self._spare = folder / "spare.log"
        self._key = _key(folder / "log-key")
        self._segment: int | None = None  # an open descriptor
        self._end = 0  # of the open segment, bytes
        self._broken = False
        self._syncing = ThreadPoolExecutor(1, "log-sync")
        # Bytes of the older segments. (What has ended is not known of those that another life has left.)
        self._old = {number: self._file(number).stat().st_size for number in self._numbers()}
        self.number = max([after, *self._old])  #: of the latest segment

    @property
    def size(self) -> int:
        """Bytes that a start would have to read again."""
        return sum(self._old.values()) + self._end

    def replay(self) -> Iterator[list[Change]]:
        """The changes of each record, the oldest first. An end that was cut off is passed over."""
        for number in self._numbers():
            file = self._file(number)
            with file.open("rb") as segment:
                data = segment.read()
            start = 0
            while start < len(data):
                try:
                    message, size = decode_first(memoryview(data)[start:])
                    if message.fields.get("segment") != self._mark(number):
                        break  # what is left of an older one
                    # (Without a content: the file had it already.)
                    if not all(c.content is None or c.is_intact for c in message.changes):
                        raise BadMessage("The content of a change is not what it was.")
                except BadMessage as error:
                    start = self._next_record(number, data, start, str(error))
                    continue
                yield message.changes
                start += size

    def _next_record(self, number: int, data: bytes, bad: int, reason: str) -> int:
        """Where it goes on behind a record that cannot be read."""
        details = {"file": self._file(number), "position": bad, "reason": reason}
        following = bad
        while (following := data.find(MAGIC, following + 1)) >= 0:
            try:
                message, _ = decode_first(memoryview(data)[following:])
            except BadMessage:
                continue  # the content of a file may look like the beginning of a record
            if message.fields.get("segment") == self._mark(number):
                log.error("the log of changes is damaged: what was there is lost", extra=details)
                return following
        # It is what was being written when the process ended, of which nobody was told that it has
        # happened; or what is left of an older segment.
        log.info("the log of changes ends", extra=details)
        return len(data)

    def append(self, changes: list[Change]) -> Future:
        """Write *changes*; they are on disk when the result is there.

        :raises OSError: and they are not. The result may raise :class:`LogBroken`: nobody knows.
        """
        if self._broken:
            raise LogBroken("the log of changes is broken")
        if self._segment is None:
            self._begin_segment()
        try:
            pieces = []
            for first in range(0, len(changes), _MOST_CHANGES):  # each record can be read again
                records = changes[first : first + _MOST_CHANGES]
                pieces += encode("changes", records, segment=self._mark(self.number))
            self._end += _write_all(self._segment, pieces)
        except OSError:
            self._take_back()
            raise
        # In a thread: the catalog has its work done meanwhile.
        return self._syncing.submit(self._sync)

    def _sync(self) -> None:
        try:
            os.fdatasync(self._segment)
        except OSError as error:
            # What was to be written may be lost, and the next sync would not tell
            # (https://wiki.postgresql.org/wiki/Fsync_Errors): only reading it again does.
            self._broken = True
            raise LogBroken(error.errno, f"the log of changes cannot be synced: {error}") from error

    def rotate(self) -> int:
        """Begin a new segment with the next record; the number of the last one before it."""
        if self._segment is not None:
            os.close(self._segment)
            self._segment = None
            self._old[self.number], self._end = self._end, 0
        return self.number

    def discard(self, number: int) -> None:
        """Remove the segments up to *number*: what they say is on disk elsewhere."""
        for old in [old for old in self._old if old <= number]:
            file = self._file(old)
            if self._spare.exists() or file.stat().st_size > _LARGEST_SPARE:
                file.unlink()
            else:
                file.rename(self._spare)
            del self._old[old]

    def close(self) -> None:
        self._syncing.shutdown()
        self.rotate()

    def _begin_segment(self) -> None:
        number = self.number + 1
        if self._spare.exists():
            self._spare.rename(self._file(number))
        descriptor = os.open(self._file(number), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            sync_folder(self._folder)
        except OSError:
            os.close(descriptor)
            self._file(number).unlink()
            raise
        self._segment, self.number, self._end = descriptor, number, 0

    def _take_back(self) -> None:
        """Half a record was written: the next one begins where it began."""
        try:
            os.ftruncate(self._segment, self._end)
            os.lseek(self._segment, self._end, os.SEEK_SET)
        except OSError as error:
            self._broken = True
            log.error("the log of changes is broken", extra={"reason": str(error)})

    def _mark(self, number: int) -> str:
        """What the records of a segment have. Nobody can put one into a file and have it taken for one."""
        return f"{number} {self._key}"

    def _numbers(self) -> list[int]:
        names = (file.name for file in self._folder.iterdir())
        return sorted(
            int(name[len(_PREFIX) : -len(_SUFFIX)])
            for name in names
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
        )

    def _file(self, number: int) -> Path:
        return self._folder / f"{_PREFIX}{number:016d}{_SUFFIX}"


def _key(file: Path) -> str:
    """The key of this log, made at its first start."""
    if not file.exists():
        temporary = file.with_suffix(".new")
        with open(temporary, "w", opener=partial(os.open, mode=0o600)) as stream:
            stream.write(secrets.token_hex(16))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
        sync_folder(file.parent)
    return file.read_text()


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, pieces: list[bytes]) -> int:
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
