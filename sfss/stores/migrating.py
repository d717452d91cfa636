"""A store that moves into another one while it is served.

Of a path that is in both, the new store is right. Whoever looks into the new one, finds nothing and goes on to the old
one, and whoever writes, holds the lock of the path meanwhile, in whichever process. With it:

* A file is moved by being put into the new store, and then deleted from the old one.
* A put goes into the new store; then what the old one has of that path is deleted.
* A delete is of the old store first. So at no moment does an old content come back that was replaced or deleted, and
  a kill between any two steps leaves the file as it was, or as it was to become.

So the two stores are all there is to know about how far it has come: it is over when the old one is empty, and goes on
after a kill where it was. What a client has begun and does not wait for any more is finished all the same
(:meth:`MigratingStore._alone`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from sfss.disk.path_locks import PathLocks
from sfss.errors import CannotList, FileTooLarge, NotFound, SfssError
from sfss.metrics.events import StateChange
from sfss.metrics.families import Family, counter, merged
from sfss.models import FileInfo, Precondition, StoredFile
from sfss.stores.base import HasNodes, Listing, Lists, Stats, Store
from sfss.stores.merged_listing import list_both
from sfss.stores.mover import Mover

log = logging.getLogger("sfss.store")

T = TypeVar("T")


class MigratingStore(Store):
    """*new* and *old*: not yet started; *old* is a :class:`Lists`, too. Nothing but such stores, with the same *locks*,
    may write into either meanwhile.

    *largest*: bytes of a file that *new* may be given. *check* is called when both have started, and before anything
    is moved.
    """

    def __init__(
        self,
        new: Store,
        old: Store,
        locks: PathLocks,
        *,
        largest: int,
        check: Callable[[], None] = lambda: None,
    ):
        assert isinstance(old, Lists)
        self.description = f"{new.description}, moving in from {old.description}"
        self._new, self._old, self._locks = new, old, locks
        self._largest, self._check = largest, check
        self._under_way: set[asyncio.Task[Any]] = set()
        self._getting: dict[str, asyncio.Task[StoredFile]] = {}
        self._counts = {"moved_files": 0, "moved_bytes": 0, "read_failures": 0}
        self._mover = Mover(old, self._move_one, locks)

    def prepare(self) -> None:
        self._old.prepare()
        self._new.prepare()

    async def start(self) -> None:
        await self._old.start()
        await self._new.start()
        self._check()
        self._locks.open()
        self._mover.start()

    async def close(self) -> None:
        await self._mover.stop()
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._new.close()
        await self._old.close()
        self._locks.close()

    # Reads.

    async def get(self, path: str) -> StoredFile:
        try:
            return await self._new.get(path)
        except NotFound:
            # What many ask for at once, and is not there, would be looked for by one after the other.
            getting = self._getting.get(path)
            if getting is None:
                getting = self._getting[path] = self._begin(path, lambda: self._get(path))
                getting.add_done_callback(lambda task: self._forget_getting(path, task))
            return await asyncio.shield(getting)

    async def _get(self, path: str) -> StoredFile:
        try:
            return await self._new.get(path)
        except NotFound:
            file = await self._old.get(path)
        finally:
            # Who comes now is told what holds after the next write: the lock is still ours.
            self._getting.pop(path, None)
        try:
            await self._move(path, file)
        except SfssError as error:  # it can still be read where it is
            self._counts["read_failures"] += 1
            log.debug("a file that was read could not be moved", extra={"path": path, "reason": str(error)})
        return file

    def _forget_getting(self, path: str, task: asyncio.Task[StoredFile]) -> None:
        """It has ended, perhaps without ever having had the lock."""
        if self._getting.get(path) is task:
            del self._getting[path]

    async def stat(self, path: str) -> FileInfo:
        try:
            return await self._new.stat(path)
        except NotFound:
            return await self._alone(path, lambda: self._stat(path))

    async def _stat(self, path: str) -> FileInfo:
        try:
            return await self._new.stat(path)
        except NotFound:
            return await self._old.stat(path)

    # Writes.

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        return await self._alone(path, lambda: self._put(path, content, precondition))

    async def _put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None
    ) -> FileInfo:
        if precondition is not None and not await self._is_new(path):
            await self._bring(path)
        info = await self._new.put(path, content, precondition)
        try:
            await self._forget(path)
        except SfssError as error:  # the mover will
            log.warning(
                "what the old store has of a path stays until it can be deleted",
                extra={"path": path, "reason": str(error)},
            )
        return info

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        await self._alone(path, lambda: self._delete(path, precondition))

    async def _delete(self, path: str, precondition: Precondition | None) -> None:
        if precondition is not None and not await self._is_new(path):
            await self._bring(path)
        was_there = await self._forget(path)
        try:
            await self._new.delete(path, precondition)
        except NotFound:
            if not was_there:
                raise

    async def _is_new(self, path: str) -> bool:
        try:
            await self._new.stat(path)
        except NotFound:
            return False
        return True

    async def _bring(self, path: str) -> bool:
        """Move the file, which the new store does not have; whether the old one has it."""
        try:
            file = await self._old.get(path)
        except NotFound:
            return False  # it was deleted, or moved, meanwhile
        await self._move(path, file)
        return True

    # What is done with the lock of a path.

    async def _alone(self, path: str, do: Callable[[], Awaitable[T]]) -> T:
        """What *do* returns, with the lock of *path*; to its end, even if nobody waits for it any more: what had gone
        half the way, and let go of the lock, would meet the next one.
        """
        return await asyncio.shield(self._begin(path, do))

    def _begin(self, path: str, do: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        async def with_the_lock() -> T:
            async with self._locks.held(path):
                return await do()

        task = asyncio.create_task(with_the_lock())
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen: its client may have gone

    async def _move_one(self, path: str) -> bool:
        """For the mover: whether the old store had it until now. :raises SfssError:"""

        async def move() -> bool:
            return await (self._forget(path) if await self._is_new(path) else self._bring(path))

        return await self._alone(path, move)

    async def _move(self, path: str, file: StoredFile) -> None:
        if len(file.content) > self._largest:  # a Beansdb node would read its end as commands
            raise FileTooLarge.over(self._largest)
        await self._new.put(path, file.content)
        self._counts["moved_files"] += 1
        self._counts["moved_bytes"] += len(file.content)
        await self._forget(path)

    async def _forget(self, path: str) -> bool:
        """Delete *path* from the old store; whether it was there."""
        try:
            if self._old.reads_at_once:
                await self._old.stat(path)  # which spares it a commit, mostly
            await self._old.delete(path)
        except NotFound:
            return False
        return True

    # Listing.

    @property
    def is_ordered(self) -> bool:
        return all(isinstance(store, Lists) and store.is_ordered for store in (self._old, self._new))

    async def list_files(
        self, prefix: str = "", cursor: str = "", limit: int = 1000, delimiter: str = ""
    ) -> Listing:
        if not isinstance(self._new, Lists) or not isinstance(self._old, Lists):
            raise CannotList("The store into which files are moved cannot say which ones it has.")
        return await list_both(self._old, self._new, prefix, cursor, limit, delimiter)

    # What it says of itself.

    async def ready(self) -> None:
        await self._new.ready()

    async def stats(self) -> Stats:
        """Of both; those of the old store say so."""
        return self._of_both(await _asked(self._old.stats), await self._new.stats())

    async def node_stats(self) -> Stats:
        olds, news = (
            store.node_stats if isinstance(store, HasNodes) else store.stats
            for store in (self._old, self._new)
        )
        return self._of_both(await _asked(olds), await news())

    def _of_both(self, old: Stats, new: Stats) -> Stats:
        moving = {"sfss_migration": "moving out"}
        return {address: {**figures, **moving} for address, figures in old.items()} | new

    def families(self) -> Iterable[Family]:
        ours = []
        for name, help in (
            ("moved_files", "Files that were moved from the old store"),
            ("moved_bytes", "Bytes of the files that were moved"),
            ("read_failures", "Files that were read in the old store and could not be moved"),
        ):
            ours.append(counter(f"sfss_migration_{name}_total", help))
            ours[-1].add((), self._counts[name])
        ours += self._mover.families()
        return merged([self._new.families(), self._old.families(), ours]).values()

    def history(self) -> list[StateChange]:
        return sorted([*self._new.history(), *self._old.history()])


async def _asked(stats: Callable[[], Awaitable[Stats]]) -> Stats:
    """The figures, none if nobody answers."""
    try:
        return await stats()
    except SfssError:
        return {}
