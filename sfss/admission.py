"""How many bytes may be under way at once, so that the process never grows without bound.

Under way are the bodies of uploads as they arrive until they are stored, files that a store was asked for
until they are there, and answers until clients have taken the last byte of them. Each byte is counted once,
in one of three shares:

* *reads* and *uploads* are those of clients. Neither can take all: slow uploads keep nobody from reading,
  and readers that do not read keep nobody from writing;
* *peers* is what other nodes send. It is a part of its own, so that clients cannot stop replication.

Requests that find no room wait for a moment, and are then turned away.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from sfss.errors import Overloaded
from sfss.metrics.families import Family, counter, gauge

#: The most that the reads, and the uploads, of clients take of what clients have.
_READ_SHARE = 0.75
_UPLOAD_SHARE = 0.5
#: The part of other nodes, where there are any.
_PEER_SHARE = 0.25
#: What is taken for a file before its size is known. (What the recent ones had would not do: one client who
#: fetches large files now and then would keep everybody from reading small ones.) Bytes.
SMALL = 64 * 1024


class Budget:
    """At most *limit* bytes at once."""

    __slots__ = ("held", "limit", "shares")

    def __init__(self, limit: float):
        self.limit = limit
        self.held = 0
        self.shares: list[Share] = []


class Share:
    """A part of *budget*: at most *limit* bytes of it. *wait*: how long one waits for room, in seconds."""

    __slots__ = ("_budget", "_limit", "_wait", "_waiting", "held", "refusals", "waits")

    def __init__(self, budget: Budget, limit: float, wait: float):
        self._budget = budget
        self._limit = limit
        self._wait = wait
        # Each with the bytes that it waits for.
        self._waiting: deque[tuple[asyncio.Future[Any], int]] = deque()
        self.held = 0
        self.waits = 0
        self.refusals = 0
        budget.shares.append(self)

    @property
    def is_short(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._waiting)

    def room(self) -> "Room":
        return Room(self)

    def try_take(self, size: int) -> bool:
        """Take *size* bytes if there is room and nobody waits for it. One always fits."""
        if self._waiting or not self._fits(size):
            return False
        self.held += size
        self._budget.held += size
        return True

    def take_anyway(self, size: int) -> None:
        """*size* bytes are there, whether there is room or not."""
        self.held += size
        self._budget.held += size

    def release(self, size: int) -> None:
        """Give back what was taken."""
        self.held -= size
        budget = self._budget
        budget.held -= size
        for share in budget.shares:
            if share._waiting:
                share._let_in()

    async def take(self, size: int) -> None:
        """Take *size* bytes, when there is room. :raises Overloaded: if there was none in time."""
        if self.try_take(size):
            return
        self.waits += 1
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append((turn, size))
        # (Not asyncio.timeout: there may be no task, see Call in sfss.web.operations.)
        timer = loop.call_later(self._wait, _too_late, turn)
        try:
            await turn
        except Overloaded:
            self.refusals += 1
            raise
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.release(size)
            raise
        finally:
            timer.cancel()
            self._let_in()  # who gave up must not stand in the way

    def _fits(self, size: int) -> bool:
        budget = self._budget
        return (not self.held or self.held + size <= self._limit) and (
            not budget.held or budget.held + size <= budget.limit
        )

    def _let_in(self) -> None:
        """Give what is free to those who wait, in their order."""
        waiting = self._waiting
        while waiting:
            turn, size = waiting[0]
            if not turn.done():
                if not self._fits(size):
                    break
                self.held += size
                self._budget.held += size
                turn.set_result(None)
            waiting.popleft()


def _too_late(turn: asyncio.Future[Any]) -> None:
    if not turn.done():
        turn.set_exception(Overloaded.now())


class Room:
    """What one request has of *share*."""

    __slots__ = ("share", "taken")

    def __init__(self, share: Share):
        self.share = share
        self.taken = 0  #: bytes

    def __enter__(self) -> "Room":
        return self

    def __exit__(self, *problem: object) -> None:
        self.release()

    def try_grow(self, size: int) -> bool:
        """Have at least *size* bytes, if there is room."""
        more = size - self.taken
        if more <= 0:
            return True
        if not self.share.try_take(more):
            return False
        self.taken = size
        return True

    def grow_anyway(self, size: int) -> None:
        """Have at least *size* bytes: they are there already."""
        more = size - self.taken
        if more > 0:
            self.taken = size
            self.share.take_anyway(more)

    async def grow(self, size: int) -> None:
        """Have at least *size* bytes. :raises Overloaded: if there was no room in time."""
        more = size - self.taken
        if more > 0:
            await self.share.take(more)
            self.taken += more

    def shrink(self, size: int) -> None:
        """Have no more than *size* bytes."""
        less = self.taken - size
        if less > 0:
            self.taken = size
            self.share.release(less)

    def release(self) -> None:
        """Have nothing."""
        taken = self.taken
        if taken:
            self.taken = 0
            self.share.release(taken)


class Admission:
    """At most *limit* bytes at once. *wait*: how long one waits for room, in seconds.

    *has_peers*: whether other nodes have a part.
    """

    def __init__(self, limit: int, wait: float, *, has_peers: bool = False):
        self._limit = limit
        of_peers = limit * _PEER_SHARE if has_peers else 0
        clients = Budget(limit - of_peers)
        self.reads = Share(clients, clients.limit * _READ_SHARE, wait)
        self.uploads = Share(clients, clients.limit * _UPLOAD_SHARE, wait)
        self.peers = Share(Budget(of_peers), of_peers, wait)

    def families(self) -> Iterable[Family]:
        shares = (self.reads, self.uploads, self.peers)
        held = gauge("sfss_bytes_in_flight", "Bytes that are under way")
        held.add((), sum(share.held for share in shares))
        limit = gauge("sfss_bytes_in_flight_limit", "Of all workers together")
        limit.add((), self._limit)
        waited = counter("sfss_admission_waits_total", "Requests that had to wait for room")
        waited.add((), sum(share.waits for share in shares))
        turned_away = counter("sfss_admission_refusals_total", "Requests turned away with 503")
        turned_away.add((), sum(share.refusals for share in shares))
        return [held, limit, waited, turned_away]
