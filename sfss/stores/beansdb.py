"""A store over a cluster of Beansdb nodes, without a proxy (:mod:`sfss.beansdb`)."""

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakValueDictionary

from sfss.beansdb.cluster import Cluster
from sfss.beansdb.listing import Found, files
from sfss.beansdb.metrics import families_of
from sfss.beansdb.reads import Read, State, read_of
from sfss.completion import Completion, WriteCompletion
from sfss.errors import InvalidRequest, NoStoreAvailable, NotFound
from sfss.memcache.errors import ProxyError
from sfss.memcache.keys import memcache_key, probe_key
from sfss.memcache.stats import stats_of
from sfss.metrics.events import StateChange
from sfss.metrics.families import Family
from sfss.models import FileInfo, Precondition, StoredFile, etag_of
from sfss.stores.base import Listed, Listing, Stats, Store
from sfss.stores.hedging import Hedges
from sfss.stores.listing import folder_of

_CURSOR = re.compile("[0-9a-f]{16}")
#: One listing looks at no more than so many files for each that it may give.
_MOST_LOOKED_AT = 20


class BeansdbStore(Store):
    """*cluster*: not yet started. *check*: called before processes begin to share the store.

    *hedge_share*: of the reads that may be settled because a node is slow, at most; 0 for none.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        stats_timeout: float,
        hedge_share: float = 0.05,
        check: Callable[[], None] = lambda: None,
    ):
        self.description = "beansdb " + " ".join(node.name for node in cluster.nodes)
        self._cluster = cluster
        self._stats_timeout = stats_timeout
        self._check_cluster = check
        self._hedges = Hedges(hedge_share, stats_timeout / 2, self._overdue)
        self._loop: asyncio.AbstractEventLoop
        self._conditional: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def prepare(self) -> None:
        self._check_cluster()

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._cluster.start()

    async def connect(self) -> None:
        """For who only reads, and does not stay: see :meth:`Cluster.connect`."""
        self._loop = asyncio.get_running_loop()
        await self._cluster.connect()

    async def close(self) -> None:
        await self._cluster.close()

    # Reads.

    def begin_get(self, path: str, completion: Completion) -> bool:
        return self._begin_read(path, _Got(completion))

    def begin_stat(self, path: str, completion: Completion) -> bool:
        return self._begin_read(path, _Stated(completion))

    def _begin_read(self, path: str, completion: Completion) -> bool:
        begun = self._cluster.begin_read(memcache_key(path), completion)
        if begun:
            self._hedges.note_read(self._loop)
        return begun

    def _overdue(self, now: float) -> tuple[list[Read], bool]:
        """See :class:`sfss.stores.hedging.Hedges`."""
        overdue: list[Read] = []
        any_under_way = False
        for node in self._cluster.nodes:
            before = now - self._hedges.delay(node.endpoint_stats.slow_get)
            for connection in node.connections:
                any_under_way = any_under_way or connection.load > 0
                for completion in connection.gets_begun_before(before):
                    read = read_of(completion)
                    if read is not None and not read.hedged:
                        overdue.append(read)
        return overdue, any_under_way

    async def get(self, path: str) -> StoredFile:
        state = await self._cluster.read(memcache_key(path))
        if state.content is None:
            raise NotFound.of(path)
        return StoredFile(state.content, etag_of(state.content))

    async def stat(self, path: str) -> FileInfo:
        return (await self.get(path)).info

    # Writes.

    def begin_put(
        self,
        path: str,
        content: bytes | bytearray,
        precondition: Precondition | None,
        completion: WriteCompletion,
    ) -> bool:
        if precondition is not None:
            return False
        return self._cluster.begin_write(memcache_key(path), content, _Put(completion, content))

    def begin_delete(self, path: str, precondition: Precondition | None, completion: WriteCompletion) -> bool:
        if precondition is not None:
            return False
        key = memcache_key(path)
        return self._cluster.begin_read(key, _Deleting(self._cluster, key, path, completion))

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        if precondition is None:
            await self._cluster.write(memcache_key(path), content)
        else:
            await self._write_if(path, content, precondition)
        return FileInfo(len(content), etag_of(content))

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        if precondition is not None:
            await self._write_if(path, None, precondition)
            return
        key = memcache_key(path)
        state = await self._cluster.read(key)
        if state.content is None:
            raise NotFound.of(path)
        deleted = self._loop.create_future()
        self._cluster.write_over(key, None, state, deleted, conditional=False)
        await deleted

    async def _write_if(
        self, path: str, content: bytes | bytearray | None, precondition: Precondition
    ) -> None:
        """Atomic among the conditional writes of this process. Of two in two processes that race, one may be lost:
        nodes have no compare-and-set.
        """
        key = memcache_key(path)
        async with self._conditional.setdefault(path, asyncio.Lock()):
            state = await self._cluster.read(key)
            found = None if state.content is None else FileInfo(len(state.content), etag_of(state.content))
            precondition.check(found)
            if content is None and found is None:
                raise NotFound.of(path)
            written = self._loop.create_future()
            self._cluster.write_over(key, content, state, written, conditional=True)
            await written

    # Listing: in the order of the keys' hashes.

    is_ordered = False

    async def list_files(
        self, prefix: str = "", cursor: str = "", limit: int = 1000, delimiter: str = ""
    ) -> Listing:
        if cursor and not _CURSOR.fullmatch(cursor):
            raise InvalidRequest("That is no cursor of a listing.")
        listed: list[Listed] = []
        folders: dict[str, None] = {}
        unnamed = looked_at = 0
        first = int(cursor, 16) >> self._cluster.route.shift if cursor else 0
        for part in self._cluster.parts[first:]:
            try:
                async for found in files(part, cursor.encode()):
                    for file in found:
                        if len(listed) + len(folders) == limit or looked_at == limit * _MOST_LOOKED_AT:
                            return Listing(listed, cursor, unnamed, list(folders))
                        cursor = file.hashed.decode()
                        looked_at += 1
                        if file.path is None:
                            unnamed += not prefix
                        elif (folder := folder_of(file.path, prefix, delimiter)) is not None:
                            folders[folder] = None
                        elif file.path.startswith(prefix):
                            listed.append(_listed(file))
            except ProxyError as error:
                raise NoStoreAvailable(f"A Beansdb node failed during the listing: {error}.") from error
        return Listing(listed, None, unnamed, list(folders))

    # What it says of itself.

    async def stats(self) -> Stats:
        servers = self._cluster.addresses
        stats = dict(zip(servers, await stats_of(list(servers.values()), self._stats_timeout)))
        if not any(stats.values()):
            raise NoStoreAvailable("None of the Beansdb nodes can be reached.")
        for node in self._cluster.nodes:
            if stats[node.name]:
                stats[node.name]["sfss_state"] = node.state
        return stats

    async def ready(self) -> None:
        for part in self._cluster.parts:
            if len(part.trusted()) < part.quorum:
                raise part.unavailable()
        # Not only what is believed of the nodes, but an answer.
        await self._cluster.read(probe_key())

    def families(self) -> Iterable[Family]:
        return [*families_of(self._cluster), *self._hedges.families()]

    def history(self) -> list[StateChange]:
        return [
            StateChange(when, node.name, state, reason)
            for node in self._cluster.nodes
            for when, state, reason in node.endpoint_stats.history
        ]


def _listed(file: Found) -> Listed:
    assert file.path is not None
    if file.content is None:
        return Listed(file.path, None, None)
    return Listed(file.path, len(file.content), etag_of(file.content))


class _Receiver:
    """Makes of a :class:`State` what *completion* wants."""

    __slots__ = ("completion", "done", "set_exception")

    def __init__(self, completion: Completion):
        self.completion = completion
        self.done = completion.done
        self.set_exception = completion.set_exception


class _Got(_Receiver):
    __slots__ = ()

    def set_result(self, state: State) -> None:
        content = state.content
        self.completion.set_result(None if content is None else StoredFile(content, etag_of(content)))


class _Stated(_Receiver):
    __slots__ = ()

    def set_result(self, state: State) -> None:
        content = state.content
        self.completion.set_result(None if content is None else FileInfo(len(content), etag_of(content)))


class _Put(_Receiver):
    __slots__ = ("content",)

    def __init__(self, completion: Completion, content: bytes | bytearray):
        _Receiver.__init__(self, completion)
        self.content = content

    def set_result(self, result: Any) -> None:
        self.completion.set_result(FileInfo(len(self.content), etag_of(self.content)))


class _Deleting(_Receiver):
    """Receives what is to be deleted, and deletes it."""

    __slots__ = ("cluster", "key", "path")

    def __init__(self, cluster: Cluster, key: bytes, path: str, completion: Completion):
        _Receiver.__init__(self, completion)
        self.cluster = cluster
        self.key = key
        self.path = path

    def set_result(self, state: State) -> None:
        if state.content is None:
            self.completion.set_exception(NotFound.of(self.path))
        else:
            self.cluster.write_over(self.key, None, state, self.completion, conditional=False)
