"""A pool of memcache proxies: any of them can serve any key of the cluster behind them.

An operation goes to the less loaded of two random proxies that are up. After a failure it goes to
another proxy, or over a new connection to the same one, while the request's deadline lasts. When all
have refused, that is the answer (they were reached). When a fresh test finds every proxy down, nobody
can say. A get that takes too long is hedged (:mod:`sfss.stores.hedging`).

A write is tried again only while its client waits, and only if no newer write of the same file has
begun here: the second try would undo what was acknowledged meanwhile.

The Beansdb family has no compare-and-set that is safe everywhere (stores.md), so a
precondition is looked at before the write: atomic among the conditional writes of this
process, best effort among several gateways.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from sfss.completion import Completion, WriteCompletion, is_waited_for
from sfss.errors import (
    FileTooLarge,
    NoStoreAvailable,
    NotFound,
    SfssError,
    StoreFull,
    StoreRefused,
)
from sfss.memcache import endpoint_stats
from sfss.memcache.connection import Connection
from sfss.memcache.endpoint import Endpoint, Limits
from sfss.memcache.errors import (
    DeadlinePassed,
    OutOfMemory,
    ProxyDown,
    ProxyError,
    ProxyRefused,
    ValueRefused,
)
from sfss.memcache.keys import memcache_key, probe_key
from sfss.memcache.stats import stats_of
from sfss.metrics.events import StateChange
from sfss.metrics.families import Family
from sfss.models import FileInfo, Precondition, StoredFile, etag_of
from sfss.stores.base import Stats, Store
from sfss.stores.hedging import Hedges

Address = tuple[str, int]
#: Does one thing on a connection: called with it, and with ``deadline`` and ``completion`` as the
#: operations of :class:`Connection` have them.
Operation = Callable[..., Any]

B = TypeVar("B", bound="_Begun")

#: How often one request tries one proxy in a row: a lost connection says more about the connection
#: than about the proxy.
_TRIES = 2

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
        self._request_timeout = request_timeout
        self._stats_timeout = limits.operation_timeout
        share = hedge_share if len(proxies) > 1 else 0.0
        self.hedges = Hedges(share, limits.operation_timeout / 2, self._overdue)
        self._loop: asyncio.AbstractEventLoop  # once it is started
        self._tasks: set[asyncio.Task[Any]] = set()  # of requests whose first try failed
        self._conditional: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.writes = _Writes()

    async def start(self) -> None:
        """Try each proxy once, so that the log tells from the start which ones are down."""
        self._loop = asyncio.get_running_loop()
        await asyncio.gather(*(proxy.probe() for proxy in self._proxies))

    async def get(self, path: str) -> StoredFile:
        answer = self._loop.create_future()
        if self.begin_get(path, answer):
            file: StoredFile | None = await answer
        else:
            file = _file_of(await self._ask(partial(Connection.get, key=memcache_key(path))))
        if file is None:
            raise NotFound.of(path)
        return file

    def begin_get(self, path: str, completion: Completion) -> bool:
        return self._begin_read(_BegunGet, path, completion)

    def _begin_read(self, kind: "type[_BegunGet]", path: str, completion: Completion) -> bool:
        begun = self._begin(kind, memcache_key(path), completion)
        if begun is None:
            return False
        self.hedges.note_read(self._loop)
        begun.connection.get(begun.key, begun.deadline, begun)
        return True

    def _overdue(self, now: float) -> "tuple[list[_BegunGet], bool]":
        """See :class:`sfss.stores.hedging.Hedges`."""
        overdue = []
        any_under_way = False
        for proxy in self._proxies:
            before = now - self.hedges.delay(proxy.endpoint_stats.slow_get)
            for connection in proxy.connections:
                any_under_way = any_under_way or connection.load > 0
                for completion in connection.gets_begun_before(before):
                    if isinstance(completion, _BegunGet) and not completion.hedged:
                        overdue.append(completion)
        return overdue, any_under_way

    def begin_stat(self, path: str, completion: Completion) -> bool:
        return self._begin_read(_BegunStat, path, completion)

    def begin_put(
        self,
        path: str,
        content: bytes | bytearray,
        precondition: Precondition | None,
        completion: WriteCompletion,
    ) -> bool:
        if precondition is not None:
            return False
        begun = self._begin(_BegunPut, memcache_key(path), completion)
        if begun is None:
            return False
        begun.value = content
        begun.write = self.writes.begin(begun.key, completion.is_waited_for)
        begun.connection.set(begun.key, content, begun.deadline, begun)
        return True

    def begin_delete(self, path: str, precondition: Precondition | None, completion: WriteCompletion) -> bool:
        if precondition is not None:
            return False
        begun = self._begin(_BegunDelete, memcache_key(path), completion)
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

    def try_again(self, begun: "_Begun") -> None:
        """What was begun without a task has failed; go on with it in a task."""
        task = asyncio.create_task(self._answer(begun))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, begun: "_Begun") -> None:
        tries = _Tries()
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
        tries: "_Tries | None" = None,
        *,
        may_try_again: Callable[[], bool] = lambda: True,
    ) -> Any:
        """The result of *operation* from the first proxy that gives one.

        *may_try_again* is asked before each try but the first.
        """
        if deadline is None:
            deadline = self._loop.time() + self._request_timeout
        tries = tries or _Tries()

        def attempt(connection: Connection) -> Awaitable[Any]:
            # Now, and not before: it may have waited for the connection.
            if tries.failed_once and not may_try_again():
                raise _Superseded
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
                    except _Superseded:
                        tries.superseded = True
                        break
                    except ProxyError as error:
                        proxy.endpoint_stats.failed(error)
                        tries.note(proxy, error)
        except TimeoutError:
            pass
        raise tries.verdict()

    async def _choose(self, tries: "_Tries") -> Endpoint | None:
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
        left = [p for p in self._proxies if p.up and failed.count(p) < _TRIES]
        return [p for p in left if not p.suspect] or left


class _Superseded(Exception):
    """A write is not to be tried again."""


class _Tries:
    """What one request has tried."""

    def __init__(self) -> None:
        self.failed: list[Endpoint] = []  # a proxy stands here as often as it has been tried
        self.refusals: list[ProxyRefused] = []
        self.failed_once = False
        self.out_of_time = False
        self.superseded = False  # by a newer write, or nobody waits for it
        self._pause = 0.01

    def note(self, proxy: Endpoint, error: ProxyError) -> None:
        self.failed_once = True
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
        if self.superseded:
            return NoStoreAvailable(
                "The storage proxy failed, and a newer write of this file has begun: this one was not tried"
                " again. It may have happened all the same."
            )
        return NoStoreAvailable(
            "None of the storage proxies could be reached in time. Try again later; a write "
            "may have happened all the same."
        )


class _Writes:
    """The writes that are under way, by key: which one of each has begun last."""

    def __init__(self) -> None:
        self._under_way: dict[bytes, list[_Write]] = {}

    def begin(self, key: bytes, is_waited_for: Callable[[], bool]) -> "_Write":
        write = _Write(self._under_way, key, is_waited_for)
        self._under_way.setdefault(key, []).append(write)
        return write

    @contextmanager
    def of(self, key: bytes) -> Iterator["_Write"]:
        write = self.begin(key, is_waited_for.get())
        try:
            yield write
        finally:
            write.end()


class _Write:
    __slots__ = ("_is_waited_for", "_key", "_others", "_superseded")

    def __init__(self, under_way: "dict[bytes, list[_Write]]", key: bytes, is_waited_for: Callable[[], bool]):
        self._is_waited_for = is_waited_for
        self._others = under_way
        self._key = key
        self._superseded = False
        for older in under_way.get(key, ()):
            older._superseded = True

    def may_try_again(self) -> bool:
        """Whether somebody waits for it, and no other write of this key has begun since."""
        return not self._superseded and self._is_waited_for()

    def end(self) -> None:
        writes = self._others.get(self._key)
        if writes is not None and self in writes:
            writes.remove(self)
            if not writes:
                del self._others[self._key]


class _Begun:
    """A request whose first try is under way without a task; it receives what the proxy gives."""

    __slots__ = (
        "asked",
        "completion",
        "connection",
        "deadline",
        "done",
        "failures",
        "key",
        "proxy",
        "store",
    )

    def __init__(
        self,
        store: ProxyStore,
        proxy: Endpoint,
        connection: Connection,
        key: bytes,
        completion: Completion,
    ):
        self.store = store
        self.proxy = proxy
        self.connection = connection
        self.key = key
        self.deadline = store._loop.time() + store._request_timeout
        self.completion = completion
        self.done = completion.done
        self.asked = 1  # proxies
        self.failures: tuple[tuple[Endpoint, ProxyError], ...] = ()

    @property
    def operation(self) -> Operation:
        """The same once more, for other tries."""
        raise NotImplementedError

    def translate(self, result: Any) -> object:
        """What the receiver wants to have, from what a connection gives."""
        raise NotImplementedError

    def may_try_again(self) -> bool:
        return True

    def ended(self) -> None:
        """It has its answer, or nobody wants one any more."""

    def set_result(self, result: Any) -> None:
        self.ended()
        try:
            outcome = self.translate(result)
        except SfssError as error:
            self.completion.set_exception(error)
        else:
            self.completion.set_result(outcome)

    def set_exception(self, error: Exception) -> None:
        assert isinstance(error, ProxyError)
        self.failed(self.proxy, error)

    def failed(self, proxy: Endpoint, error: ProxyError) -> None:
        proxy.endpoint_stats.failed(error)
        self.failures += ((proxy, error),)
        if len(self.failures) == self.asked:
            self.store.hedges.failed += self.asked > 1
            self.store.try_again(self)


class _BegunWrite(_Begun):
    __slots__ = ("write",)

    write: "_Write"

    def may_try_again(self) -> bool:
        return self.write.may_try_again()

    def ended(self) -> None:
        self.write.end()


class _BegunDelete(_BegunWrite):
    __slots__ = ("path",)

    path: str

    @property
    def operation(self) -> Operation:
        return partial(Connection.delete, key=self.key)

    def translate(self, result: bool) -> None:
        # One that is tried again and finds nothing has succeeded: the first try did it.
        if not result and not self.failures:
            raise NotFound.of(self.path)


class _BegunPut(_BegunWrite):
    __slots__ = ("value",)

    value: bytes | bytearray

    @property
    def operation(self) -> Operation:
        return partial(Connection.set, key=self.key, value=self.value)

    def translate(self, result: None) -> FileInfo:
        return FileInfo(len(self.value), etag_of(self.value))


class _BegunGet(_Begun):
    """May be hedged (:class:`sfss.stores.hedging.Hedgeable`)."""

    __slots__ = ("began", "hedged")

    def __init__(
        self,
        store: ProxyStore,
        proxy: Endpoint,
        connection: Connection,
        key: bytes,
        completion: Completion,
    ):
        _Begun.__init__(self, store, proxy, connection, key, completion)
        self.began = perf_counter()
        self.hedged = False  # or it shall not be

    @property
    def operation(self) -> Operation:
        return partial(Connection.get, key=self.key)

    def translate(self, result: bytearray | None) -> StoredFile | FileInfo | None:
        return _file_of(result)

    def set_result(self, result: bytearray | None) -> None:
        if self.asked > 1:
            self.store.hedges.wasted += 1
        super().set_result(result)

    def deny(self) -> None:
        self.hedged = True

    def hedge(self) -> bool:
        if self.failures or (second := self.store.second(self.proxy)) is None:
            return False
        proxy, connection = second
        self.hedged = True
        self.asked = 2
        connection.get(self.key, self.deadline, _Hedge(self, proxy))
        return True

    def won_by_the_second(self, result: bytearray | None) -> None:
        self.store.hedges.won += 1
        # If nothing at all came from the first one meanwhile, it is suspect.
        waited = perf_counter() - self.began
        if self.connection.last_reply < self.store._loop.time() - waited:
            self.proxy.suspicion(ProxyDown(f"no reply within {waited:.3f} s"))
        self.completion.set_result(self.translate(result))


class _BegunStat(_BegunGet):
    """There is no command for this that is safe everywhere."""

    __slots__ = ()

    def translate(self, result: bytearray | None) -> FileInfo | None:
        return None if result is None else FileInfo(len(result), etag_of(result))


class _Hedge:
    """Receives what the second proxy gives to a read."""

    __slots__ = ("begun", "done", "proxy")

    def __init__(self, begun: _BegunGet, proxy: Endpoint):
        self.begun = begun
        self.proxy = proxy
        self.done = begun.done

    def set_result(self, result: bytearray | None) -> None:
        self.begun.won_by_the_second(result)

    def set_exception(self, error: Exception) -> None:
        assert isinstance(error, ProxyError)
        self.begun.failed(self.proxy, error)


def _file_of(content: bytearray | None) -> StoredFile | None:
    return None if content is None else StoredFile(content, etag_of(content))


def _less_loaded(proxies: list[Endpoint]) -> Endpoint:
    """The less loaded of two random ones: nearly as even as asking all, and no herd on the idlest."""
    count = len(proxies)
    if count == 1:
        return proxies[0]
    first = int(random.random() * count)
    second = (first + 1 + int(random.random() * (count - 1))) % count
    one, other = proxies[first], proxies[second]
    return one if one.load <= other.load else other
