"""Contents: the pieces that an object's bytes are cut into, each a file of the store.

The pieces of one content are called ``objects/CATALOG/CONTENT/NUMBER``. CONTENT is the time at which it was begun and
128 random bits: nobody can guess it, and it is never used twice, so a piece never changes, and any store is as good as
a strongly consistent one. Its age tells whether what is left of it may be removed. CATALOG is the id of the catalog
that knows it: several may use the same store, and none touches what is another's.
"""

import asyncio
import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sfss.admission import Room
from sfss.errors import NotFound, StoreRefused
from sfss.models import StoredFile
from sfss.objects.clock import now_us
from sfss.objects.models import ObjectInfo
from sfss.service import FileService

#: What the paths of all pieces begin with.
PREFIX = "objects/"
_CONTENT = re.compile("[0-9a-f]{16}/[0-9a-f]{46}")
#: So many are kept in memory.
_RANDOM_BYTES = 4096
TIME_DIGITS = 14  #: of a time in the name of a content, hex


def new_content(catalog: str) -> str:
    """A name for a content that begins now. *catalog*: the id of the one that is to know it."""
    return f"{catalog}/{now_us():0{TIME_DIGITS}x}{_random.take(16).hex()}"


class _Random:
    """Bytes of the kernel's, many at a time: each call of os.urandom lets other threads have the interpreter, and
    waits until it has it back. For one thread, that of the loop. None is given out twice, in a process or in one that
    it forks.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._next = 0

    def take(self, size: int) -> bytes:
        begin, self._next = self._next, self._next + size
        if self._next > len(self._bytes):
            self._bytes = os.urandom(_RANDOM_BYTES)
            begin, self._next = 0, size
        return self._bytes[begin : self._next]

    def forget(self) -> None:
        self._bytes = b""
        self._next = 0


_random = _Random()
os.register_at_fork(after_in_child=_random.forget)


def begun_at(content: str) -> int | None:
    """When, µs since the epoch. None: that is the name of no content."""
    name = content.rpartition("/")[2]
    return int(name[:TIME_DIGITS], 16) if _CONTENT.fullmatch(content) else None


def piece_path(content: str, number: int) -> str:
    return f"{PREFIX}{content}/{number}"


class Part(NamedTuple):
    """Some bytes of one object."""

    info: ObjectInfo
    start: int
    stop: int  #: behind the last


def cut(parts: Sequence[Part], start: int, stop: int) -> list[Part]:
    """The bytes from *start* to *stop* of several parts, one behind the other."""
    found: list[Part] = []
    position = 0
    for info, begin, end in parts:
        first, last = max(start - position, 0), min(stop - position, end - begin)
        if first < last:
            found.append(Part(info, begin + first, begin + last))
        position += end - begin
    return found


class Pieces:
    """The bytes of *parts*, piece by piece; the next one is fetched meanwhile. *room*: of two pieces, if there are two.

    :raises StoreRefused: if a piece is missing or has another length. :raises NoStoreAvailable:
    """

    def __init__(self, service: FileService, parts: Sequence[Part], room: Room):
        self._service = service
        self._room = room
        self._wanted = _pieces(parts)
        self._is_begun = False
        self._task: asyncio.Task[memoryview] | None = None  # that fetches the next one

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> memoryview:
        piece = await self.next()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def next(self) -> memoryview | None:
        """None: that was all."""
        task, self._task = self._task, None
        if task is not None:
            data = await task
        else:
            piece = None if self._is_begun else next(self._wanted, None)
            if piece is None:
                return None
            self._is_begun = True
            data = await _fetch(self._service, self._room, *piece)
        piece = next(self._wanted, None)
        if piece is not None:
            self._task = asyncio.get_running_loop().create_task(_fetch(self._service, self._room, *piece))
        return data

    def close(self) -> None:
        """No more of them is wanted."""
        if self._task is not None:
            self._task.cancel()


def _pieces(parts: Sequence[Part]) -> Iterator[tuple[ObjectInfo, int, int, int]]:
    """Of each piece its object, its number, and from where to where it is wanted."""
    for info, start, stop in parts:
        size = info.piece_size
        for number in range(start // size, -(-stop // size)):
            first = max(start - number * size, 0)
            yield info, number, first, min(stop - number * size, size)


async def read_one(service: FileService, info: ObjectInfo, room: Room) -> memoryview:
    """The content of an object that has one piece."""
    if service.reads_at_once:
        answer = _Answer()
        if service.begin_get(piece_path(info.content, 0), room, answer):
            if answer.error is not None:
                raise answer.error
            if answer.file is None:
                raise _missing(info)
            if room.try_grow(info.size):
                return _whole(info, 0, answer.file.content)
    return await _fetch(service, room, info, 0, 0, info.size)


class _Answer:
    """Of a store that answers at once (:class:`sfss.completion.Completion`)."""

    def __init__(self) -> None:
        self.file: StoredFile | None = None
        self.error: Exception | None = None

    def done(self) -> bool:
        return False

    def set_result(self, result: StoredFile | None) -> None:
        self.file = result

    def set_exception(self, error: Exception) -> None:
        self.error = error


async def _fetch(
    service: FileService, room: Room, info: ObjectInfo, number: int, start: int, stop: int
) -> memoryview:
    try:
        file = await service.get(piece_path(info.content, number), room)
    except NotFound:
        raise _missing(info) from None
    return _whole(info, number, file.content)[start:stop]


def _missing(info: ObjectInfo) -> StoreRefused:
    return StoreRefused(f"A piece of the object {info.path!r} is not in the store.")


def _whole(info: ObjectInfo, number: int, content: bytes | bytearray) -> memoryview:
    """The piece of this *number*. :raises StoreRefused: if it has not the bytes that it was written with."""
    if len(content) != min(info.piece_size, info.size - number * info.piece_size):
        raise StoreRefused(f"A piece of the object {info.path!r} is damaged.")
    return memoryview(content)
