"""Tar archives on their way: the files of one that comes, read in a thread that waits for its body; and what stands
around the files of one that goes.
"""

import asyncio
import bz2
import tarfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from sfss.errors import SfssError

#: What stands before a file (a long name, other attributes) has no more. Bytes.
_MOST_HEADER = 64 * 1024
_HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
_AT_ONCE = 256 * 1024
#: A batch of files has at least so many bytes, or so many files, if there are as many.
_BATCH_BYTES, _BATCH_FILES = 1024 * 1024, 256
#: What reading an archive raises if it is none, or cut off.
UNREADABLE = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, RecursionError)
#: The end of an archive.
END = bytes(2 * tarfile.BLOCKSIZE)

Batch = list[tuple[tarfile.TarInfo, bytes | None]]


def entry(path: str, size: int, modified: int) -> bytes:
    """What stands before a file of *size* bytes. *modified*: seconds since the epoch."""
    info = tarfile.TarInfo(path)
    info.size, info.mtime = size, modified
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(size: int) -> bytes:
    """What stands behind it."""
    return bytes(-size % tarfile.BLOCKSIZE)


class _Header(tarfile.TarInfo):
    """A header, which says what is read into memory, that is no longer than it needs to be."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        found = super().frombuf(buf, encoding, errors)
        if found.type in _HEADERS and found.size > _MOST_HEADER:
            raise tarfile.ReadError("a header is too long")
        return found


class _Gunzip:
    """As :class:`bz2.BZ2Decompressor`, of gzip."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, most)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof


#: How each is decompressed: never more at once than is asked for.
KINDS: dict[str, Callable[[], Any] | None] = {
    "tar": None,
    "tar.gz": _Gunzip,
    "tar.bz2": bz2.BZ2Decompressor,
}


def kind_of(begin: bytes) -> str:
    """Which of them it is that begins so."""
    return "tar.gz" if begin.startswith(b"\x1f\x8b") else "tar.bz2" if begin.startswith(b"BZh") else "tar"


class _Reading:
    """The body, decompressed, for a thread: a file that can be read."""

    def __init__(self, body: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop, decompress: Any):
        self._body = body
        self._loop = loop
        self._decompress = decompress
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            if not self._rest:
                self._rest = memoryview(self._next(size - len(found)))
                if not self._rest:
                    break
            part = self._rest[: size - len(found)]
            self._rest = self._rest[len(part) :]
            found += part
        return bytes(found)

    def _next(self, most: int) -> bytes:
        """The next bytes; none at the end. :raises EOFError: if what is compressed is cut off."""
        if self._decompress is None:
            return self._more()
        while not self._decompress.eof:
            data = self._more() if self._decompress.needs_input else b""
            if self._decompress.needs_input and not data:
                raise EOFError("it is cut off")
            if found := self._decompress.decompress(data, most):
                return bytes(found)
        return b""

    def _more(self) -> bytes:
        return asyncio.run_coroutine_threadsafe(self._came(), self._loop).result()

    async def _came(self) -> bytes:
        return await anext(self._body, b"")


class Members:
    """The files in the archive that *body* is, one by one. Its thread is its own: it waits for the client."""

    def __init__(self, body: AsyncIterator[bytes], decompressor: Callable[[], Any] | None):
        self._loop = asyncio.get_running_loop()
        self._reading = _Reading(body, self._loop, decompressor() if decompressor else None)
        self._thread = ThreadPoolExecutor(1, "archive")
        self._archive: Any = None
        self._members: Iterator[tarfile.TarInfo] = iter(())
        self._file: Any = None
        self._error: BaseException | None = None

    async def next(self) -> tarfile.TarInfo | None:
        return await self._loop.run_in_executor(self._thread, self._next)

    def _next(self) -> tarfile.TarInfo | None:
        while (member := self._next_entry()) is not None:
            if member.isfile():
                self._file = self._archive.extractfile(member)
                return member
        return None

    def _next_entry(self) -> tarfile.TarInfo | None:
        if self._archive is None:
            self._archive = tarfile.open(fileobj=cast(Any, self._reading), mode="r|", tarinfo=_Header)  # noqa: SIM115
            self._members = iter(self._archive)
        member = next(self._members, None)
        self._archive.members = []  # or it would keep all that has been
        return member

    async def batch(self, most: int) -> Batch:
        """The next entries, with the contents of the files that have at most *most* bytes; none at the end."""
        return await self._loop.run_in_executor(self._thread, self._batch, most)

    def _batch(self, most: int) -> Batch:
        if self._error is not None:
            raise self._error
        found: Batch = []
        size = 0
        try:
            while size < _BATCH_BYTES and len(found) < _BATCH_FILES:
                member = self._next_entry()
                if member is None:
                    break
                content = None
                if member.isreg() and not member.issparse() and member.size <= most:
                    content = self._archive.extractfile(member).read()
                    if len(content) < member.size:
                        raise EOFError("it is cut off")
                    size += len(content)
                found.append((member, content))
        except (SfssError, *UNREADABLE) as error:
            if not found:
                raise
            self._error = error  # to be raised when these were taken
        return found

    async def content(self) -> AsyncIterator[bytes]:
        while data := await self._loop.run_in_executor(self._thread, self._file.read, _AT_ONCE):
            yield data

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
