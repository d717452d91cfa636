"""Nobody waits longer than a timeout, whatever the disk or another process does."""

import asyncio
from collections import deque
from collections.abc import Callable

from sfss.completion import Completion


class Deadlines:
    """Each receiver has *timeout* seconds; then it gets the error that *late* makes.

    One timer for all: they come in the order of their deadlines.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float, late: Callable[[], Exception]):
        self._loop = loop
        self._timeout = timeout
        self._late = late
        self._waiting: deque[tuple[float, Completion]] = deque()
        self._watch: asyncio.TimerHandle | None = None

    def add(self, completion: Completion) -> None:
        deadline = self._loop.time() + self._timeout
        self._waiting.append((deadline, completion))
        if self._watch is None:
            self._watch = self._loop.call_at(deadline, self._expire)

    def settle(self) -> None:
        """Some have got their answer: let go of them."""
        waiting = self._waiting
        while waiting and waiting[0][1].done():
            waiting.popleft()

    def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def _expire(self) -> None:
        self._watch = None
        now = self._loop.time()
        while self._waiting:
            deadline, completion = self._waiting[0]
            if not completion.done():
                if deadline > now:
                    self._watch = self._loop.call_at(deadline, self._expire)
                    return
                completion.set_exception(self._late())
            self._waiting.popleft()
