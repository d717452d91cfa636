"""Time, and the event loops of processes that live in it: asyncio's tasks, with nothing of the machine."""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable


class World:
    """All that happens, in order of its time (seconds)."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.now = 0.0
        self._events: list[tuple[float, int, Process | None, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, happen: Callable[[], None], process: "Process | None" = None) -> None:
        """What belongs to a *process* waits while it is paused, and is lost when it is killed."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), process, happen))

    def run(self, until: Callable[[], bool], most: float) -> None:
        """Let things happen until *until* is true, or the time is *most*."""
        while self._events and not until():
            when, number, process, happen = heapq.heappop(self._events)
            if when > most:
                heapq.heappush(self._events, (when, number, process, happen))
                self.now = most
                return
            self.now = when
            if process is None:
                happen()
            elif process.dead:
                continue
            elif process.paused_until > when:
                heapq.heappush(self._events, (process.paused_until, number, process, happen))
            else:
                asyncio._set_running_loop(process.loop)
                try:
                    happen()
                finally:
                    asyncio._set_running_loop(None)


class Process:
    """One that has an event loop. *wall*: what its clock says, seconds since the epoch."""

    def __init__(self, world: World):
        self.world = world
        self.dead = False
        self.paused_until = 0.0
        self.skew = 0.0
        self.began = world.now
        self.connections: list = []
        self.loop = Loop(self)

    def wall(self) -> float:
        return EPOCH + self.world.now + self.skew

    def kill(self) -> None:
        self.dead = True
        for connection in self.connections:
            connection.client_died()


#: When the world begins: 2026-11-26.
EPOCH = 1_795_680_000.0


class Loop(asyncio.AbstractEventLoop):
    def __init__(self, process: Process):
        self._process = process
        self._world = process.world
        self.errors: list[dict] = []

    def time(self) -> float:
        return self._world.now

    def call_soon(self, callback, *args, context=None):
        handle = asyncio.Handle(callback, args, self, context)
        self._world.at(self._world.now, lambda: None if handle.cancelled() else handle._run(), self._process)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when, callback, *args, context=None):
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if when < float("inf"):
            self._world.at(when, lambda: None if handle.cancelled() else handle._run(), self._process)
        return handle

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle):
        """It stays in the heap, and does nothing."""

    def create_future(self):
        return asyncio.Future(loop=self)

    def create_task(self, coroutine, *, name=None, context=None):
        return asyncio.Task(coroutine, loop=self, name=name, context=context)

    def get_debug(self):
        return False

    def is_running(self):
        return True

    def is_closed(self):
        return False

    def call_exception_handler(self, context):
        self.errors.append(context)

    async def create_connection(self, make, host, port, **options):
        return await self._process.network.connect(self._process, make, port)
