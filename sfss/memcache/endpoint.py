"""One proxy: its address, its connections, and whether it can be relied on at the moment.

The test of a proxy is a new connection on which it answers a ``get``. (It is a get because a
gobeansproxy that panics on every get still answers ``version``: docs/stores.rst.) That test stands
before each use of a connection, so a proxy at its limit of connections goes on serving over those
that it has.

A proxy is *up* until the test fails. One bad sign makes it *suspect*: a connection on which
nothing moves, garbage, a connection that is lost, even an idle one. Then it is tested at once, and
gets work only if no other proxy is above suspicion; a sign may come from one slow key or one large
value, and must not take a healthy proxy from everybody. When the test fails too, and no other connection
has had a reply meanwhile, it is *down*: it gets no work, and is tested in the background with
growing pauses until it answers. The connection of a test that found it silent stays open: a proxy
that was only stopped is heard at once when it goes on, whatever the pause.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from sfss.memcache.connection import Connection
from sfss.memcache.endpoint_stats import EndpointStats
from sfss.memcache.errors import ProxyDown, ProxyError, ProxyRefused
from sfss.memcache.keys import probe_key

T = TypeVar("T")

log = logging.getLogger("sfss.pool")

#: Seconds between tests of a proxy that is down: doubled each time, with jitter.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
#: With so much under way on every open connection, a new one is worth a wait, this many seconds at the most.
_CLOGGED = 32
_WAIT_FOR_NEW = 0.05


class Limits(NamedTuple):
    """What every proxy of a pool is held to. Times in seconds."""

    connections: int
    connect_timeout: float
    operation_timeout: float


class Endpoint:
    """A proxy at *host*:*port*. Belongs to one event loop.

    *kind*: of its connections. *noun*: what it is called in the log.
    """

    def __init__(
        self, host: str, port: int, limits: Limits, kind: type[Connection] = Connection, noun: str = "proxy"
    ):
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.up = True
        self.endpoint_stats = EndpointStats()
        self.noun = noun
        self._kind = kind
        self._host = host
        self._port = port
        self.limits = limits
        self._connections: list[Connection] = []
        self._last: Connection | None = None  # that was used
        self._opening: asyncio.Task[Any] | None = None
        self._open_pause = FIRST_PAUSE
        self._open_after = float("-inf")  # on the loop's clock, as all of these
        self._checking: asyncio.Task[Any] | None = None  # while it is suspect
        self._testing: asyncio.Task[Any] | None = None  # while it is down
        self._hurry = asyncio.Event()
        self._tested = asyncio.Event()  # set and cleared after each test of a proxy that is down
        self._test_began = float("-inf")
        self._silent: Connection | None = None  # has been asked, and has not answered yet
        self._down_since = 0.0
        self._closed = False

    @property
    def load(self) -> int:
        """How much is under way (see :attr:`Connection.load`)."""
        load = 0
        for connection in self._connections:
            load += connection.load
        return load

    @property
    def suspect(self) -> bool:
        return self._checking is not None

    @property
    def connections(self) -> list[Connection]:
        """Those that are open, whether they take something new or not."""
        return [connection for connection in self._connections if connection.is_open]

    async def ask(self, operation: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of *operation*, done on one of the connections.

        :raises ProxyError: whatever went wrong.
        """
        return await operation(self.ready_connection() or await self._new_connection())

    async def close(self) -> None:
        """Close the connections at once. Nothing may be asked of it afterwards."""
        self._closed = True
        for task in (self._opening, self._checking, self._testing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for connection in self._connections:
            connection.close()
        if self._silent is not None:
            self._silent.close()

    # Connections.

    def ready_connection(self) -> Connection | None:
        """The connection to use now; None if it is better to wait for a new one.

        Filling one before the next lets the commands of one turn of the loop share a write.
        """
        last = self._last
        if last is not None and last.usable and last.load < last.capacity:
            return last
        least: Connection | None = None
        least_load = 0
        for connection in self._connections:
            if not connection.usable:
                continue
            load = connection.load
            if load < connection.capacity:
                self._last = connection
                return connection
            if least is None or load < least_load:
                least, least_load = connection, load
        if least is not None and self._may_open():
            self._open()
            if least_load >= _CLOGGED:
                return None
        return least

    def least_busy(self) -> Connection | None:
        """One that can be used now, even if it were better to wait; None if there is none: then one is opened."""
        usable = self._usable()
        if usable:
            return _least_busy(usable)
        if self._may_open() and not self._closed:
            self._open()
        return None

    def _may_open(self) -> bool:
        return len(self._usable()) < self.limits.connections and _now() >= self._open_after

    def _usable(self) -> list[Connection]:
        return [connection for connection in self._connections if connection.usable]

    def _open(self) -> asyncio.Task[Any]:
        """The opening of one more connection, which all who wait for one share."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect())
            self._opening.add_done_callback(self._opened)
        return self._opening

    def _opened(self, task: asyncio.Task[Any]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # seen: it is of no interest when nobody waits any more

    async def _new_connection(self) -> Connection:
        """A new connection, or soon the least busy one; :class:`ProxyError` if there is none."""
        opening = self._open()
        if usable := self._usable():
            await asyncio.wait({opening}, timeout=_WAIT_FOR_NEW)
            if not opening.done() or opening.exception() is not None:
                return _least_busy(usable)
        # Shielded: the others wait for it too when one of them is cancelled.
        return await asyncio.shield(opening)

    async def _connect(self) -> Connection:
        """Open a connection that has answered a get. Its failure is the test of the proxy."""
        try:
            connection = await self._answering_connection()
        except ProxyError as error:
            self._open_after = _now() + self._open_pause
            self._open_pause = min(self._open_pause * 2, LONGEST_PAUSE)
            if not self._usable():  # else it takes no more connections, but serves
                self._take_out(error)
            raise
        self._open_pause = FIRST_PAUSE
        return self._join(connection)

    def _join(self, connection: Connection) -> Connection:
        """Use *connection*, or, when there are enough of them by now, another one instead."""
        usable = self._usable()
        if len(usable) >= self.limits.connections:
            connection.close()
            return _least_busy(usable)
        self._connections = self.connections
        connection.on_fault = self.suspicion
        connection.endpoint_stats = self.endpoint_stats
        self._connections.append(connection)
        return connection

    async def _answering_connection(self) -> Connection:
        connection = await self.open_connection()
        answer = connection.get(probe_key(), float("inf"))
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                await asyncio.shield(answer)
                await self.admit(connection)
        except ProxyRefused as refusal:
            if not connection.usable:
                raise ProxyDown(str(refusal)) from refusal
            # It is there, and says what it thinks: requests shall hear it too.
        except TimeoutError:
            self._listen_on(connection, answer)
            raise ProxyDown(f"no reply within {self.limits.connect_timeout:g} s") from None
        except BaseException:
            answer.cancel()
            connection.close()
            raise
        return connection

    async def open_connection(self) -> Connection:
        """A connection that nobody else uses, and that has not been tested. :raises ProxyDown:"""
        return await self._kind.open(
            self._host,
            self._port,
            connect_timeout=self.limits.connect_timeout,
            operation_timeout=self.limits.operation_timeout,
        )

    async def admit(self, connection: Connection) -> None:
        """What is to be found out before *connection* is used, which has just answered.

        :raises ProxyError: if it cannot be used.
        """

    # Health.

    async def probe(self) -> None:
        """Find out whether it answers, and take note (:attr:`up`). Raises nothing of its own."""
        try:
            await asyncio.shield(self._open())
        except ProxyError:
            return  # noted where it happened
        self._take_in()

    def suspicion(self, reason: ProxyError) -> None:
        """A sign that it cannot be relied on: test it, and prefer others meanwhile."""
        if self.up and self._checking is None and not self._closed:
            self._checking = asyncio.create_task(self._check(reason))

    async def _check(self, reason: ProxyError) -> None:
        began = asyncio.get_running_loop().time()
        try:
            connection = await self._answering_connection()
        except ProxyError as error:
            if not any(connection.last_reply >= began for connection in self._usable()):
                self._take_out(ProxyDown(f"{reason}; when tested: {error}"))
        else:
            self._join(connection)
        finally:
            self._checking = None

    def _listen_on(self, connection: Connection, answer: asyncio.Future[Any]) -> None:
        """Wait without end for *answer*, in place of the connection that did so before."""
        if self._silent is not None:
            self._silent.close()
        self._silent = connection
        connection.stall_timeout = float("inf")
        answer.add_done_callback(lambda answer: self._heard(connection, answer))

    def _heard(self, connection: Connection, answer: asyncio.Future[Any]) -> None:
        if self._silent is connection:
            self._silent = None
        error = answer.exception()
        if isinstance(error, ProxyRefused) and connection.usable:
            error = None  # that is an answer, too
        if error is not None or self._closed:
            connection.close()
            return
        connection.stall_timeout = self.limits.operation_timeout
        self._join(connection)
        self._take_in()

    async def recovered(self) -> bool:
        """Whether it is up, as a test finds that begins after this call, if it is down.

        For a request that finds nobody to turn to: it need not wait for the next pause to end, nor
        believe what an old test found. However many requests ask, there is at least
        ``FIRST_PAUSE`` between two tests.
        """
        if self._checking is not None:
            await asyncio.wait({self._checking})
        asked = _now()
        while not self.up and not self._closed and self._test_began < asked:
            self._hurry.set()
            await self._tested.wait()
        return self.up

    def _take_out(self, reason: ProxyError) -> None:
        if not self.up or self._closed:
            return
        self.up = False
        self._down_since = _now()
        self.endpoint_stats.changed(time.time(), "down", str(reason))
        log.warning(f"{self.noun} down", extra={self.noun.split()[-1]: self.address, "reason": str(reason)})
        for connection in self._connections:
            connection.close()
        self._connections = []
        self._last = None
        if self._testing is not None:
            self._testing.cancel()
        self._testing = asyncio.create_task(self._test_until_up())

    def _take_in(self) -> None:
        if not self.up:
            self.up = True
            seconds = round(_now() - self._down_since, 1)
            self.endpoint_stats.changed(time.time(), "up", f"after {seconds} s")
            log.info(f"{self.noun} up", extra={self.noun.split()[-1]: self.address, "was_down_s": seconds})

    async def _test_until_up(self) -> None:
        pause = FIRST_PAUSE
        while not self.up:
            await asyncio.sleep(FIRST_PAUSE * random.uniform(0.75, 1.25))
            try:
                async with asyncio.timeout((pause - FIRST_PAUSE) * random.uniform(0.75, 1.25)):
                    await self._hurry.wait()
            except TimeoutError:
                pause = min(pause * 2, LONGEST_PAUSE)
            self._hurry.clear()
            self._test_began = _now()
            await self.probe()
            self._tested.set()
            self._tested.clear()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _least_busy(connections: list[Connection]) -> Connection:
    return min(connections, key=lambda connection: connection.load)
