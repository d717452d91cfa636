"""Changes that share one wait for the disk: what comes while it is waited for is done together, and waits once."""

import queue
from typing import Protocol, TypeVar

#: One group has at most so many changes, or bytes; the rest shares the next wait.
MOST_CHANGES = 1000
MOST_BYTES = 32 * 1024 * 1024


class Sized(Protocol):
    @property
    def size(self) -> int:
        """About how many bytes it writes."""


T = TypeVar("T", bound=Sized)


def gathered(waiting: "queue.SimpleQueue[T | None]", first: T) -> tuple[list[T], bool]:
    """*first* and everything that waits behind it, up to the limits; and whether more may come.

    None in the queue says that nothing comes any more.
    """
    group, size = [first], first.size
    while len(group) < MOST_CHANGES and size < MOST_BYTES:
        try:
            following = waiting.get_nowait()
        except queue.Empty:
            break
        if following is None:
            return group, False
        group.append(following)
        size += following.size
    return group, True
