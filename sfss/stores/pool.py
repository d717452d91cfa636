"""A pool of memcache proxies: any of them can serve any key of the cluster behind them.

An operation goes to the less loaded of two random proxies that are up. After a failure it goes to
another proxy, or over a new connection to the same one, while the request's deadline lasts. When all
have refused, that is the answer (they were reached). When a fresh test finds every proxy down, nobody
can say. A get that takes too long is hedged (:mod:`sfss.stores.hedging`).

A write is tried again only while its client waits, and only if no newer write of the same file has
begun here: the second try would undo what was acknowledged meanwhile.

The Beansdb family has no compare-and-set that is safe everywhere (docs/stores.rst), so a
precondition is looked at before the write: atomic among the conditional writes of this
process, best effort among several gateways.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from sfss.completion import Completion, WriteCompletion
from sfss.errors import (
    NoStoreAvailable,
    NotFound,
    SfssError,
)
from sfss.memcache import endpoint_stats
from sfss.memcache.connection import Connection
from sfss.memcache.endpoint import Endpoint, Limits
from sfss.memcache.errors import (
    ProxyError,
)
from sfss.memcache.keys import memcache_key, probe_key
from sfss.memcache.stats import stats_of
from sfss.metrics.events import StateChange
from sfss.metrics.families import Family
from sfss.models import FileInfo, Precondition, StoredFile, etag_of
from sfss.stores.base import Stats, Store
from sfss.stores.hedging import Hedges
from sfss.stores.pool_operations import Begun, BegunDelete, BegunGet, BegunPut, BegunStat, Operation, file_of
from sfss.stores.pool_tries import MOST_TRIES, Superseded, Tries, Writes

Address = tuple[str, int]
B = TypeVar("B", bound="Begun")

_UNREACHABLE = "None of the storage proxies can be reached."


class ProxyStore(Store):
    """The store behind the *proxies*, given as (host, port).

    *request_timeout*: seconds for one call, over all its tries. *nodes*: the Beansdb nodes
    behind the proxies; they are only asked for their figures. *hedge_share*: of the gets that
    may be sent to a second proxy, at most; 0 for none.
    """

    def __init__(
        self,
        proxies: list[Address],
        *,
        limits: Limits,
        request_timeout: float,
        nodes: Sequence[Address] = (),
        hedge_share: float = 0.05,
    ):
        self.description = "proxies " + " ".join(f"{host}:{port}" for host, port in proxies)
        self._proxies = [Endpoint(host, port, limits) for host, port in proxies]
        self._addresses = list(proxies)
        self._nodes = list(nodes)
        self.request_timeout = request_timeout
        self._stats_timeout = limits.operation_timeout
        share = hedge_share if len(proxies) > 1 else 0.0
        self.hedges = Hedges(share, limits.operation_timeout / 2, self._overdue)
        self.loop: asyncio.AbstractEventLoop  # once it is started
        self._tasks: set[asyncio.Task[Any]] = set()  # of requests whose first try failed
        self._conditional: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.writes = Writes()

    async def start(self) -> None:
        """Try each proxy once, so that the log tells from the start which ones are down."""
        self.loop = asyncio.get_running_loop()
        await asyncio.gather(*(proxy.probe() for proxy in self._proxies))

    async def get(self, path: str) -> StoredFile:
        answer = self.loop.create_future()
        if self.begin_get(path, answer):
            file: StoredFile | None = await answer
        else:
            file = file_of(await self._ask(partial(Connection.get, key=memcache_key(path))))
        if file is None:
            raise NotFound.of(path)
        return file

    def begin_get(self, path: str, completion: Completion) -> bool:
        return self._begin_read(BegunGet, path, completion)

    def _begin_read(self, kind: type[BegunGet], path: str, completion: Completion) -> bool:
        begun = self._begin(kind, memcache_key(path), completion)
        if begun is None:
            return False
        self.hedges.note_read(self.loop)
        begun.connection.get(begun.key, begun.deadline, begun)
        return True

    def _overdue(self, now: float) -> tuple[list[BegunGet], bool]:
        """See :class:`sfss.stores.hedging.Hedges`."""
        overdue = []
        any_under_way = False
        for proxy in self._proxies:
            before = now - self.hedges.delay(proxy.endpoint_stats.slow_get)
            for connection in proxy.connections:
                any_under_way = any_under_way or connection.load > 0
                for completion in connection.gets_begun_before(before):
                    if isinstance(completion, BegunGet) and not completion.hedged:
                        overdue.append(completion)
        return overdue, any_under_way

    def begin_stat(self, path: str, completion: Completion) -> bool:
        return self._begin_read(BegunStat, path, completion)

    def begin_put(
        self,
        path: str,
        content: bytes | bytearray,
        precondition: Precondition | None,
        completion: WriteCompletion,
    ) -> bool:
        if precondition is not None:
            return False
        begun = self._begin(BegunPut, memcache_key(path), completion)
        if begun is None:
            return False
        begun.value = content
        begun.write = self.writes.begin(begun.key, completion.is_waited_for)
        begun.connection.set(begun.key, content, begun.deadline, begun)
        return True

    def begin_delete(self, path: str, precondition: Precondition | None, completion: WriteCompletion) -> bool:
        if precondition is not None:
            return False
        begun = self._begin(BegunDelete, memcache_key(path), completion)
        if begun is None:
            return False
        begun.path = path
        begun.write = self.writes.begin(begun.key, completion.is_waited_for)
        begun.connection.delete(begun.key, begun.deadline, begun)
        return True

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        if precondition is not None:
            async with self._lock(path):
                await self._check(path, precondition)
                return await self.put(path, content)
        key = memcache_key(path)
        with self.writes.of(key) as write:
            operation = partial(Connection.set, key=key, value=content)
            await self._ask(operation, may_try_again=write.may_try_again)
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
            deleted: Awaitable[bool] = connection.delete(key, deadline)
            return deleted

        # A delete that is retried and finds nothing has succeeded: the first try did it.
        with self.writes.of(key) as write:
            found = await self._ask(delete, may_try_again=write.may_try_again)
        if not found and tries == 1:
            raise NotFound.of(path)

    async def stat(self, path: str) -> FileInfo:
        return (await self.get(path)).info

    async def stats(self) -> Stats:
        stats = await self._stats_of(self._addresses)
        if not any(stats.values()):
            raise NoStoreAvailable(_UNREACHABLE)
        return stats

    async def ready(self) -> None:
        # Not what is believed of the proxies, but an answer.
        await self._ask(partial(Connection.get, key=probe_key()))

    def families(self) -> list[Family]:
        proxies = (
            (proxy.address, proxy.endpoint_stats, proxy.up, len(proxy.connections)) for proxy in self._proxies
        )
        return [*endpoint_stats.families(proxies), *self.hedges.families()]

    def history(self) -> list[StateChange]:
        return [
            StateChange(moment, proxy.address, state, reason)
            for proxy in self._proxies
            for moment, state, reason in proxy.endpoint_stats.history
        ]

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

    def _begin(self, kind: type[B], key: bytes, completion: Completion) -> B | None:
        """What is to try without a task, and where; None if that is not possible now."""
        candidates = [p for p in self._proxies if p.up and not p.suspect] or self._candidates(())
        if not candidates:
            return None
        proxy = _less_loaded(candidates)
        connection = proxy.ready_connection()
        if connection is None:
            return None
        return kind(self, proxy, connection, key, completion)

    def second(self, first: Endpoint) -> tuple[Endpoint, Connection] | None:
        """Another proxy than *first* that can be asked at once, and its connection."""
        others = [proxy for proxy in self._candidates(()) if proxy is not first]
        if not others:
            return None
        proxy = _less_loaded(others)
        connection = proxy.ready_connection()
        return None if connection is None else (proxy, connection)

    def try_again(self, begun: Begun) -> None:
        """What was begun without a task has failed; go on with it in a task."""
        task = asyncio.create_task(self._answer(begun))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, begun: Begun) -> None:
        tries = Tries()
        for proxy, error in begun.failures:
            tries.note(proxy, error)
        completion = begun.completion
        try:
            result = await self._ask(
                begun.operation, begun.deadline, tries, may_try_again=begun.may_try_again
            )
        except SfssError as verdict:
            if not completion.done():
                completion.set_exception(verdict)
        else:
            if not completion.done():
                completion.set_result(begun.translate(result))
        finally:
            begun.ended()

    async def _ask(
        self,
        operation: Operation,
        deadline: float | None = None,
        tries: Tries | None = None,
        *,
        may_try_again: Callable[[], bool] = lambda: True,
    ) -> Any:
        """The result of *operation* from the first proxy that gives one.

        *may_try_again* is asked before each try but the first.
        """
        if deadline is None:
            deadline = self.loop.time() + self.request_timeout
        tries = tries or Tries()

        def attempt(connection: Connection) -> Awaitable[Any]:
            # Now, and not before: it may have waited for the connection.
            if tries.failed_once and not may_try_again():
                raise Superseded
            begun: Awaitable[Any] = operation(connection, deadline=deadline)
            return begun

        try:
            async with asyncio.timeout_at(deadline):
                while not tries.out_of_time:
                    proxy = await self._choose(tries)
                    if proxy is None:
                        break
                    try:
                        return await proxy.ask(attempt)
                    except Superseded:
                        tries.superseded = True
                        break
                    except ProxyError as error:
                        proxy.endpoint_stats.failed(error)
                        tries.note(proxy, error)
        except TimeoutError:
            pass
        raise tries.verdict()

    async def _choose(self, tries: Tries) -> Endpoint | None:
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

    def _candidates(self, failed: Sequence[Endpoint]) -> list[Endpoint]:
        """Those that are up and have tries left: above suspicion if there is one."""
        left = [p for p in self._proxies if p.up and failed.count(p) < MOST_TRIES]
        return [p for p in left if not p.suspect] or left


def _less_loaded(proxies: list[Endpoint]) -> Endpoint:
    """The less loaded of two random ones: nearly as even as asking all, and no herd on the idlest."""
    count = len(proxies)
    if count == 1:
        return proxies[0]
    first = int(random.random() * count)
    second = (first + 1 + int(random.random() * (count - 1))) % count
    one, other = proxies[first], proxies[second]
    return one if one.load <= other.load else other
