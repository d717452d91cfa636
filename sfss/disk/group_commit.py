"""Changes that share one wait for the disk: what comes while it is waited for is done together, and waits once."""

import asyncio
import queue
from typing import Generic, Protocol, TypeVar

#: One group has at most so many changes, or bytes; the rest shares the next wait.
MOST_CHANGES = 1000
MOST_BYTES = 32 * 1024 * 1024


class Sized(Protocol):
    @property
    def size(self) -> int:
        """About how many bytes it writes."""


T = TypeVar("T", bound=Sized)


class Changes(Generic[T]):
    """On their way from *loop* to the one thread that does them.

    It is woken once for all that come in a turn of the loop. Woken by each, it would take the interpreter from the
    loop at the next opportunity, and wait for the disk with what little had come.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._collected: list[T] = []  # in this turn
        self._waiting: queue.SimpleQueue[T | None] = queue.SimpleQueue()

    # In the loop's thread.

    def add(self, change: T) -> None:
        if not self._collected:
            self._loop.call_soon(self._hand_over)
        self._collected.append(change)

    def end(self) -> None:
        """Nothing comes any more."""
        self._hand_over()
        self._waiting.put(None)

    def _hand_over(self) -> None:
        collected, self._collected = self._collected, []
        for change in collected:
            self._waiting.put(change)

    # In the other one.

    def wait(self) -> T | None:
        """The next one; None: nothing comes any more."""
        return self._waiting.get()

    def group(self, first: T) -> tuple[list[T], bool]:
        """*first* and everything that waits behind it, up to the limits; and whether more may come."""
        group, size = [first], first.size
        while len(group) < MOST_CHANGES and size < MOST_BYTES:
            try:
                following = self._waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return group, False
            group.append(following)
            size += following.size
        return group, True
