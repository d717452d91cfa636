"""Hedged reads: a get that takes too long is sent to a second proxy, and the first answer wins.

Too long is a multiple of what nineteen of twenty recent gets of that proxy did not exceed, within
bounds. All hedges together are at most a small share of the gets: each get adds that share to a
budget, and each hedge takes one out of it (Dean and Barroso, "The Tail at Scale", 2013).
"""

import asyncio
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Protocol

from sfss.metrics.families import Family, counter

#: No hedge is sent sooner, in seconds. It is also how often the reads under way are looked at.
LEAST_DELAY = 0.005
#: A hedge is sent after so many times the usual.
_PATIENCE = 3.0
#: A look that comes so much later than planned says that we were busy, not the proxy. Seconds.
_WE_WERE_BUSY = 0.02
#: What the budget can hold: enough for all that are under way when a proxy stalls.
_MOST_SAVED = 100.0
_SAVED_AT_FIRST = 10.0


class Hedgeable(Protocol):
    """A read that has waited for too long, and was not hedged yet."""

    def hedge(self) -> bool:
        """Ask a second proxy. False: there is none, and nothing was sent."""

    def deny(self) -> None:
        """It is not to be hedged."""


class Hedges:
    """*share*: of hedges among all gets, at most. *longest*: delay before a hedge, seconds.

    *overdue* gives the reads that have waited for too long, and whether any read is under way. It
    is called with the time on :func:`time.perf_counter`'s clock.
    """

    def __init__(
        self,
        share: float,
        longest: float,
        overdue: Callable[[float], tuple[Iterable[Hedgeable], bool]],
    ):
        self._share = share
        self._longest = max(longest, LEAST_DELAY)
        self._overdue = overdue
        self._budget = _SAVED_AT_FIRST
        self._looking = False
        self.won = 0  #: the second proxy answered first
        self.wasted = 0  #: the first proxy did
        self.failed = 0  #: neither did
        self._denied = 0

    def delay(self, usual: float) -> float:
        """After how many seconds to hedge, where a read *usually* does not take longer than that."""
        return min(max(usual * _PATIENCE, LEAST_DELAY), self._longest)

    def note_read(self, loop: asyncio.AbstractEventLoop) -> None:
        """A read has begun."""
        if self._budget < _MOST_SAVED:
            self._budget += self._share
        if not self._looking and self._share:
            self._look_again(loop)

    def families(self) -> Iterable[Family]:
        hedges = counter(
            "sfss_hedges_total",
            "Reads sent to a second proxy: won (it answered first), wasted (the first one did), "
            "failed (neither); denied: not sent, the budget was used up",
            "outcome",
        )
        for outcome, number in (
            ("won", self.won),
            ("wasted", self.wasted),
            ("failed", self.failed),
            ("denied", self._denied),
        ):
            hedges.add((outcome,), number)
        return [hedges]

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = True
        loop.call_later(LEAST_DELAY, self._look, loop, perf_counter() + LEAST_DELAY)

    def _look(self, loop: asyncio.AbstractEventLoop, planned: float) -> None:
        self._looking = False
        now = perf_counter()
        reads, any_under_way = self._overdue(now)
        if now - planned < _WE_WERE_BUSY:
            for read in reads:
                if self._budget < 1:
                    self._denied += 1
                    read.deny()
                elif read.hedge():
                    self._budget -= 1
        if any_under_way:
            self._look_again(loop)
