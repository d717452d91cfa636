"""A pool of memcache proxies: any of them can serve any key of the cluster behind them.

An operation goes to the less loaded of two random proxies that are up. get, set and delete
are idempotent here, so after a failure they go to another proxy, or over a new connection to
the same one, while the request's deadline lasts. When all have refused, that is the answer
(they were reached). When a fresh test finds every proxy down, nobody can say.

The Beansdb family has no compare-and-set that is safe everywhere (stores.md), so a
precondition is looked at before the write: atomic among the conditional writes of this
process, best effort among several gateways.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from sfss.errors import (
    FileTooLarge,
    NoStoreAvailable,
    NotFound,
    SfssError,
    StoreFull,
    StoreRefused,
)
from sfss.memcache.connection import Connection
from sfss.memcache.errors import (
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
from sfss.receivers import Receiver
from sfss.stores.base import Stats, Store

Address = tuple[str, int]
#: Does one thing on a connection: called with it, and with ``deadline`` and ``receiver`` as the
#: operations of :class:`Connection` have them.
Operation = Callable[..., Any]

#: How often one request tries one proxy in a row: a lost connection says more about the connection
#: than about the proxy.
_TRIES = 2

_UNREACHABLE = "None of the storage proxies can be reached."


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
        self._tasks: set[asyncio.Task] = set()  # of requests whose first try failed
        self._conditional: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self) -> None:
        """Try each proxy once, so that the log tells from the start which ones are down."""
        self._loop = asyncio.get_running_loop()
        await asyncio.gather(*(proxy.probe() for proxy in self._proxies))

    async def get(self, path: str) -> StoredFile:
        key = memcache_key(path)
        file = _file_of(await self._ask(partial(Connection.get, key=key)))
        if file is None:
            raise NotFound.of(path)
        return file

    def begin_get(self, path: str, receiver: Receiver) -> bool:
        return self._begin(partial(Connection.get, key=memcache_key(path)), _file_of, receiver)

    def begin_put(self, path: str, content: bytes, receiver: Receiver) -> bool:
        info = FileInfo(len(content), etag_of(content))
        operation = partial(Connection.set, key=memcache_key(path), value=content)
        return self._begin(operation, lambda _: info, receiver)

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        if precondition is not None:
            async with self._lock(path):
                await self._check(path, precondition)
                return await self.put(path, content)
        await self._ask(partial(Connection.set, key=memcache_key(path), value=content))
        return FileInfo(len(content), etag_of(content))

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        if precondition is not None:
            async with self._lock(path):
                await self._check(path, precondition)
                return await self.delete(path)
        key = memcache_key(path)
        tries = 0

        def delete(connection: Connection, *, deadline: float) -> Awaitable[bool]:
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
            raise NoStoreAvailable(_UNREACHABLE)
        return stats

    async def ready(self) -> None:
        try:
            async with asyncio.timeout(self._request_timeout):
                if await self._anyone_up():
                    return
        except TimeoutError:
            pass
        raise NoStoreAvailable(_UNREACHABLE)

    async def node_stats(self) -> Stats:
        return await self._stats_of(self._nodes)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
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

    def _begin(
        self, operation: Operation, translate: Callable[[Any], object], receiver: Receiver
    ) -> bool:
        """One try of *operation* without a task; if it fails, the others with one."""
        candidates = self._candidates(())
        if not candidates:
            return False
        proxy = _less_loaded(candidates)
        connection = proxy.ready_connection()
        if connection is None:
            return False
        deadline = self._loop.time() + self._request_timeout
        first = _FirstTry(self, proxy, deadline, operation, translate, receiver)
        operation(connection, deadline=deadline, receiver=first)
        return True

    def try_again(self, failed: "_FirstTry", error: ProxyError) -> None:
        """The first try of a request has failed; go on with it in a task."""
        task = asyncio.create_task(self._answer(failed, error))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, failed: "_FirstTry", error: ProxyError) -> None:
        tries = _Tries()
        tries.note(failed.proxy, error)
        receiver = failed.receiver
        try:
            result = await self._ask(failed.operation, failed.deadline, tries)
        except SfssError as verdict:
            if not receiver.done():
                receiver.set_exception(verdict)
        else:
            if not receiver.done():
                receiver.set_result(failed.translate(result))

    async def _ask(
        self,
        operation: Operation,
        deadline: float | None = None,
        tries: "_Tries | None" = None,
    ) -> Any:
        """The result of *operation* from the first proxy that gives one."""
        if deadline is None:
            deadline = self._loop.time() + self._request_timeout
        tries = tries or _Tries()
        try:
            async with asyncio.timeout_at(deadline):
                while not tries.out_of_time:
                    proxy = await self._choose(tries)
                    if proxy is None:
                        break
                    try:
                        return await proxy.ask(partial(operation, deadline=deadline))
                    except ProxyError as error:
                        tries.note(proxy, error)
        except TimeoutError:
            pass
        raise tries.verdict()

    async def _choose(self, tries: "_Tries") -> Proxy | None:
        """A proxy that may be tried (again); None when there is no hope left."""
        while True:
            candidates = self._candidates(tries.failed)
            if candidates:
                return _less_loaded(candidates)
            if tries.refusals:
                return None  # they were reached, and that is what they say
            if not await self._anyone_up():
                return None
            # What failed before may go well now, so each may be tried once more.
            await asyncio.sleep(tries.next_pause())
            tries.failed.clear()

    async def _anyone_up(self) -> bool:
        """Whether a proxy is up, by a fresh test of those that are not: the first good news counts."""
        waiting = {asyncio.ensure_future(proxy.recovered()) for proxy in self._proxies}
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if any(task.result() for task in done):
                    return True
            return False
        finally:
            for task in waiting:
                task.cancel()

    def _candidates(self, failed: Sequence[Proxy]) -> list[Proxy]:
        """Those that are up and have tries left: above suspicion if there is one."""
        left = [p for p in self._proxies if p.up and failed.count(p) < _TRIES]
        return [p for p in left if not p.suspect] or left


class _Tries:
    """What one request has tried."""

    def __init__(self) -> None:
        self.failed: list[Proxy] = []  # a proxy stands here as often as it has been tried
        self.refusals: list[ProxyRefused] = []
        self.out_of_time = False
        self._pause = 0.01

    def note(self, proxy: Proxy, error: ProxyError) -> None:
        self.failed.append(proxy)
        if isinstance(error, ProxyRefused):
            self.refusals.append(error)
            self.failed.append(proxy)  # it would say the same again
        elif isinstance(error, DeadlinePassed):
            self.out_of_time = True
        elif self.failed.count(proxy) >= _TRIES:
            proxy.suspicion(error)  # it takes connections, and drops them

    def next_pause(self) -> float:
        """Seconds before the next round, which grow."""
        self._pause *= 2
        return self._pause * random.uniform(0.5, 1.0)

    def verdict(self) -> SfssError:
        """What to tell the client when no proxy did it."""
        for refusal in self.refusals:
            if isinstance(refusal, ValueRefused):
                return FileTooLarge(f"The store takes no file of this size: {refusal}.")
        for refusal in self.refusals:
            if isinstance(refusal, OutOfMemory):
                return StoreFull(f"The store has no room left: {refusal}.")
        if self.refusals:
            return StoreRefused(
                f"The store refused: {self.refusals[0]}. A write may have happened all the same."
            )
        return NoStoreAvailable(
            "None of the storage proxies could be reached in time. Try again later; a write "
            "may have happened all the same."
        )


class _FirstTry:
    """Receives what a connection gives to the first try of a request (:meth:`ProxyStore._begin`)."""

    __slots__ = ("deadline", "done", "operation", "proxy", "receiver", "store", "translate")

    def __init__(
        self,
        store: ProxyStore,
        proxy: Proxy,
        deadline: float,
        operation: Operation,
        translate: Callable[[Any], object],
        receiver: Receiver,
    ):
        self.store = store
        self.proxy = proxy
        self.deadline = deadline
        self.operation = operation
        self.translate = translate
        self.receiver = receiver
        self.done = receiver.done

    def set_result(self, result: bytes | None) -> None:
        self.receiver.set_result(self.translate(result))

    def set_exception(self, error: ProxyError) -> None:
        self.store.try_again(self, error)


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
