"""The rules between HTTP and the catalog: how an object is put, read, joined and deleted."""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterable, Coroutine
from typing import Any, NamedTuple, TypedDict, TypeVar

from sfss.admission import Room
from sfss.errors import ContentMismatch, FileTooLarge, InvalidRequest, SfssError
from sfss.objects import manifests
from sfss.objects.catalog import Catalog
from sfss.objects.clock import now_us
from sfss.objects.contents import Part, Pieces, cut, new_content, piece_path
from sfss.objects.models import NONE, Metadata, ObjectInfo, Upload, UploadedPart
from sfss.service import FileService

log = logging.getLogger("sfss.objects")

T = TypeVar("T")

MAX_OBJECT_SIZE = 5 * 1024**3
MAX_CONTAINER_NAME, MAX_OBJECT_NAME = 256, 1024  # bytes
#: What an object of a listing takes, about.
_LISTED_BYTES = 1024
#: Room for so much of a body is taken when it begins to come, and for what is in memory at the most when more comes.
_FIRST_ROOM = 64 * 1024
#: One that brings less in a second is slow: it has room for what is there.
_LEAST_RATE = 64 * 1024
#: A content that is being written says so again after so many pieces.
_SAID_EVERY = 32
#: Of an object, as it comes.
Body = AsyncIterable[bytes | memoryview]


class Found(NamedTuple):
    """An object as a GET gives it. *parts*: what it is made of."""

    info: ObjectInfo
    parts: list[Part]
    size: int
    etag: str


class Conditions(TypedDict):
    """What :meth:`Objects.put` asks for before it puts."""

    must_be_new: bool
    must_have: str | None


class Objects:
    """Objects whose contents are in *service*. *piece_size*: bytes of each piece of a new content."""

    def __init__(self, service: FileService, catalog: Catalog):
        self.service = service
        self.catalog = catalog
        self.piece_size = service.max_file_size
        #: Whether a small object is read without waiting for anything.
        self.reads_at_once = service.reads_at_once and catalog.reads_at_once

    async def put(
        self,
        account: int,
        container: str,
        name: str,
        body: Body,
        *,
        content_type: str,
        metadata: Metadata,
        manifest: str = "",
        properties: Metadata = NONE,
        expires: int = 0,
        etag: str | None = None,
        length: int | None = None,
        must_be_new: bool = False,
        must_have: str | None = None,
    ) -> ObjectInfo:
        """*etag*: what the MD5 of the body has to be. *length*: of the body, if it is known. *metadata* is looked at
        when the body has come. *must_be_new*, *must_have*: there must be no such object, or one with this ETag.

        :raises NoSuchContainer: :raises FileTooLarge: :raises ContentMismatch: :raises PreconditionFailed:
        """
        check_names(container, name)
        if (
            length is None or length > self.piece_size
        ):  # (a smaller one is here before an answer would be there)
            await self.catalog.container(account, container)
        written = await self._written(body, etag, length)
        info = ObjectInfo(
            name,
            written.size,
            written.md5.hexdigest(),
            content_type,
            now_us(),
            written.content if written.size else "",
            self.piece_size,
            metadata,
            manifest,
            properties,
            expires,
        )
        naming = self.catalog.put_object(
            account, container, info, must_be_new=must_be_new, must_have=must_have
        )
        return info._replace(version=await _or_given_up(written, naming))

    async def put_part(self, upload: Upload, number: int, body: Body, *, length: int | None) -> UploadedPart:
        """:raises NoSuchUpload: if it was completed or aborted meanwhile."""
        written = await self._written(body, None, length)
        part = UploadedPart(
            number,
            written.size,
            written.md5.hexdigest(),
            now_us(),
            written.content if written.size else "",
            self.piece_size,
        )
        await _or_given_up(written, self.catalog.put_part(upload.id, part))
        return part

    async def _written(self, body: Body, etag: str | None, length: int | None) -> "_Writing":
        """The content of *body*, which is in the store. Who does not name it gives it up."""
        if length is not None and length > MAX_OBJECT_SIZE:
            raise FileTooLarge(f"An object has at most {MAX_OBJECT_SIZE} bytes.")
        writing = _Writing(self.service, self.catalog, self.piece_size)
        await _or_given_up(writing, writing.take(body, etag, length))
        return writing

    async def find(self, account: int, container: str, name: str, version: str | None = None) -> Found:
        """*version*: of the object; None: the one that is there now. :raises NoSuchContainer: :raises NotFound:"""
        check_names(container, name)
        if version is None:
            info = await self.catalog.object(account, container, name)
        else:
            info = await self.catalog.object_version(account, container, name, version)
        if not info.manifest:
            return Found(info, [Part(info, 0, info.size)], info.size, info.etag)
        parts, etag = await manifests.parts(self.catalog, account, info)
        return Found(info, parts, sum(part.stop - part.start for part in parts), etag)

    async def put_static(
        self,
        account: int,
        container: str,
        name: str,
        document: Any,
        *,
        content_type: str,
        metadata: Metadata,
        expires: int = 0,
        etag: str | None = None,
        must_be_new: bool = False,
        must_have: str | None = None,
    ) -> ObjectInfo:
        """An object that is made of others. :raises InvalidRequest: if it cannot be."""
        check_names(container, name)
        segments = await manifests.requested(self.catalog, account, document)
        size, found = sum(each.stop - each.start for each in segments), manifests.static_etag(segments)
        if etag is not None and etag != found:
            raise ContentMismatch(f"The ETag of the segments is {found}, and not {etag}.")
        if size > MAX_OBJECT_SIZE * manifests.MOST_STATIC:
            raise FileTooLarge("The object would be too large.")
        manifest = manifests.written(segments)
        own = (name, size, found, content_type, now_us(), "", self.piece_size, metadata, manifest)
        info = ObjectInfo(*own, expires=expires)
        await self.catalog.put_object(account, container, info, must_be_new=must_be_new, must_have=must_have)
        return info

    async def room_for(self, entries: int) -> Room:
        """To list so many; its taker gives it back. :raises Overloaded:"""
        room = self.service.room_to_read()
        await room.grow(entries * _LISTED_BYTES)
        return room

    def reading(self, found: Found, start: int, stop: int) -> "Reading":
        """The bytes from *start* to *stop*, in a context."""
        return Reading(self, found, start, stop)

    async def read(self, found: Found, start: int, stop: int, room: Room) -> Pieces:
        """The same, with room that is the caller's. :raises Overloaded:"""
        largest = max([part.info.piece_size for part in found.parts], default=0)
        await room.grow(min(stop - start, 2 * largest))
        return Pieces(self.service, cut(found.parts, start, stop), room)


class Reading:
    """See :meth:`Objects.reading`. :raises Overloaded:"""

    def __init__(self, objects: Objects, found: Found, start: int, stop: int):
        self._objects = objects
        self._found = found
        self._start = start
        self._stop = stop
        self._room = objects.service.room_to_read()
        self._pieces: Pieces | None = None

    async def __aenter__(self) -> Pieces:
        self._pieces = await self._objects.read(self._found, self._start, self._stop, self._room)
        return self._pieces

    async def __aexit__(self, *problem: object) -> None:
        if self._pieces is not None:
            self._pieces.close()
        self._room.release()


async def _or_given_up(writing: "_Writing", step: Coroutine[Any, Any, T]) -> T:
    """What *step* returns, which goes on with *writing*: if it fails, that is garbage."""
    try:
        return await step
    except BaseException:
        await asyncio.shield(writing.give_up())
        raise


class _Writing:
    """A content on its way into the store: one piece is stored while the next one comes."""

    def __init__(self, service: FileService, catalog: Catalog, piece_size: int):
        self.content = new_content(catalog.id)
        self.size = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self._service = service
        self._catalog = catalog
        self._piece_size = piece_size
        self._buffer = bytearray()
        self._pieces = 0  # that were given to the store
        self._storing: asyncio.Task[None] | None = None
        self._room = service.room_to_write()
        self._most = 0  # of it in memory
        self._looked, self._size_at_look = time.monotonic(), 0

    async def take(self, body: Body, etag: str | None, length: int | None) -> None:
        """Store all of *body*. :raises ContentMismatch: :raises InvalidRequest: if it is not what these say."""
        await self.begin(length)
        async for data in body:
            await self.add(data)
        await self.end()
        found = self.md5.hexdigest()
        if etag is not None and etag != found:
            raise ContentMismatch(f"The MD5 of the body is {found}, and not {etag}.")
        if length is not None and self.size != length:
            raise InvalidRequest(f"The body has {self.size} bytes, and not {length}.")

    async def begin(self, length: int | None) -> None:
        """:raises Overloaded: if there is no room for the beginning of a body of this *length*, or of any."""
        most = 2 * self._piece_size  # at once in memory
        self._most = most if length is None else min(length, most)
        await self._room.grow(min(self._most, _FIRST_ROOM))

    async def add(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        if self.size > MAX_OBJECT_SIZE:
            raise FileTooLarge(f"An object has at most {MAX_OBJECT_SIZE} bytes.")
        await self._take_room(len(data))
        view = memoryview(data)
        while view:
            part = view[: self._piece_size - len(self._buffer)]
            view = view[len(part) :]
            self._buffer += part
            if len(self._buffer) == self._piece_size and (
                view or self._pieces or self.size > self._piece_size
            ):
                await self._store_piece()

    async def _take_room(self, size: int) -> None:
        """Of many uploads at once some can end, where all would wait for each other if each had room for a part: so
        there is room for all that will be in memory. But one that comes slowly has room for what is there.
        """
        now = time.monotonic()
        if now - self._looked > 1.0:
            if self.size - self._size_at_look < _LEAST_RATE * (now - self._looked) and self._storing is None:
                self._room.shrink(max(len(self._buffer), _FIRST_ROOM))
            self._looked, self._size_at_look = now, self.size
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
        if len(data) > 256 * 1024:
            await asyncio.to_thread(self.md5.update, data)
        else:
            self.md5.update(data)
        await self._service.put(piece_path(self.content, number), data)

    async def _settle(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            await storing

    async def end(self) -> None:
        """All is in the store then."""
        await self._settle()
        if self._buffer:
            if self._pieces:
                await self._store_piece()
                await self._settle()
            else:
                data, self._buffer = bytes(self._buffer), bytearray()
                await self._store(data)
        self._room.release()

    async def give_up(self) -> None:
        """It will be no object's. What is in the store is garbage."""
        self._room.release()
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)
        if not self._pieces:
            return
        try:
            await self._catalog.give_up(self.content, self._pieces)
        except SfssError as problem:  # the cleaner finds it by its age
            log.warning("pieces are left", extra={"content": self.content, "reason": str(problem)})


def check_names(container: str, name: str) -> None:
    """:raises InvalidRequest: if no object can have these."""
    check_container_name(container)
    check_object_name(name)


def check_object_name(name: str) -> None:
    """:raises InvalidRequest: if no object can have it."""
    if not name or "\0" in name or len(name.encode()) > MAX_OBJECT_NAME:
        raise InvalidRequest(f"The name of an object has 1 to {MAX_OBJECT_NAME} bytes, none of them null.")


def check_container_name(name: str) -> None:
    """:raises InvalidRequest: if it can be none."""
    if not name or "/" in name or "\0" in name or len(name.encode()) > MAX_CONTAINER_NAME:
        raise InvalidRequest(f"The name of a container has 1 to {MAX_CONTAINER_NAME} bytes, and no '/'.")
