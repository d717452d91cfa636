"""The rules between HTTP and a store: which paths, how large, how many at once.

Whatever speaks for a client (HTTP now) comes through here; nothing but this module calls a store.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar

from sfss.admission import SMALL, Admission, Room
from sfss.completion import Completion, WriteCompletion
from sfss.config.server import ServerSettings
from sfss.errors import CannotList, FileTooLarge
from sfss.metrics.events import StateChange
from sfss.metrics.families import Family
from sfss.models import FileInfo, Precondition, StoredFile
from sfss.paths import check_path, is_valid_path
from sfss.stores.base import EVENTS, AnswersAtOnce, HasNodes, Listed, Listing, Lists, Stats, Store

__all__ = ["EVENTS", "FileService", "Listed", "Stats"]

#: What a file of a listing takes, about, while it is answered.
_LISTED_BYTES = 1024


class FileService:
    """Files of at most *max_file_size* bytes in *store*, as many at once as *admission* allows."""

    def __init__(self, store: Store, *, max_file_size: int, admission: Admission | None = None):
        self.max_file_size = max_file_size
        self._admission = admission or Admission(limit=2**62, wait=0.0)
        self.description = store.description
        self._store = store
        self._at_once: AnswersAtOnce | None = store if isinstance(store, AnswersAtOnce) else None
        self._ready = Shared(store.ready)
        self._stats = Shared(store.stats)
        self._node_stats = Shared(store.node_stats if isinstance(store, HasNodes) else store.stats)

    @classmethod
    def of(cls, store: Store, settings: ServerSettings, *, has_peers: bool = False) -> "FileService":
        """As *settings* want it. *has_peers*: whether other nodes send messages, too."""
        admission = Admission(settings.max_bytes_in_flight, settings.admission_timeout, has_peers=has_peers)
        return cls(store, max_file_size=settings.max_file_size, admission=admission)

    # Where what a request takes is counted.

    def room_to_read(self) -> Room:
        return self._admission.reads.room()

    def room_to_write(self) -> Room:
        return self._admission.uploads.room()

    def room_of_peers(self) -> Room:
        """For messages of other nodes."""
        return self._admission.peers.room()

    async def get(self, path: str, room: Room) -> StoredFile:
        """The file, for which *room* is taken; it stays taken.

        A file for which there is no room is not kept until there is some: it is read again.

        :raises InvalidPath, NotFound, NoStoreAvailable, StoreRefused, Overloaded:
        """
        check_path(path)
        await room.grow(SMALL)
        while True:
            file = await self._store.get(path)
            size = len(file.content)
            if room.try_grow(size):
                return file
            del file
            room.release()  # two that wait for each other would both wait in vain
            await room.grow(size)

    async def stat(self, path: str, room: Room) -> FileInfo:
        """Raises as :meth:`get` does."""
        check_path(path)
        await room.grow(SMALL)
        return await self._store.stat(path)

    # Each begins what its namesake does, without a coroutine (see :class:`AnswersAtOnce`). False: not now, or not
    # with this store, or not with this path; the namesake tells.

    def begin_get(self, path: str, room: Room, completion: Completion) -> bool:
        """The result is the file, for which :data:`SMALL` bytes of *room* were taken, or None."""
        return (
            self._at_once is not None
            and is_valid_path(path)
            and room.try_grow(SMALL)
            and self._at_once.begin_get(path, completion)
        )

    def begin_stat(self, path: str, room: Room, completion: Completion) -> bool:
        """The result is the :class:`FileInfo`, or None."""
        return (
            self._at_once is not None
            and is_valid_path(path)
            and room.try_grow(SMALL)
            and self._at_once.begin_stat(path, completion)
        )

    def begin_put(
        self,
        path: str,
        content: bytes | bytearray,
        precondition: Precondition | None,
        completion: WriteCompletion,
    ) -> bool:
        return (
            self._at_once is not None
            and is_valid_path(path)
            and len(content) <= self.max_file_size
            and self._at_once.begin_put(path, content, precondition, completion)
        )

    def begin_delete(self, path: str, precondition: Precondition | None, completion: WriteCompletion) -> bool:
        """The result is None."""
        return (
            self._at_once is not None
            and is_valid_path(path)
            and self._at_once.begin_delete(path, precondition, completion)
        )

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> Any:
        """Keep *content* under *path*, whatever was there. What the store says of it: a :class:`FileInfo`, or, of a
        node, a :class:`sfss.replication.node.PutFile`.

        :raises InvalidPath, FileTooLarge, PreconditionFailed: and nothing has changed.
        :raises NoStoreAvailable, StoreRefused: and it may have happened all the same.
        """
        check_path(path)
        self.check_size(len(content))
        info: Any = await self._store.put(path, content, precondition)
        return info

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        """:raises InvalidPath, NotFound, PreconditionFailed, NoStoreAvailable, StoreRefused:"""
        await self._store.delete(check_path(path), precondition)

    @property
    def reads_at_once(self) -> bool:
        """Whether a read waits for nothing but room."""
        return self._store.reads_at_once

    @property
    def lists(self) -> bool:
        """Whether the store can say which files it has."""
        return isinstance(self._store, Lists)

    @property
    def lists_in_order(self) -> bool:
        """Whether listings are in the order of the paths."""
        return isinstance(self._store, Lists) and self._store.is_ordered

    async def list_files(self, prefix: str, cursor: str, limit: int, delimiter: str) -> Listing:
        """See :meth:`Lists.list_files`.

        :raises CannotList: :raises InvalidRequest, NoStoreAvailable, StoreRefused, Overloaded:
        """
        if not isinstance(self._store, Lists):
            raise CannotList("The store behind this server cannot say which files it has.")
        room = self.room_to_read()
        try:
            await room.grow(limit * _LISTED_BYTES)
            return await self._store.list_files(prefix, cursor, limit, delimiter)
        finally:
            room.release()

    async def ready(self) -> None:
        """Return if a store can serve now. :raises NoStoreAvailable, StoreRefused: if not."""
        await self._ready.answer()

    def families(self) -> Iterable[Family]:
        """What has been counted of the store and of the admission."""
        return [*self._store.families(), *self._admission.families()]

    def history(self) -> Iterable[StateChange]:
        return self._store.history()

    async def stats(self) -> Stats:
        """The store's figures by address. :raises NoStoreAvailable:"""
        return await self._stats.answer()

    async def node_stats(self) -> Stats:
        """The figures of what keeps the files: the nodes, or the store that is its own node."""
        return await self._node_stats.answer()

    def check_size(self, size: int) -> None:
        """:raises FileTooLarge: if a file may not have so many bytes."""
        if size > self.max_file_size:
            raise FileTooLarge.over(self.max_file_size)


T = TypeVar("T")


class Shared(Generic[T]):
    """One question for all who ask it at the same time: each gets the answer of the one that is under way."""

    def __init__(self, ask: Callable[[], Awaitable[T]]):
        self._ask = ask
        self._asking: asyncio.Task[T] | None = None

    async def answer(self) -> T:
        """What *ask* returns, or raises."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_now())
            self._asking.add_done_callback(self._done)
        # Shielded: the others wait for it too when one of them is cancelled.
        return await asyncio.shield(self._asking)

    async def _ask_now(self) -> T:
        return await self._ask()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # seen: it is of no interest when nobody waits any more
