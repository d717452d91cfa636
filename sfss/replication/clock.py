"""Which of two changes is newer, for every node alike: a hybrid logical clock.

Kulkarni et al., "Logical Physical Clocks", 2014 (https://cse.buffalo.edu/tech-reports/2014-04.pdf):
a stamp is the wall clock's milliseconds with a counter behind it, and is always greater than every
stamp that this node has given or seen. What somebody does after having seen a change is newer than
that change, however wrong his clock is; and clocks that are right order the rest by time.
"""

from collections.abc import Callable
from typing import NamedTuple

#: A stamp is 46 bits of milliseconds since the epoch, and 16 bits of counter.
COUNTER_BITS = 16
#: Beyond all stamps of a clock: the delete of a name that is never used again. It is newer than
#: any put, whatever the clocks said.
FINAL = 1 << 62
#: No clock goes beyond this (the year 3084); a node that says so is not believed,
LATEST = 1 << 61
#: nor is a clock that is so far ahead of ours. Seconds. (Less is borne: the stamps of all nodes are then
#: ahead of time, and still in order. To refuse what a wrong clock has stamped would keep it from ever
#: reaching the others.)
MOST_AHEAD = 10 * 366 * 86400.0


class Version(NamedTuple):
    """Newer is greater; no two changes have the same one."""

    stamp: int
    node: str  #: the id of the node that took the change, 16 hex digits

    @property
    def time(self) -> float:
        """About when it was given, seconds since the epoch, by the clock of its node."""
        return seconds_of(self.stamp)

    @property
    def is_valid(self) -> bool:
        return 0 <= self.stamp < FINAL << 1 and self.stamp & ~FINAL < LATEST

    @property
    def is_final(self) -> bool:
        """Whether nothing can be newer but another delete of this kind."""
        return self.stamp >= FINAL


def seconds_of(stamp: int) -> float:
    """The time that is in *stamp*, seconds since the epoch."""
    return ((stamp & ~FINAL) >> COUNTER_BITS) / 1000


def stamp_of(seconds: float) -> int:
    return int(seconds * 1000) << COUNTER_BITS


class Clock:
    """The clock of the node *node*. *wall*: seconds since the epoch; *last*: the last stamp so far."""

    def __init__(self, node: str, wall: Callable[[], float], last: int = 0):
        self.node = node
        self.last = last
        self._wall = wall

    def tick(self) -> int:
        """A stamp that is greater than all that were given and seen before."""
        self.last = max(self.last + 1, stamp_of(self._wall()))
        return self.last

    def version(self, *, final: bool = False) -> Version:
        """The version of a change that happens now; *final*: nothing shall ever be newer."""
        stamp = self.tick()
        return Version(stamp | FINAL if final else stamp, self.node)

    def observe(self, stamp: int) -> None:
        """A stamp came from elsewhere: what happens from now on is newer."""
        self.last = max(self.last, stamp & ~FINAL)

    def ahead(self, stamp: int) -> float:
        """How far the clock that gave *stamp* is ahead of ours, in seconds."""
        return seconds_of(stamp) - self._wall()
