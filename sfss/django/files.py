"""An open file of a storage: read when it is looked into, and written when it is closed."""

import hashlib
import io
import re
from collections.abc import Callable
from typing import IO, Any

from django.core.files.base import File
from django.core.files.utils import validate_file_name

#: One of r, w, a, x; then b or t, and +, in any order.
_MODE = re.compile(r"[rwax](?:b?\+?|\+b?|t?\+?|\+t?)")


class RemoteFile(File):
    """*read* gives the content (:raises FileNotFoundError:), *write* takes it, and whether there must be none yet.

    It is in memory as a whole: files here are small.
    """

    def __init__(self, name: str, mode: str, read: Callable[[], bytes], write: Callable[[bytes, bool], None]):
        if not _MODE.fullmatch(mode):
            raise ValueError(f"invalid mode: {mode!r}")
        self.mode = mode
        self._read = read
        self._write = write
        self._bytes: io.BytesIO | None = None
        self._opened: IO[Any] | None = None
        self._is_dirty = mode[0] in "wx"  # even if nothing is written
        super().__init__(None, name)
        if mode[0] == "r":
            self._open()  # that it is missing is to be known at once

    def _open(self) -> IO[Any]:
        if self._opened is None:
            content = b""
            if self.mode[0] in "ra":
                try:
                    content = self._read()
                except FileNotFoundError:
                    if self.mode[0] == "r":
                        raise
            self._bytes = _Kept(content)
            if self.mode[0] == "a":
                self._bytes.seek(0, io.SEEK_END)
            self._opened = (
                self._bytes if "b" in self.mode else io.TextIOWrapper(self._bytes, "utf-8", newline="")
            )
        return self._opened

    @property
    def file(self) -> IO[Any]:
        return self._open()

    @file.setter
    def file(self, value: object) -> None:
        """It makes its own."""

    def __bool__(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        return self._opened is not None and self._opened.closed

    @property
    def size(self) -> int:
        opened = self._open()
        if not self.closed:
            opened.flush()
        assert self._bytes is not None
        return len(self._bytes.getvalue())

    def readable(self) -> bool:
        return self.mode[0] == "r" or "+" in self.mode

    def writable(self) -> bool:
        return self.mode[0] != "r" or "+" in self.mode

    def read(self, *size: int) -> Any:
        if not self.readable():
            raise io.UnsupportedOperation("not readable")
        return self._open().read(*size)

    def write(self, content: Any) -> int:
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        self._is_dirty = True
        return self._open().write(content)

    def truncate(self, size: int | None = None) -> int:
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        self._is_dirty = True
        return self._open().truncate(size)

    def open(self, mode: str | None = None, *args: Any, **kwargs: Any) -> "RemoteFile":
        """As Django's: back to the start, or opened again after it was closed."""
        if not self.closed:
            self.seek(0)
        else:
            if mode is not None and mode != self.mode:
                raise ValueError("open it again by the storage, to have another mode")
            self._opened = self._bytes = None
            self._is_dirty = self.mode[0] in "wx"
            self._open()
        return self

    def close(self) -> None:
        """:raises FileExistsError: if it was opened with ``x``, and somebody was faster."""
        if self.closed:
            return
        opened = self._open()
        opened.flush()
        assert self._bytes is not None
        content = self._bytes.getvalue()
        opened.close()
        if self._is_dirty:
            self._is_dirty = False
            self._write(content, self.mode[0] == "x")


class _Kept(io.BytesIO):
    """Its content is there after it was closed, too."""

    def close(self) -> None:
        self._content = self.getvalue()
        super().close()

    def getvalue(self) -> bytes:
        return self._content if self.closed else super().getvalue()


def file_to_save(name: str | None, content: Any) -> tuple[str, bytes]:
    """The name and the content of what is given to ``Storage.save``.

    :raises SuspiciousFileOperation: if the name is none.
    """
    if name is None:
        name = content.name
    if not hasattr(content, "chunks"):
        content = File(content, name)
    validate_file_name(name, allow_relative_path=True)
    return name, content_of(content)


def content_of(content: Any) -> bytes:
    """All of it, wherever it stands now; it is not closed."""
    if content.seekable():
        content.seek(0)
    chunks = list(content.chunks())
    return b"".join(chunk.encode() if isinstance(chunk, str) else bytes(chunk) for chunk in chunks)


def sha256_of(content: bytes) -> str:
    """In hex digits."""
    return hashlib.sha256(content).hexdigest()
