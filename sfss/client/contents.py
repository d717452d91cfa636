"""What may be sent as the content of a file, cut into pieces, once or several times."""

import asyncio
import io
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import IO, Any

import xxhash

from sfss.errors import InvalidRequest
from sfss.models import etag_of

#: Bytes: what is longer is sent in pieces of this size.
PIECE = 256 * 1024

#: Bytes; or a binary file, from where it stands to its end; or pieces, as they come.
Source = bytes | bytearray | memoryview | IO[bytes] | Iterable[bytes] | AsyncIterable[bytes]


class SourceFailed(Exception):
    """The source has raised something while it was read: :attr:`Content.error`. (No OSError, whatever that was: HTTP
    libraries take those for errors of the connection.)
    """


class Content:
    """One content on its way. :raises InvalidRequest: if *source* is nothing that can be sent."""

    def __init__(self, source: Source):
        if isinstance(source, str | io.TextIOBase):
            raise InvalidRequest("The content is text; a file has bytes: encode it, or open it in mode 'rb'.")
        kept: Any = source
        self._is_awaited = isinstance(source, AsyncIterable)
        self._is_bytes = isinstance(source, bytes | bytearray | memoryview)
        self._is_file = not self._is_awaited and hasattr(source, "read")
        if not (self._is_awaited or self._is_file or isinstance(source, Iterable)):
            raise InvalidRequest(f"The content is {_kind(source)}; it must be bytes, a file or an iterable.")
        self._source: Any = _plain(kept) if self._is_bytes else kept
        self._is_begun = False
        self._start = self._sent = 0
        self._hash = xxhash.xxh3_128()
        self._reading: asyncio.Task[Any] | None = None
        #: Bytes, where that is known before; None: it is sent in chunks.
        self.size: int | None = None
        #: What the source has raised while it was read.
        self.error: Exception | None = None
        if self._is_bytes:
            self.size = len(self._source)
        elif self._is_file and hasattr(kept, "seekable") and kept.seekable():
            self._start = kept.tell()
            kept.seek(0, io.SEEK_END)
            self.size = max(0, kept.tell() - self._start)

    @property
    def is_repeatable(self) -> bool:
        """Whether it can be sent (again): pieces come once."""
        return self.size is not None or not self._is_begun

    @property
    def whole(self) -> bytes | None:
        """All of it, if it is bytes, and few enough to be sent in one piece."""
        is_short = self._is_bytes and self.size is not None and self.size <= PIECE
        return bytes(self._source) if is_short else None

    @property
    def sent(self) -> tuple[int, str]:
        """The size and the ETag (without quotes) of what was sent last."""
        if self._is_bytes and self.size is not None:
            return self.size, etag_of(self._source)
        return self._sent, self._hash.hexdigest()

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Its pieces, anew. :raises SourceFailed:"""
        try:
            if self._is_awaited:
                raise InvalidRequest("The content is an asynchronous iterable; only Client can send one.")
            self._begin()
            for piece in self._pieces():
                yield self._counted(piece)
            self._check_end()
        except Exception as error:
            self.error = error
            raise SourceFailed from error

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        """The same, for asyncio: a file is read in a thread, an iterable in the event loop."""
        try:
            if self._reading is not None:  # of a try that was given up: it would read what this one has to
                await asyncio.wait([self._reading])
            self._begin()
            if self._is_awaited:
                async for piece in self._source:
                    yield self._counted(piece)
            elif self._is_file:
                pieces = self._pieces()
                while piece := await self._read(pieces):
                    yield self._counted(piece)
            else:
                for piece in self._pieces():
                    yield self._counted(piece)
            self._check_end()
        except Exception as error:
            self.error = error
            raise SourceFailed from error

    async def _read(self, pieces: Iterator[Any]) -> Any:
        """The next piece. A thread does not end when nobody waits for it any more: so it is kept in mind."""
        self._reading = asyncio.create_task(asyncio.to_thread(next, pieces, b""))
        self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._reading)

    def _begin(self) -> None:
        if not self.is_repeatable:  # an HTTP library may begin again by itself
            raise InvalidRequest("The content is an iterable: it was sent once, and cannot be sent again.")
        self._is_begun = True
        self._sent = 0
        self._hash.reset()

    def _pieces(self) -> Iterator[Any]:
        if self._is_bytes:
            for start in range(0, len(self._source), PIECE):
                yield self._source[start : start + PIECE]
        elif self._is_file:
            yield from self._read_from_file()
        else:
            yield from self._source

    def _read_from_file(self) -> Iterator[Any]:
        """Up to its size as it was: what is added to it meanwhile does not belong to it."""
        if self.size is not None:
            self._source.seek(self._start)
        left = self.size
        while left is None or left:
            piece = self._source.read(PIECE if left is None else min(PIECE, left))
            if piece is None:
                raise InvalidRequest("The content is a file that does not block; only one that does is sent.")
            if not piece:
                return
            yield piece
            if left is not None:
                left -= len(piece)

    def _counted(self, piece: Any) -> bytes | memoryview:
        """It, as bytes. :raises InvalidRequest: if it is no piece of a file."""
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InvalidRequest(f"The content has a piece that is {_kind(piece)}; it must be bytes.")
        counted = piece if isinstance(piece, bytes) else _plain(piece)
        self._hash.update(counted)
        self._sent += len(counted)
        return counted

    def _check_end(self) -> None:
        if self.size is not None and self._sent != self.size:
            raise InvalidRequest(f"The content had {self.size} bytes, and ended after {self._sent}.")


def _plain(data: bytes | bytearray | memoryview) -> memoryview:
    """A view of its single bytes: of one of wider items, ``len`` would be their number."""
    view = memoryview(data)
    if not view.c_contiguous:
        raise InvalidRequest("The content is a memoryview with gaps; make bytes of it.")
    return view.cast("B")


def _kind(value: object) -> str:
    return type(value).__name__
