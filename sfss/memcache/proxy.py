"""One proxy: its address, its connections, and whether it can be relied on at the moment.

A proxy is *up* until something says otherwise: it cannot be connected to, does not answer in
time, or answers garbage. Then it is *down*, gets no work, and is probed in the background with
growing pauses until it answers again. The probe is a ``get``: a gobeansproxy that panics on
every get still answers ``version`` (stores.md), so only a get shows that it can serve.

A connection that is merely lost (a restart, an idle time-out on the way) does not take the
proxy down; the next operation opens another, and that tells.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from sfss.memcache.connection import Connection
from sfss.memcache.errors import ProxyDown, ProxyError, ProxyRefused
from sfss.memcache.keys import PROBE_KEY

T = TypeVar("T")

log = logging.getLogger("sfss.pool")

#: Seconds between probes of a proxy that is down: doubled each time, with jitter.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
#: With so much under way on every open connection, one more is opened.
_BUSY = 4


class Limits(NamedTuple):
    """What every proxy of a pool is held to. Times in seconds."""

    connections: int
    connect_timeout: float
    operation_timeout: float


class Proxy:
    """A proxy at *host*:*port*. Belongs to one event loop."""

    def __init__(self, host: str, port: int, limits: Limits):
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.up = True
        self._host = host
        self._port = port
        self._limits = limits
        self._connections: list[Connection] = []
        self._opening: asyncio.Task | None = None
        self._open_after = float("-inf")  # on time.monotonic's clock, as is the next
        self._probing: asyncio.Task | None = None
        self._hurry = asyncio.Event()
        self._probed = asyncio.Event()  # set and cleared after each probe
        self._probe_began = float("-inf")
        self._down_since = 0.0
        self._closed = False

    @property
    def load(self) -> int:
        """How much is under way (see :attr:`Connection.load`)."""
        load = 0
        for connection in self._connections:
            load += connection.load
        return load

    async def ask(self, operation: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of *operation*, done on one of the connections.

        :raises ProxyError: whatever went wrong; afterwards :attr:`up` says whether the proxy
            is still to be relied on.
        """
        return await operation(self.ready_connection() or await self._new_connection())

    async def probe(self) -> None:
        """Find out whether it answers, and take note (:attr:`up`). Never raises."""
        timeout = self._limits.connect_timeout
        loop = asyncio.get_running_loop()
        try:
            connection = self.ready_connection() or await self._new_connection()
            async with asyncio.timeout(timeout):
                await connection.get(PROBE_KEY, loop.time() + timeout)
        except ProxyRefused:
            pass  # it is there, and says what it thinks: requests shall hear it too
        except TimeoutError:
            self.take_out(ProxyDown(f"no reply within {timeout:g} s"))
            return
        except ProxyError as error:
            self.take_out(error)
            return
        self._take_in()

    async def recovered(self) -> bool:
        """Whether it is up, as a probe finds that begins after this call.

        For a request that finds every proxy down: it need not wait for the next pause to end, nor
        believe what an old probe found. However many requests ask, there is at least
        ``FIRST_PAUSE`` between two probes.
        """
        asked = time.monotonic()
        while not self.up and self._probing is not None and self._probe_began < asked:
            self._hurry.set()
            await self._probed.wait()
        return self.up

    async def close(self) -> None:
        """Close the connections at once. Nothing may be asked of it afterwards."""
        self._closed = True
        for task in (self._opening, self._probing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for connection in self._connections:
            connection.close()

    # Connections.

    def ready_connection(self) -> Connection | None:
        """The connection to use now; None if a new one is better waited for.

        Filling one before the next lets the commands of one turn of the loop share a write. But
        nothing queues behind what is busy, say with a large value, while one more can be opened.
        """
        least: Connection | None = None
        least_load = 0
        for connection in self._connections:
            if not connection.usable:
                continue
            load = connection.load
            if load < _BUSY:
                return connection
            if least is None or load < least_load:
                least, least_load = connection, load
        if least is not None and self._may_open():
            return None
        return least

    def _may_open(self) -> bool:
        if len(self._connections) >= self._limits.connections:
            self._connections = [c for c in self._connections if c.usable]
        return (
            len(self._connections) < self._limits.connections
            and time.monotonic() >= self._open_after
        )

    async def _new_connection(self) -> Connection:
        """A connection, opened for all who wait for one, or :class:`ProxyDown`."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        # Shielded: the others wait for it too when one of them is cancelled.
        return await asyncio.shield(self._opening)

    async def _open(self) -> Connection:
        try:
            connection = await Connection.open(
                self._host,
                self._port,
                connect_timeout=self._limits.connect_timeout,
                operation_timeout=self._limits.operation_timeout,
                on_down=self.take_out,
            )
        except ProxyDown as error:
            self._open_after = time.monotonic() + FIRST_PAUSE
            if usable := [c for c in self._connections if c.usable]:
                return min(usable, key=lambda c: c.load)  # it takes no more, but serves
            self.take_out(error)
            raise
        self._connections.append(connection)
        return connection

    def _opened(self, task: asyncio.Task) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # seen: it is of no interest when nobody waits any more

    # Health.

    def take_out(self, reason: ProxyError) -> None:
        """It cannot be relied on: close everything, and probe until it answers again."""
        if not self.up or self._closed:
            return
        self.up = False
        self._down_since = time.monotonic()
        log.warning("proxy down", extra={"proxy": self.address, "reason": str(reason)})
        for connection in self._connections:
            connection.close(ProxyDown(str(reason)))
        self._connections = []
        self._probing = asyncio.create_task(self._probe_until_up())

    def _take_in(self) -> None:
        if not self.up:
            self.up = True
            seconds = round(time.monotonic() - self._down_since, 1)
            log.info("proxy up", extra={"proxy": self.address, "was_down_s": seconds})

    async def _probe_until_up(self) -> None:
        pause = FIRST_PAUSE
        try:
            while not self.up:
                await asyncio.sleep(FIRST_PAUSE * random.uniform(0.75, 1.25))
                try:
                    async with asyncio.timeout((pause - FIRST_PAUSE) * random.uniform(0.75, 1.25)):
                        await self._hurry.wait()
                except TimeoutError:
                    pause = min(pause * 2, LONGEST_PAUSE)
                self._hurry.clear()
                self._probe_began = time.monotonic()
                await self.probe()
                self._tell_waiting()
        finally:
            self._probing = None
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        self._probed.set()
        self._probed.clear()
