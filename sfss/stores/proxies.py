"""A pool of memcache proxies: any of them can serve any key of the cluster behind them.

An operation goes to the less loaded of two random proxies that are up. get, set and delete
are idempotent here, so after a failure they go to another proxy, or over a new connection to
the same one, while the request's deadline lasts. When all have refused, that is the answer
(they were reached); when none could be reached, nobody can say.

The Beansdb family has no compare-and-set that is safe everywhere (stores.md), so a
precondition is looked at before the write: atomic among the conditional writes of this
process, best effort among several gateways.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from weakref import WeakValueDictionary

from sfss.errors import FileTooLarge, NoStoreAvailable, NotFound, StoreFull, StoreRefused
from sfss.memcache.connection import Connection
from sfss.memcache.errors import (
    ConnectionLost,
    DeadlinePassed,
    OutOfMemory,
    ProxyError,
    ProxyRefused,
    ValueRefused,
)
from sfss.memcache.keys import memcache_key
from sfss.memcache.proxy import Limits, Proxy
from sfss.memcache.stats import stats_of
from sfss.models import FileInfo, Precondition, StoredFile, etag_of
from sfss.stores.base import Receiver, Stats, Store

T = TypeVar("T")
Address = tuple[str, int]

#: How often one request tries one proxy: again only after a connection was lost, which says
#: more about the connection than about the proxy.
_TRIES = 2


class ProxyStore(Store):
    """The store behind the *proxies*, given as (host, port).

    *request_timeout*: seconds for one call, over all its tries. *nodes*: the Beansdb nodes
    behind the proxies; they are only asked for their figures.
    """

    def __init__(
        self,
        proxies: list[Address],
        *,
        limits: Limits,
        request_timeout: float,
        nodes: list[Address] = (),
    ):
        self.description = "proxies " + " ".join(f"{host}:{port}" for host, port in proxies)
        self._proxies = [Proxy(host, port, limits) for host, port in proxies]
        self._addresses = list(proxies)
        self._nodes = list(nodes)
        self._request_timeout = request_timeout
        self._stats_timeout = limits.operation_timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._conditional: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self) -> None:
        """Try each proxy once, so that the log tells from the start which ones are down."""
        self._loop = asyncio.get_running_loop()
        await asyncio.gather(*(proxy.probe() for proxy in self._proxies))

    async def get(self, path: str) -> StoredFile:
        key = memcache_key(path)
        content = await self._ask(lambda connection, deadline: connection.get(key, deadline))
        if content is None:
            raise NotFound.of(path)
        return StoredFile(content, etag_of(content))

    def begin_get(self, path: str, receiver: Receiver) -> bool:
        connection = self._connection_at_hand()
        if connection is None:
            return False
        deadline = self._loop.time() + self._request_timeout
        connection.get_into(_Translated(receiver, _file_of), memcache_key(path), deadline)
        return True

    def begin_put(self, path: str, content: bytes, receiver: Receiver) -> bool:
        connection = self._connection_at_hand()
        if connection is None:
            return False
        deadline = self._loop.time() + self._request_timeout
        info = FileInfo(len(content), etag_of(content))
        translated = _Translated(receiver, lambda _: info)
        connection.set_into(translated, memcache_key(path), content, deadline)
        return True

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        if precondition is not None:
            async with self._lock(path):
                await self._check(path, precondition)
                return await self.put(path, content)
        key = memcache_key(path)
        await self._ask(lambda connection, deadline: connection.set(key, content, deadline))
        return FileInfo(len(content), etag_of(content))

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        if precondition is not None:
            async with self._lock(path):
                await self._check(path, precondition)
                return await self.delete(path)
        key = memcache_key(path)
        tries = 0

        def delete(connection: Connection, deadline: float) -> Awaitable[bool]:
            nonlocal tries
            tries += 1
            return connection.delete(key, deadline)

        # A delete that is retried and finds nothing has succeeded: the first try did it.
        if not await self._ask(delete) and tries == 1:
            raise NotFound.of(path)

    async def stat(self, path: str) -> FileInfo:
        # There is no command for this that is safe everywhere.
        return (await self.get(path)).info

    async def stats(self) -> Stats:
        stats = await self._stats_of(self._addresses)
        if not any(stats.values()):
            raise NoStoreAvailable("None of the storage proxies can be reached.")
        return stats

    async def node_stats(self) -> Stats:
        return await self._stats_of(self._nodes)

    async def close(self) -> None:
        for proxy in self._proxies:
            await proxy.close()

    async def _stats_of(self, servers: list[Address]) -> Stats:
        answers = await stats_of(servers, self._stats_timeout)
        return {f"{host}:{port}": stats for (host, port), stats in zip(servers, answers)}

    def _lock(self, path: str) -> asyncio.Lock:
        return self._conditional.setdefault(path, asyncio.Lock())

    async def _check(self, path: str, precondition: Precondition) -> None:
        try:
            current = await self.stat(path)
        except NotFound:
            current = None
        precondition.check(current)

    async def _ask(self, operation: Callable[[Connection, float], Awaitable[T]]) -> T:
        """The result of *operation* from the first proxy that gives one."""
        deadline = self._loop.time() + self._request_timeout
        failed: list[Proxy] = []  # a proxy stands here as often as it has been tried
        refusals: list[ProxyRefused] = []
        try:
            async with asyncio.timeout_at(deadline):
                while proxy := await self._choose(failed):
                    try:
                        return await proxy.ask(lambda connection: operation(connection, deadline))
                    except ProxyRefused as error:
                        refusals.append(error)
                        failed += [proxy] * _TRIES
                    except ConnectionLost as error:
                        failed.append(proxy)
                        if failed.count(proxy) == _TRIES:  # it takes connections and drops them
                            proxy.take_out(error)
                    except DeadlinePassed:
                        break
                    except ProxyError:
                        failed += [proxy] * _TRIES
        except TimeoutError:
            pass
        raise _verdict(refusals)

    def _connection_at_hand(self) -> Connection | None:
        candidates = self._candidates(())
        return _less_loaded(candidates).ready_connection() if candidates else None

    async def _choose(self, failed: list[Proxy]) -> Proxy | None:
        """A proxy that is up and may be tried (again)."""
        candidates = self._candidates(failed)
        if not candidates and not any(proxy.up for proxy in self._proxies):
            await asyncio.gather(*(proxy.recovered() for proxy in self._proxies))
            candidates = self._candidates(failed)
        return _less_loaded(candidates) if candidates else None

    def _candidates(self, failed: Sequence[Proxy]) -> list[Proxy]:
        return [p for p in self._proxies if p.up and failed.count(p) < _TRIES]


class _Translated:
    """Hands what a connection gives on to *receiver*, in the words of a store."""

    __slots__ = ("_receiver", "_translate", "done", "set_exception")

    def __init__(self, receiver: Receiver, translate: Callable[[bytes | None], object]):
        self._receiver = receiver
        self._translate = translate
        self.done = receiver.done
        self.set_exception = receiver.set_exception

    def set_result(self, result: bytes | None) -> None:
        self._receiver.set_result(self._translate(result))


def _file_of(content: bytes | None) -> StoredFile | None:
    return None if content is None else StoredFile(content, etag_of(content))


def _less_loaded(proxies: list[Proxy]) -> Proxy:
    """The less loaded of two random ones: nearly as even as asking all, and no herd on the idlest."""
    count = len(proxies)
    if count == 1:
        return proxies[0]
    first = int(random.random() * count)
    second = (first + 1 + int(random.random() * (count - 1))) % count
    one, other = proxies[first], proxies[second]
    return one if one.load <= other.load else other


def _verdict(refusals: list[ProxyRefused]) -> Exception:
    """What to tell the client when no proxy did it."""
    if not refusals:
        return NoStoreAvailable(
            "None of the storage proxies could be reached in time. Try again later; a write "
            "may have happened all the same."
        )
    for error in refusals:
        if isinstance(error, ValueRefused):
            return FileTooLarge(f"The store does not take a file of this size: {error}.")
    for error in refusals:
        if isinstance(error, OutOfMemory):
            return StoreFull(f"The store has no room left: {error}.")
    return StoreRefused(
        f"The store refused: {refusals[-1]}. A write may have happened all the same."
    )
