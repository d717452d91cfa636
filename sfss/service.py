"""The rules between HTTP and a store: which paths, how large, how many at once.

Whoever speaks for a client (HTTP now) comes through here; nobody but this module calls a
store. (But a node's puts have more to say: ``web/nodes.py``.)
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from sfss.admission import SMALL, Admission
from sfss.errors import FileTooLarge
from sfss.figures import Family
from sfss.models import FileInfo, Precondition, StoredFile
from sfss.panel import Event
from sfss.paths import check_path, is_valid_path
from sfss.receivers import Receiver, WriteReceiver
from sfss.stores.base import EVENTS, AnswersAtOnce, HasNodes, Stats, Store


__all__ = ["EVENTS", "FileService", "Stats"]


class FileService:
    """Files of at most *max_file_size* bytes in *store*, as many at once as *admission* allows."""

    def __init__(self, store: Store, *, max_file_size: int, admission: Admission | None = None):
        self.max_file_size = max_file_size
        self.admission = admission or Admission(limit=2**62, wait=0.0)
        self._store = store
        self._at_once = isinstance(store, AnswersAtOnce)
        self._ready = Shared(store.ready)
        self._stats = Shared(store.stats)
        self._node_stats = Shared(store.node_stats if isinstance(store, HasNodes) else store.stats)

    async def get(self, path: str) -> StoredFile:
        """:raises InvalidPath, NotFound, NoStoreAvailable, StoreRefused, Overloaded:"""
        check_path(path)
        async with self.admission.room(SMALL):
            file = await self._store.get(path)
            if more := self.admission.excess(len(file.content)):
                async with self.admission.room(more):
                    return file
        return file

    def begin_get(self, path: str, receiver: Receiver) -> bool:
        """Begin a get without a coroutine (see :class:`AnswersAtOnce`).

        False: not now, or not with this store, or not with this path; :meth:`get` tells.
        """
        return self._at_once and is_valid_path(path) and self._store.begin_get(path, receiver)

    def begin_put(self, path: str, content: bytes, receiver: WriteReceiver) -> bool:
        """Begin a put without a coroutine; False as for :meth:`begin_get`."""
        return (
            self._at_once
            and is_valid_path(path)
            and len(content) <= self.max_file_size
            and self._store.begin_put(path, content, receiver)
        )

    async def stat(self, path: str) -> FileInfo:
        """Raises as :meth:`get` does."""
        check_path(path)
        async with self.admission.room(SMALL):
            return await self._store.stat(path)

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        """Keep *content* under *path*, whatever was there.

        :raises InvalidPath, FileTooLarge, PreconditionFailed: and nothing has changed.
        :raises NoStoreAvailable, StoreRefused: and it may have happened all the same.
        """
        check_path(path)
        self.check_size(len(content))
        return await self._store.put(path, content, precondition)

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        """:raises InvalidPath, NotFound, PreconditionFailed, NoStoreAvailable, StoreRefused:"""
        await self._store.delete(check_path(path), precondition)

    async def ready(self) -> None:
        """Return if a store can serve now. :raises NoStoreAvailable, StoreRefused: if not."""
        await self._ready.answer()

    def families(self) -> Iterable[Family]:
        """What has been counted of the store and of the admission."""
        return [*self._store.families(), *self.admission.families()]

    def history(self) -> Iterable[Event]:
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

    def _done(self, task: asyncio.Task) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # seen: it is of no interest when nobody waits any more
