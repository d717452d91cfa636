"""The versions that one process gives in one part: never one twice, and none that another process gives.

A unit is the greatest of: the clock's (read once, then going on monotonically), the newest version's plus one, and the
last one that this process used for this key plus one. All lie above *floor*, where what an earlier process with this
writer id may have used ends, and below *limit*, up to which they are reserved (:mod:`sfss.beansdb.writers`).
"""

import asyncio
from collections.abc import Callable

from sfss.beansdb.versions import LAST_UNIT, unit_at, unit_of, version_of
from sfss.errors import StoreRefused

#: The last units of so many keys are remembered; of the others, only the greatest.
_MOST_KEYS = 20_000
#: No version is given whose unit is further behind the clock: a day. (A purge relies on it.)
LAG = 24 * 60


class Units:
    """*wall*: seconds since the epoch; *now*: a monotonic clock."""

    def __init__(self, wall: Callable[[], float], now: Callable[[], float]):
        self._wall = wall()
        self._now = now
        self._began = now()
        self._last: dict[int, int] = {}  # by a key's hash
        self.writer = -1  #: none yet
        self.floor = 0
        self.limit = 0
        self.raised = 0  #: versions ahead of the clock
        self.wanted = 0  #: a unit that was needed, beyond the limit
        self.want = asyncio.Event()  #: set when there is such a unit, or no writer id
        self.granted = asyncio.Event()  #: set when the limit has been raised, and cleared at once

    def clock(self) -> int:
        return unit_at(self._wall + self._now() - self._began)

    def use(self, writer: int, floor: int, limit: int) -> None:
        """From now on: units above *floor*, up to *limit*."""
        self.writer, self.floor, self.limit = writer, max(floor, self.floor), limit
        self.granted.set()
        self.granted.clear()

    def raise_limit(self, limit: int) -> None:
        self.use(self.writer, self.floor, limit)

    def lose(self) -> None:
        """The writer id is another process's now."""
        self.writer, self.limit = -1, 0
        self._last.clear()
        self.want.set()

    def next(self, hashed: int, newest: int, by_clock: bool = True) -> int:
        """A version above *newest* for the key with this hash; 0 if none is reserved: see :attr:`granted`.

        *by_clock*: not only just above (or a day behind the clock).

        :raises StoreRefused: when the versions of the key are used up.
        """
        clock = self.clock()
        unit = max(unit_of(newest), self._last.get(hashed, 0), self.floor, clock - LAG) + 1
        if by_clock and clock > unit:
            unit = clock
        elif by_clock and unit > clock:
            self.raised += 1
        if unit > LAST_UNIT:
            raise StoreRefused(
                "The versions of this file are used up: it was written too often. See docs/beansdb.rst, "
                '"The budget of versions".'
            )
        if self.writer < 0 or unit > self.limit:
            self.wanted = max(self.wanted, unit)
            self.want.set()
            return 0
        self._last[hashed] = unit
        if len(self._last) > _MOST_KEYS:
            self._forget(clock)
        return version_of(unit, self.writer)

    def _forget(self, clock: int) -> None:
        """What the clock has passed is of no use; beyond that, the least half makes the floor."""
        self._last = {hashed: unit for hashed, unit in self._last.items() if unit >= clock}
        if len(self._last) > _MOST_KEYS // 2:
            by_unit = sorted(self._last.items(), key=lambda item: item[1])
            kept = dict(by_unit[len(by_unit) // 2 :])
            self.floor = max(self.floor, by_unit[len(by_unit) // 2 - 1][1])
            self._last = kept
