"""Where the file of a path lies in a folder, and what is in it: what the readers of a folder do."""

import errno
import hashlib
import os
import stat
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from mypy_extensions import mypyc_attr

from sfss.disk.openat import READ_FLAGS, open_beneath

#: What is not a file of the user's lies here. Only the user that runs sfss can look into it.
RESERVED = ".sfss"
_LONGEST_PART = 255  # bytes: NAME_MAX, on every file system of today
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)  # Linux: fail rather than wait for the disk

#: The path, or a part of it, is something else than it would have to be.
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY)
IS_NO_FILE = (errno.ENOENT, *_IN_THE_WAY, errno.ENAMETOOLONG, errno.ENXIO)


class Found(NamedTuple):
    content: bytes | bytearray
    modified: float  #: seconds since the epoch


@mypyc_attr(allow_interpreted_subclasses=True)
class FolderReading:
    """What can be asked of a folder; :class:`sfss.disk.folder.Folder` is the rest of it."""

    _root: int  #: its descriptor
    _folds: bool  #: whether the file system takes several names for one
    _any_hashed: bool  #: whether there may be files that do not lie at their own paths

    def open(self, path: str) -> int | None:
        """A descriptor of the file, None if there is none. :raises OSError: if nobody can say."""
        opened = self._open(path)
        return opened and opened[0]

    def _open(self, path: str, *, at_once: bool = False) -> tuple[int, os.stat_result] | None:
        """The same, and what is known of the file. *at_once*: if it need not be waited for.

        :raises BlockingIOError: if it must be.
        """
        for parts in self._looked_at(path):
            try:
                descriptor = open_beneath(self._root, "/".join(parts), READ_FLAGS, at_once=at_once)
            except OSError as error:
                if not self._is_no_file(error, parts):
                    raise
                continue
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                return descriptor, status
            os.close(descriptor)
        return None

    def stat(self, path: str, *, at_once: bool = False) -> os.stat_result | None:
        """What the file system knows of the file, None if there is none. Raises as :meth:`open`.

        *at_once*: if it need not be waited for. :raises BlockingIOError: if it must be.
        """
        opened = self._open(path, at_once=at_once)
        if opened is None:
            return None
        os.close(opened[0])
        return opened[1]

    def read(self, path: str, *, limit: int | None = None) -> bytes | bytearray | None:
        """The content, None if there is no file.

        :raises OSError: if nobody can say; EFBIG if it has more than *limit* bytes.
        """
        found = self.read_with_time(path, limit=limit)
        return None if found is None else found.content

    def read_with_time(self, path: str, *, limit: int | None = None) -> Found | None:
        """The same, and when it was written."""
        opened = self._open(path)
        if opened is None:
            return None
        descriptor, status = opened
        with open(descriptor, "rb", buffering=0) as file:
            _check_size(status, limit)
            return Found(file.read(), status.st_mtime)

    def read_at_once(self, path: str, *, limit: int | None = None) -> Found | None:
        """The same, if it need not be waited for. :raises BlockingIOError: if it must be."""
        opened = self._open(path, at_once=True)
        if opened is None:
            return None
        descriptor, status = opened
        try:
            _check_size(status, limit)
            content = bytearray(status.st_size)
            # (One byte more would be the end of the file; writers here rename.)
            if content and os.preadv(descriptor, [content], 0, _NOWAIT) != len(content):
                raise BlockingIOError
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # this file system cannot tell
                raise BlockingIOError from error
            raise
        finally:
            os.close(descriptor)
        return Found(content, status.st_mtime)

    # Where a path lies.

    def _own_place(self, path: str) -> Sequence[str] | None:
        """Where the file lies, if it can lie at its own path."""
        parts = path.split("/")
        if (
            (len(path) > _LONGEST_PART // 4 and _longest(path, parts) > _LONGEST_PART)
            or parts[0].casefold() == RESERVED
            or (self._folds and path != _plainest(path))
        ):
            return None
        return parts

    def _looked_at(self, path: str) -> list[Sequence[str]]:
        """Where the file may lie, in the order in which it is looked for: what lies at its own place may
        be an older one, that could not be replaced.
        """
        own = self._own_place(path)
        if own is None:
            return [hashed_place(path)]
        return [hashed_place(path), own] if self._any_hashed else [own]

    def _is_no_file(self, error: OSError, parts: Sequence[str]) -> bool:
        """Whether *error*, about what lies at *parts*, says that there is no file of ours."""
        if error.errno == errno.EACCES:
            return self._is_shut(parts)
        return error.errno in IS_NO_FILE

    def _is_shut(self, parts: Sequence[str]) -> bool:
        """Whether another user's folder is in the way that this user may not enter."""
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            try:
                status = os.stat(folder, dir_fd=self._root, follow_symlinks=False)
            except OSError:
                return False
            if not os.access(folder, os.X_OK, dir_fd=self._root, effective_ids=True):
                return status.st_uid != os.geteuid()
        return False


def hashed_place(path: str) -> Sequence[str]:
    """Where a file lies that cannot lie at its own path."""
    digest = hashlib.sha256(path.encode()).hexdigest()
    return (RESERVED, "names", digest[:2], digest)


def _longest(path: str, parts: Sequence[str]) -> int:
    """Bytes of the longest of *parts*, or of *path*, if that is not too long itself."""
    size = len(path.encode())
    return size if size <= _LONGEST_PART else max([len(part.encode()) for part in parts])


def _plainest(path: str) -> str:
    """The one way to write *path*, of all that a file system might take for the same."""
    # Twice: https://www.unicode.org/faq/casemap_charprop.html, caseless matching.
    folded = unicodedata.normalize("NFC", path).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", folded).casefold())


def _check_size(status: os.stat_result, limit: int | None) -> None:
    """:raises OSError: EFBIG, if the file has more than *limit* bytes."""
    if limit is not None and status.st_size > limit:
        raise OSError(errno.EFBIG, "the file is larger than what is served here")
