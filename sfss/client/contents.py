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


class Content:
    """One content on its way. :raises InvalidRequest: if *source* is text."""

    def __init__(self, source: Source):
        if isinstance(source, str | io.TextIOBase):
            raise InvalidRequest("The content is text; a file has bytes: encode it, or open it in mode 'rb'.")
        kept: Any = source
        self._source = kept
        self._is_bytes = isinstance(source, bytes | bytearray | memoryview)
        self._is_file = hasattr(source, "read")
        self._is_begun = False
        self._start = self._sent = 0
        self._hash = xxhash.xxh3_128()
        #: Bytes, where that is known before; None: it is sent in chunks.
        self.size: int | None = None
        #: What the source has raised while it was read.
        self.error: Exception | None = None
        if self._is_bytes:
            self.size = memoryview(kept).nbytes
        elif self._is_file and kept.seekable():
            self._start = kept.tell()
            self.size = kept.seek(0, io.SEEK_END) - self._start

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
        """Its pieces, anew. What the source raises is kept in *error*, too, since a library may wrap it."""
        try:
            if isinstance(self._source, AsyncIterable):
                raise InvalidRequest("The content is an asynchronous iterable; only Client can send one.")
            self._begin()
            for piece in self._pieces():
                yield self._counted(piece)
            self._check_end()
        except Exception as error:
            self.error = error
            raise

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        """The same, for asyncio: a file is read in a thread."""
        try:
            self._begin()
            if isinstance(self._source, AsyncIterable):
                async for piece in self._source:
                    yield self._counted(piece)
            elif self._is_file:
                pieces = self._pieces()
                while piece := await asyncio.to_thread(next, pieces, b""):
                    yield self._counted(piece)
            else:
                for piece in self._pieces():
                    yield self._counted(piece)
            self._check_end()
        except Exception as error:
            self.error = error
            raise

    def _begin(self) -> None:
        self._is_begun = True
        self._sent = 0
        self._hash.reset()

    def _pieces(self) -> Iterator[bytes | memoryview]:
        if self._is_bytes:
            view = memoryview(self._source).cast("B")
            for start in range(0, len(view), PIECE):
                yield view[start : start + PIECE]
        elif self._is_file:
            if self.size is not None:
                self._source.seek(self._start)
            # What is added to a file meanwhile does not belong to it.
            while piece := self._source.read(
                PIECE if self.size is None else min(PIECE, self.size - self._sent)
            ):
                yield piece
        else:
            yield from self._source

    def _counted(self, piece: bytes | memoryview) -> bytes | memoryview:
        """:raises InvalidRequest: if it is no piece of a file."""
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InvalidRequest(f"The content has a piece that is {type(piece).__name__}; it must be bytes.")
        self._hash.update(piece)
        self._sent += memoryview(piece).nbytes
        return piece

    def _check_end(self) -> None:
        if self.size is not None and self._sent != self.size:
            raise InvalidRequest(f"The content had {self.size} bytes, and ended after {self._sent}.")
