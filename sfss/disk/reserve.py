"""Room that is held back on the disk, so that a start and deletes are possible when it is full.

A database cannot be opened without room for a few pages and for two files beside it, and what is deleted has
to be written down before it leaves any room.
"""

import contextlib
import os
from pathlib import Path

#: Bytes, and files (inodes) beside the one that has them.
_BYTES = 1024 * 1024
_FILES = 7


class Reserve:
    """The reserve in *folder*, which need not be there yet."""

    def __init__(self, folder: Path):
        self._large = folder / "reserve"
        self._small = [folder / f"reserve-{number}" for number in range(1, _FILES + 1)]

    def release(self) -> bool:
        """Give the room back; whether there was any. :raises OSError:"""
        found = False
        for file in (self._large, *self._small):
            try:
                file.unlink()
                found = True
            except FileNotFoundError:
                continue
        return found

    def hold_back(self) -> None:
        """Hold it back (again), or as much of it as there is room for."""
        with contextlib.suppress(OSError):
            self._hold_bytes()
        with contextlib.suppress(OSError):
            for file in self._small:
                os.close(_opened(file))

    def _hold_bytes(self) -> None:
        descriptor = _opened(self._large)
        try:
            size = _BYTES
            while os.fstat(descriptor).st_size < size:
                try:
                    os.posix_fallocate(descriptor, 0, size)
                except OSError:
                    os.ftruncate(descriptor, 0)
                    size -= max(size // 8, 1)
        finally:
            os.close(descriptor)


def _opened(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
