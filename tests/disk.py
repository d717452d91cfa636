"""What a power cut would leave of a folder: only what was synced.

A content is what it was when its file was synced the last time (fsync, fdatasync), a name is there if the folder
that has it was synced since it came, and syncfs does all below. File systems keep more than that, and promise no
more (fsync(2), NOTES; syncfs(2)). What SQLite does is not seen: say :meth:`Disk.keep` of it.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from sfss.disk import folder as folders


def make_folder() -> Path:
    """In memory if possible: there no inode's number is used again, by which files are known here."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="sfss-", dir=memory if memory.is_dir() else None))


class Disk:
    """Watches *root*, of which all that is there is on disk."""

    def __init__(self, root: Path):
        self.root = root
        self.syncs: list[Path] = []  #: what was synced, in order
        self._contents: dict[int, bytes] = {}  # by inode: of files
        self._names: dict[int, dict[str, int]] = {}  # by inode: of folders
        self.keep(root)

    @contextmanager
    def watching(self) -> Iterator["Disk"]:
        """Meanwhile every sync below the root is noted, and done."""
        fsync, fdatasync, syncfs = os.fsync, os.fdatasync, folders.syncfs

        def noting(call):
            def sync(descriptor: int):
                result = call(descriptor)
                self._note(descriptor, everything=call is syncfs)
                return result

            return sync

        with (
            patch.object(os, "fsync", noting(fsync)),
            patch.object(os, "fdatasync", noting(fdatasync)),
            patch.object(folders, "syncfs", noting(syncfs)),
        ):
            yield self

    def keep(self, place: Path) -> None:
        """*place*, and all in it, is on disk as it is now; its name too."""
        if place != self.root:
            self._names.setdefault(place.parent.stat().st_ino, {})[place.name] = place.stat().st_ino
        if not place.is_dir():
            self._contents[place.stat().st_ino] = place.read_bytes()
            return
        self._names[place.stat().st_ino] = {}
        for inner in place.iterdir():
            if inner.is_dir() or inner.is_file():
                self.keep(inner)

    def cut_power(self, place: Path) -> None:
        """Make *place*, a file or a folder, what is left of it; then that is on disk."""
        names = self._names.get(place.parent.stat().st_ino, {})
        number = names.get(place.name)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        if number is not None:
            self._make(place, number)
            self.keep(place)

    def names_in(self, folder: Path) -> set[str]:
        """The names that a power cut would leave in *folder*."""
        return set(self._names.get(folder.stat().st_ino, {}))

    def content_of(self, path: str) -> bytes | None:
        """What a power cut would leave at *path*, which is relative to the root; None: nothing."""
        number = self.root.stat().st_ino
        for part in path.split("/"):
            number = self._names.get(number, {}).get(part)
        return None if number is None else self._contents.get(number, b"")

    def _make(self, place: Path, number: int) -> None:
        if number in self._names:
            place.mkdir()
            for name, inner in self._names[number].items():
                self._make(place / name, inner)
        else:
            place.write_bytes(self._contents.get(number, b""))

    def _note(self, descriptor: int, everything: bool) -> None:
        place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if not place.is_relative_to(self.root):
            return
        self.syncs.append(place)
        status = os.fstat(descriptor)
        if everything:
            self.keep(place)
        elif stat.S_ISDIR(status.st_mode):
            names = self._names[status.st_ino] = {}
            for entry in os.scandir(f"/proc/self/fd/{descriptor}"):
                names[entry.name] = entry.inode()
                if entry.is_dir(follow_symlinks=False):
                    self._names.setdefault(entry.inode(), {})  # empty, as long as it is not synced itself
        else:
            self._contents[status.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()
