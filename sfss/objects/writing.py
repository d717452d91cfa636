"""How a content comes into the store: cut into pieces, with its MD5, in bounded memory."""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterable, Coroutine
from typing import Any, NamedTuple, TypeVar

from sfss.errors import ContentMismatch, FileTooLarge, InvalidRequest, SfssError
from sfss.objects.catalog import Catalog
from sfss.objects.contents import new_content, piece_path
from sfss.objects.limits import MAX_OBJECT_SIZE
from sfss.service import FileService

log = logging.getLogger("sfss.objects")

T = TypeVar("T")

#: Of an object, as it comes.
Body = AsyncIterable[bytes | memoryview]

#: Room for so much of a body is taken when it begins to come, and for what is in memory at the most when more comes.
_FIRST_ROOM = 64 * 1024
#: One that brings less in a second is slow: it has room for what is there.
_LEAST_RATE = 64 * 1024
#: A content that is being written says so again after so many pieces.
_SAID_EVERY = 32
#: A longer piece goes through MD5 in a thread, beside the next one.
_LONG_PIECE = 256 * 1024


class Written(NamedTuple):
    """What is in the store: *content* is its name, "" if it has no bytes; *size* in bytes; *md5* in hex digits."""

    content: str
    size: int
    md5: str


class Writing:
    """A content on its way into the store: one piece is stored while the next one comes.

    Each step of it goes through :meth:`or_given_up`, up to the one that names it in the catalog.
    """

    def __init__(self, service: FileService, catalog: Catalog, piece_size: int):
        self.content = new_content(catalog.id)
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._service = service
        self._catalog = catalog
        self._piece_size = piece_size
        self._buffer = bytearray()
        self._pieces = 0  # that were given to the store
        self._storing: asyncio.Task[None] | None = None
        self._room = service.room_to_write()
        self._most = 0  # of it in memory
        self._looked = 0.0
        self._size_at_look = 0

    async def take(self, body: Body, etag: str | None, length: int | None) -> Written:
        """Store all of *body*. *etag*: its MD5, and *length*: its bytes, if somebody says so.

        :raises FileTooLarge: :raises ContentMismatch: :raises InvalidRequest: if it is not what these say.
        :raises Overloaded: if there is no room for it.
        """
        if length is not None and length > MAX_OBJECT_SIZE:
            raise FileTooLarge.object_over(MAX_OBJECT_SIZE)
        if length is not None and length <= min(_FIRST_ROOM, self._piece_size):
            await self._take_small(body, etag, length)
        else:
            await self._take_large(body, length)
            self._check(etag, length)
        self._room.release()
        return Written(self.content if self._size else "", self._size, self._md5.hexdigest())

    async def _take_small(self, body: Body, etag: str | None, length: int) -> None:
        """One that has room for all of it before it comes. It is not stored before it is known to be right."""
        await self._room.grow(length)
        found: list[bytes | memoryview] = []
        async for data in body:
            self._size += len(data)
            if self._size > length:
                break
            found.append(data)
        content = bytes(found[0]) if len(found) == 1 else b"".join(found)
        self._md5.update(content)
        self._check(etag, length)
        if content:
            self._pieces = 1
            await self._service.put(piece_path(self.content, 0), content)

    def _check(self, etag: str | None, length: int | None) -> None:
        """:raises ContentMismatch: :raises InvalidRequest:"""
        if length is not None and self._size != length:
            have = f"more than {length}" if self._size > length else f"{self._size}"
            raise InvalidRequest(f"The body has {have} bytes, and not {length}.")
        if etag is not None and etag != self._md5.hexdigest():
            raise ContentMismatch(f"The MD5 of the body is {self._md5.hexdigest()}, and not {etag}.")

    async def _take_large(self, body: Body, length: int | None) -> None:
        most = 2 * self._piece_size  # at once in memory
        self._most = most if length is None else min(length, most)
        self._looked = time.monotonic()
        await self._room.grow(min(self._most, _FIRST_ROOM))
        async for data in body:
            await self._add(data)
        await self._settle()
        if self._buffer and self._pieces:
            await self._store_piece()
            await self._settle()
        elif self._buffer:
            data, self._buffer = bytes(self._buffer), bytearray()
            await self._store(data)

    async def _add(self, data: bytes | memoryview) -> None:
        self._size += len(data)
        if self._size > MAX_OBJECT_SIZE:
            raise FileTooLarge.object_over(MAX_OBJECT_SIZE)
        await self._take_room(len(data))
        view = memoryview(data)
        while view:
            part = view[: self._piece_size - len(self._buffer)]
            view = view[len(part) :]
            self._buffer += part
            if len(self._buffer) == self._piece_size and (
                view or self._pieces or self._size > self._piece_size
            ):
                await self._store_piece()

    async def _take_room(self, size: int) -> None:
        """Of many uploads at once some can end, where all would wait for each other if each had room for a part: so
        there is room for all that will be in memory. But one that comes slowly has room for what is there.
        """
        now = time.monotonic()
        if now - self._looked > 1.0:
            if self._size - self._size_at_look < _LEAST_RATE * (now - self._looked) and self._storing is None:
                self._room.shrink(max(len(self._buffer), _FIRST_ROOM))
            self._looked, self._size_at_look = now, self._size
        if len(self._buffer) + size > self._room.taken:
            await self._room.grow(max(self._most, len(self._buffer) + size))

    async def _store_piece(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        if self._pieces % _SAID_EVERY == 0:
            await self._catalog.begin_content(self.content)
        await self._settle()
        self._storing = asyncio.create_task(self._store(data))

    async def _store(self, data: bytes) -> None:
        number, self._pieces = self._pieces, self._pieces + 1
        if len(data) > _LONG_PIECE:
            await asyncio.to_thread(self._md5.update, data)
        else:
            self._md5.update(data)
        await self._service.put(piece_path(self.content, number), data)

    async def _settle(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            await storing

    async def or_given_up(self, step: Coroutine[Any, Any, T]) -> T:
        """What *step* returns, which takes a body, or names what was taken: if it fails, that is garbage."""
        try:
            return await step
        except BaseException as error:
            failure = error  # (mypyc 2.4 cannot await in here)
        await asyncio.shield(self._give_up())
        try:
            raise failure
        finally:
            del failure  # its traceback has this frame, and so all that is here

    async def _give_up(self) -> None:
        """It will be no object's. What is in the store is garbage."""
        self._room.release()
        self._buffer = bytearray()
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)
        if not self._pieces:
            return
        try:
            await self._catalog.give_up(self.content, self._pieces)
        except SfssError as problem:  # the cleaner finds it by its age
            log.warning("pieces are left", extra={"content": self.content, "reason": str(problem)})
