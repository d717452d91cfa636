"""A board in shared memory, on which each process of a server pins a note that all can read.

The process that starts the others makes it before it forks, and gives each a place on it. It is
memory without a file: whatever is killed, nothing is left behind.

A note is written beside the one before it, and then becomes the note by the change of one byte:
neither a reader, nor the process that finds the note of one that was killed, sees half of it.
"""

import mmap
import os
import struct
import time
import zlib

#: Processes that can have a place at the same time: those that serve, and those that are ending.
PLACES = 256
#: The longest note, in bytes. Memory is only used for what is written.
NOTE_BYTES = 1024 * 1024

_HEAD = struct.Struct("<II")  # size and checksum
_HALF = _HEAD.size + NOTE_BYTES
_PLACE = 1 + 2 * _HALF  # which half is the note, and both halves
_READS = 20  # it cannot change so often while it is read


class Scoreboard:
    """*places* notes, all empty at first. Each place has one writer at a time."""

    def __init__(self, places: int = PLACES):
        self.places = places
        self.made_by = os.getpid()
        self.made_at = time.time()  #: seconds since the epoch
        self._memory = mmap.mmap(-1, places * _PLACE)

    def write(self, place: int, note: bytes) -> None:
        """:raises ValueError: if it is longer than :data:`NOTE_BYTES`."""
        if len(note) > NOTE_BYTES:
            raise ValueError(f"a note of {len(note)} bytes; there is room for {NOTE_BYTES}")
        start = place * _PLACE
        half = 1 - self._memory[start]
        at = start + 1 + half * _HALF
        _HEAD.pack_into(self._memory, at, len(note), zlib.crc32(note))
        self._memory[at + _HEAD.size : at + _HEAD.size + len(note)] = note
        self._memory[start] = half

    def read(self, place: int) -> bytes:
        """The note; empty if there is none."""
        start = place * _PLACE
        for _ in range(_READS):
            at = start + 1 + self._memory[start] * _HALF
            size, checksum = _HEAD.unpack_from(self._memory, at)
            if size <= NOTE_BYTES:
                note = self._memory[at + _HEAD.size : at + _HEAD.size + size]
                if zlib.crc32(note) == checksum:
                    return note
        return b""
