"""Files in a folder of the file system, each at its own path: what every path does to the disk.

* Nothing outside of the folder is ever touched, and symbolic links are not followed: the kernel sees
  to it (``openat2``), or each part of a path is opened from the one before it.
* A file is written under a name of its own and then renamed, so nobody sees half of one.
* A path that the file system cannot hold lies under its SHA-256 in :data:`RESERVED`: parts of over
  255 bytes, a file where others have a folder and the other way round, names of ours. So does, on
  a file system that takes two names for one (``A`` and ``a``, two ways to write ``é``), each path
  that is not the plainest way to write itself. Its name lies beside it, so that the folder alone
  has all names.
* What another user has shut (``lost+found``) is no part of it: nothing is looked for in there.

It opens on a full disk, too: what is there is read and removed. All calls block. One process, or one thread,
may disturb another: a caller that needs more than single steps takes :meth:`Folder.locked`.
(``folder_reading.py`` is the part that reads.) The module is long because each step has its own rules for
what other users and file systems may have done meanwhile.
"""

import errno
import fcntl
import heapq
import itertools
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sfss.disk.errors import DISK_FAILS, FULL, TOO_MUCH
from sfss.disk.folder_reading import IS_NO_FILE, RESERVED, FolderReading, hashed_place
from sfss.disk.openat import FOLDER_FLAGS, PASSING_FLAGS, READ_FLAGS, open_beneath, syncfs
from sfss.errors import StoreUnusable

log = logging.getLogger("sfss.store")

_TEMPORARY = f"{RESERVED}/temporary"
_HASHED = f"{RESERVED}/names"
_OWNER = f"{RESERVED}/owner"
#: Behind the name of a file that lies under its SHA-256: the file with its path.
_NAMED = ".path"
#: A temporary file of this age (seconds) is left over from a process that was killed.
_LEFT_OVER = 3600.0
_MANY_TRIES = 100
#: So many folders are kept open at once.
_MOST_KEPT = 64

_FAILS = (*DISK_FAILS, *TOO_MUCH)
_NO_ROOM = (*FULL, errno.EROFS)
_NO_ROOM_OR_FOLDER = (*_NO_ROOM, errno.ENOENT)
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder(FolderReading):
    """The folder *root*, which is made if it is not there.

    *alone*: no other process may use it at the same time. *folds*: whether the file system takes
    several names for one; it is tried out if nobody says.

    :raises StoreUnusable: if it cannot be written (but for want of room), or is in use.
    """

    def __init__(self, root: Path, *, alone: bool = False, folds: bool | None = None):
        self.root = Path(root).absolute()
        self._names = itertools.count()
        self._kept: dict[str, int] | None = None  # descriptors of folders by their paths
        self._name = f"{os.getpid()}-{time.time_ns()}"
        self._one_in_here = threading.Lock()
        try:
            make_folders(self.root)
            self._root = os.open(self.root, FOLDER_FLAGS & ~os.O_NOFOLLOW)
        except OSError as error:
            raise StoreUnusable(f"Cannot use the folder {self.root}: {error.strerror}.") from error
        try:
            self._owner = self._lock(alone)
            if not self._make_reserved():
                log.warning("no room in the folder: it can only be read", extra={"folder": self.root})
            self._sweep(_LEFT_OVER if not alone else 0.0)
            self._folds = self._tries_out_folding() if folds is None else folds
            # A process that is alone knows whether any file lies there.
            self._any_hashed = not alone or self._has_hashed()
        except OSError as error:
            os.close(self._root)
            raise StoreUnusable(f"Cannot write in {self.root}: {error.strerror}.") from error
        except StoreUnusable:
            os.close(self._root)
            raise

    def close(self) -> None:
        os.close(self._owner)
        os.close(self._root)

    def check(self) -> None:
        """Return if the folder is still at its place. :raises OSError: ESTALE, if it was removed or replaced."""
        check_same(self.root, os.fstat(self._root))

    @property
    def identity(self) -> str:
        """What :meth:`identify` has written here, "" if nobody has."""
        try:
            return (self.root / _OWNER).read_bytes()[:100].decode("ascii", "replace")
        except FileNotFoundError:
            return ""

    def identify(self, identity: str) -> None:
        """Write who this folder is, so that its owner knows it again. :raises OSError:"""
        self._rename(self.write_temporary(identity.encode("ascii"), sync=True), _OWNER.split("/"))
        sync_folder(self.root / RESERVED)

    def sync(self) -> None:
        """Return when all that was written here is on disk. :raises OSError:"""
        syncfs(self._root)

    # Walking.

    def walk(self, skipped: Callable[[str, bool], None] = lambda place, is_ours: None) -> Iterator[str]:
        """The paths of all files.

        *skipped* is called with what cannot be read, and whether it is ours: a folder of this user, or a
        content whose name is lost. (Folders that another user has shut are not.)
        """
        yield from self._walk("", self._root, skipped)
        if self._any_hashed:
            yield from self._walk_hashed(skipped)

    def walk_from(self, start: Callable[[], str]) -> Iterator[str]:
        """The paths of all files that are not less than *start*, in the order of their code points. It is asked again
        and again: what it passes over is not read.
        """
        places = self._walk_in_order("", self._root, start)
        if not self._any_hashed:
            yield from places
            return
        hashed = sorted(path for path in self._walk_hashed(lambda place, is_ours: None) if path >= start())
        yield from (path for path in heapq.merge(places, hashed) if path >= start())

    def _walk_in_order(self, prefix: str, folder: int, start: Callable[[], str]) -> Iterator[str]:
        names = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if not prefix and entry.name == RESERVED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    names.append(f"{entry.name}/")
                elif entry.is_file(follow_symlinks=False):
                    names.append(entry.name)
        for name in sorted(names):
            path = prefix + name
            if not name.endswith("/"):
                if path >= start():
                    yield path
                continue
            if path < (begin := start()) and not begin.startswith(path):
                continue  # all that is in it is less, too
            try:
                inner = os.open(name[:-1], FOLDER_FLAGS, dir_fd=folder)
            except OSError:
                continue  # it has just been removed, or is another user's
            try:
                yield from self._walk_in_order(path, inner, start)
            finally:
                os.close(inner)

    def _walk_hashed(self, skipped: Callable[[str, bool], None]) -> Iterator[str]:
        try:
            branches = sorted(os.listdir(self.root / _HASHED))
        except FileNotFoundError:
            return
        for branch in branches:
            folder = self.root / _HASHED / branch
            names = set(os.listdir(folder))
            for name in sorted(names):
                if name.endswith(_NAMED):
                    continue
                path = None
                if name + _NAMED in names:
                    try:
                        path = (folder / (name + _NAMED)).read_bytes().decode("utf-8", "replace")
                    except FileNotFoundError:
                        continue  # it has been removed meanwhile
                if path is None or hashed_place(path)[-1] != name:
                    skipped(f"{_HASHED}/{branch}/{name}", True)
                elif not self._lies_at_its_own_place(path):  # else it was named already
                    yield path

    def _lies_at_its_own_place(self, path: str) -> bool:
        own = self._own_place(path)
        if own is None:
            return False
        try:
            # (Not by _parent: it is for one thread, and another one may be walking.)
            descriptor = open_beneath(self._root, "/".join(own), READ_FLAGS)
        except OSError as error:
            return not self._is_no_file(error, own)
        try:
            return stat.S_ISREG(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)

    def _walk(self, prefix: str, folder: int, skipped: Callable[[str, bool], None]) -> Iterator[str]:
        folders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if not prefix and entry.name == RESERVED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    yield prefix + entry.name
        for name in folders:
            try:
                inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
            except OSError as error:
                if error.errno not in IS_NO_FILE:  # or it has just been removed
                    skipped(f"{prefix}{name}", not self._is_shut([*prefix.split("/")[:-1], name, ""]))
                continue
            try:
                yield from self._walk(f"{prefix}{name}/", inner, skipped)
            finally:
                os.close(inner)

    # Writing.

    def write_temporary(self, content: bytes | bytearray | memoryview, *, sync: bool) -> str:
        """Write *content* under a name of no path, which is returned; *sync*: it is on disk then.

        :raises OSError: and nothing is left of it.
        """
        name = f"{_TEMPORARY}/{self._name}-{next(self._names)}"
        try:
            descriptor = os.open(name, _WRITE_FLAGS, 0o666, dir_fd=self._root)
        except FileNotFoundError:  # there was no room when this was opened
            if not self._make_reserved():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
            descriptor = os.open(name, _WRITE_FLAGS, 0o666, dir_fd=self._root)
        try:
            written = os.write(descriptor, content)
            while written < len(content):
                written += os.write(descriptor, memoryview(content)[written:])
            if sync:
                os.fsync(descriptor)
        except OSError:
            os.unlink(name, dir_fd=self._root)
            raise
        finally:
            os.close(descriptor)
        return name

    def discard(self, temporary: str) -> None:
        try:
            os.unlink(temporary, dir_fd=self._root)
        except FileNotFoundError:
            pass  # it has its place already

    def place(self, temporary: str, path: str) -> None:
        """Make *temporary* the file of *path*, whatever was there. :raises OSError:"""
        own = self._own_place(path)
        if own is not None:
            try:
                self._rename(temporary, own)
            except OSError as error:
                if error.errno in _FAILS:
                    raise
                # Whatever is wrong with this one place: the other is left.
            else:
                if self._any_hashed:
                    self._unlink_hashed(path)
                return
        hashed = hashed_place(path)
        if not self._is_regular(_name_of(hashed)):
            # The name first: a content without one could not be found again with the folder alone.
            self._rename(self.write_temporary(path.encode(), sync=True), _name_of(hashed))
        self._rename(temporary, hashed)
        self._any_hashed = True

    def remove(self, path: str) -> bool:
        """Remove the file, and folders that are empty then; whether there was one. :raises OSError:"""
        found = False
        # Its own place first: what lies there may be an older one, and must not come to light again.
        for parts in self._looked_at(path)[::-1]:
            if parts[0] == RESERVED:
                found |= self._unlink_hashed(path)
            elif self._unlink(parts):
                found = True
                self._prune(parts[:-1])
        return found

    def may_change(self, path: str) -> bool:
        """Whether this user may replace or remove what lies at *path*."""
        own = self._own_place(path)
        if own is None:
            return True
        try:
            with self._parent(own) as parent:
                file = os.stat(own[-1], dir_fd=parent, follow_symlinks=False)
                if not os.access(".", os.W_OK | os.X_OK, dir_fd=parent, effective_ids=True):
                    return False
                folder, user = os.stat(".", dir_fd=parent), os.geteuid()
                is_sticky = bool(folder.st_mode & stat.S_ISVTX)  # inode(7): only owners remove from it
                return not is_sticky or user in (0, folder.st_uid, file.st_uid)
        except OSError as error:
            return self._is_no_file(error, own)

    def sync_folders(self, path: str) -> None:
        """Return when what was placed or removed at *path* will still be so after a power cut."""
        for parts in self._looked_at(path):
            # All of them: the process that has just made one may not have synced it yet.
            for depth in range(len(parts), 0, -1):
                try:
                    self._sync_parent(parts[:depth])
                except OSError as error:
                    if not self._is_no_file(error, parts[:depth]):
                        raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else is in here, no other thread and no other process."""
        with self._one_in_here:
            try:
                descriptor = os.open(RESERVED, FOLDER_FLAGS, dir_fd=self._root)
            except FileNotFoundError:  # no room to make it, so nobody can put anything
                yield
                return
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def free_bytes(self) -> int:
        """What this user may still write on the disk."""
        disk = os.fstatvfs(self._root)
        return disk.f_bavail * disk.f_frsize

    @contextmanager
    def _parent(self, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """The folder in which the last of *parts* lies."""
        if len(parts) == 1:
            yield self._root
            return
        name = "/".join(parts[:-1])
        if self._kept is not None and name in self._kept:
            yield self._kept[name]
            return
        try:
            folder = open_beneath(self._root, name, PASSING_FLAGS)
        except FileNotFoundError:
            if not make:
                raise
            for depth in range(1, len(parts)):
                with self._parent(parts[:depth]) as parent:
                    _make_folder(parts[depth - 1], parent)
            folder = open_beneath(self._root, name, PASSING_FLAGS)
        if self._kept is not None and len(self._kept) < _MOST_KEPT:
            self._kept[name] = folder
            yield folder
            return
        try:
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def keeping_open(self) -> Iterator[None]:
        """Open each folder once: in here they are taken to stay where they are. For one thread."""
        self._kept = {}
        try:
            yield
        finally:
            self._let_go()
            self._kept = None

    def _let_go(self) -> None:
        """One of the folders is gone."""
        while self._kept:
            os.close(self._kept.popitem()[1])

    def _rename(self, temporary: str, parts: Sequence[str]) -> None:
        for _ in range(_MANY_TRIES):
            try:
                with self._parent(parts, make=True) as parent:
                    os.rename(temporary, parts[-1], src_dir_fd=self._root, dst_dir_fd=parent)
                return
            except FileNotFoundError:  # somebody else has just found the folder empty
                self._let_go()
                if not _exists(temporary, self._root):
                    raise
        raise OSError(errno.EAGAIN, "its folder is removed again and again")

    def _unlink(self, parts: Sequence[str]) -> bool:
        try:
            with self._parent(parts) as parent:
                if not _is_regular(parts[-1], parent):
                    return False
                os.unlink(parts[-1], dir_fd=parent)
        except OSError as error:
            if not self._is_no_file(error, parts):
                raise
            return False
        return True

    def _unlink_hashed(self, path: str) -> bool:
        parts = hashed_place(path)
        found = self._unlink(parts)
        self._unlink(_name_of(parts))
        return found

    def _is_regular(self, parts: Sequence[str]) -> bool:
        """Whether a file lies there. :raises OSError: if nobody can say."""
        try:
            with self._parent(parts) as parent:
                return _is_regular(parts[-1], parent)
        except OSError as error:
            if not self._is_no_file(error, parts):
                raise
            return False

    def _sync_parent(self, parts: Sequence[str]) -> None:
        if len(parts) == 1:
            os.fsync(self._root)
            return
        try:
            folder = open_beneath(self._root, "/".join(parts[:-1]), FOLDER_FLAGS)
        except PermissionError:
            if self._is_shut(parts):
                raise
            self.sync()  # it may be entered, and not opened: so everything is synced
            return
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _prune(self, parts: Sequence[str]) -> None:
        """Remove the folder *parts*, and those that it was alone in, if they are empty."""
        for depth in range(len(parts), 0, -1):
            try:
                with self._parent(parts[:depth]) as parent:
                    os.rmdir(parts[depth - 1], dir_fd=parent)
                self._let_go()
            except OSError:
                return  # it is in use, or none of ours to remove: an empty folder does no harm

    # At the start.

    def _make_reserved(self) -> bool:
        """Make the folders of our own; whether there was room for them."""
        try:
            for name in (RESERVED, _TEMPORARY, _HASHED):
                _make_folder(name, self._root, mode=0o700)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return False
        return True

    def _has_hashed(self) -> bool:
        try:
            return bool(os.listdir(self.root / _HASHED))
        except FileNotFoundError:
            return False

    def _lock(self, alone: bool) -> int:
        # (On the folder itself: a file would take room.)
        descriptor = os.open(".", FOLDER_FLAGS, dir_fd=self._root)
        kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StoreUnusable(
                f"{self.root} is in use by another sfss."
                + ("" if alone else " A node shares its folder with nobody.")
            ) from None
        return descriptor

    def _sweep(self, age: float) -> None:
        """Remove what a process that was killed has left behind."""
        try:
            descriptor = os.open(_TEMPORARY, FOLDER_FLAGS, dir_fd=self._root)
        except FileNotFoundError:
            return
        try:
            for name in os.listdir(descriptor):
                try:
                    if time.time() - os.stat(name, dir_fd=descriptor).st_mtime >= age:
                        os.unlink(name, dir_fd=descriptor)
                except FileNotFoundError:
                    continue  # another process has
        finally:
            os.close(descriptor)

    def _tries_out_folding(self) -> bool:
        """Whether the file system takes ``A`` and ``a``, or two ways to write ``é``, for one name."""
        for one, other in (("A", "a"), ("\u00e9", "e\u0301")):
            name = f"{_TEMPORARY}/{self._name}-{one}"
            try:
                os.close(os.open(name, _WRITE_FLAGS, 0o600, dir_fd=self._root))
            except OSError as error:
                if error.errno not in _NO_ROOM_OR_FOLDER:
                    raise
                # No room to try it. File systems that fold take both for one.
                return _exists(RESERVED.upper(), self._root)
            try:
                if _exists(f"{_TEMPORARY}/{self._name}-{other}", self._root):
                    return True
            finally:
                os.unlink(name, dir_fd=self._root)
        return False


def _name_of(hashed: Sequence[str]) -> Sequence[str]:
    """Where the name of the file lies that lies there."""
    return (*hashed[:-1], hashed[-1] + _NAMED)


def _is_regular(name: str, folder: int) -> bool:
    return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def make_folders(folder: Path, mode: int = 0o777) -> None:
    """Make *folder*, and those that it lies in, if they are not there; they are on disk then.

    *mode* is that of *folder* itself. :raises OSError:
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        try:
            made.mkdir(mode if made is missing[0] else 0o777)
        except FileExistsError:
            if not made.is_dir():
                raise
        sync_folder(made.parent)


def check_same(place: Path, known: os.stat_result) -> os.stat_result:
    """What is known now of what lies at *place*, if it is what was *known*. :raises OSError: ESTALE, if not."""
    try:
        found = os.stat(place)
    except FileNotFoundError:
        raise OSError(errno.ESTALE, f"{place} was removed while it is in use") from None
    if (found.st_dev, found.st_ino) != (known.st_dev, known.st_ino):
        raise OSError(errno.ESTALE, f"{place} was replaced while it is in use")
    return found


def sync_folder(folder: Path) -> None:
    """Return when what was made, renamed or removed in *folder* is on disk. :raises OSError:"""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(name: str, parent: int, mode: int = 0o777) -> None:
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        pass  # (or something else is in the way: opening it will tell)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
