"""How many bytes may be under way at once, so that the process never grows without bound.

Under way are the bodies of uploads from before they are read until they are stored, files that a
store was asked for until they are there, and what clients have not taken yet of what they are sent.
Who finds no room waits for a moment, and is then turned away.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from sfss.errors import Overloaded
from sfss.figures import Family, counter, gauge

#: Uploads get at most this share, so that slow ones cannot keep everybody from reading.
_UPLOAD_SHARE = 0.5
#: What is taken for a file before its size is known. (What the recent ones had would not do: one client who
#: fetches large files now and then would keep everybody from reading small ones.) Bytes.
SMALL = 64 * 1024


class Admission:
    """At most *limit* bytes at once. *wait*: how long one waits for room, in seconds."""

    def __init__(self, limit: int, wait: float):
        self._limit = limit
        self._wait = wait
        self._held = 0
        self._held_by_uploads = 0
        # Each with the bytes that it waits for. Readers do not wait behind uploads: those may be
        # waiting for the share of uploads only.
        self._readers: deque[tuple[asyncio.Future, int]] = deque()
        self._uploads: deque[tuple[asyncio.Future, int]] = deque()
        self._waited = 0
        self._turned_away = 0

    def try_take(self, size: int, *, upload: bool = False) -> bool:
        """Take *size* bytes if there is room and nobody waits for it. One always fits."""
        if (self._uploads if upload else self._readers) or not self._fits(size, upload):
            return False
        self._take(size, upload)
        return True

    def release(self, size: int, *, upload: bool = False) -> None:
        """Give back what was taken or held."""
        self._held -= size
        if upload:
            self._held_by_uploads -= size
        if self._readers or self._uploads:
            self._let_in()

    @asynccontextmanager
    async def room(self, size: int, *, upload: bool = False) -> AsyncIterator[None]:
        """Have *size* bytes meanwhile. :raises Overloaded: if there was no room in time."""
        if not self.try_take(size, upload=upload):
            await self._wait_for(size, upload)
        try:
            yield
        finally:
            self.release(size, upload=upload)

    def hold(self, size: int) -> None:
        """*size* bytes are there, whether there is room or not."""
        self._held += size

    @staticmethod
    def excess(size: int) -> int:
        """A file of *size* bytes has come, for which :data:`SMALL` were taken: how many more to take."""
        return max(size - SMALL, 0)

    def families(self) -> Iterable[Family]:
        held = gauge("sfss_bytes_in_flight", "Bytes that are under way")
        held.add((), self._held)
        limit = gauge("sfss_bytes_in_flight_limit", "Of all workers together")
        limit.add((), self._limit)
        waited = counter("sfss_admission_waits_total", "Requests that had to wait for room")
        waited.add((), self._waited)
        turned_away = counter("sfss_admission_refusals_total", "Requests turned away with 503")
        turned_away.add((), self._turned_away)
        return [held, limit, waited, turned_away]

    def _fits(self, size: int, upload: bool) -> bool:
        if upload:
            held = self._held_by_uploads
            if held and held + size > self._limit * _UPLOAD_SHARE:
                return False
        return not self._held or self._held + size <= self._limit

    def _take(self, size: int, upload: bool) -> None:
        self._held += size
        if upload:
            self._held_by_uploads += size

    def _let_in(self) -> None:
        """Give what is free to those who wait, each kind in its order."""
        for waiting, upload in ((self._readers, False), (self._uploads, True)):
            while waiting:
                turn, size = waiting[0]
                if not turn.done():
                    if not self._fits(size, upload):
                        break
                    self._take(size, upload)
                    turn.set_result(None)
                waiting.popleft()

    async def _wait_for(self, size: int, upload: bool) -> None:
        self._waited += 1
        turn = asyncio.get_running_loop().create_future()
        (self._uploads if upload else self._readers).append((turn, size))
        try:
            async with asyncio.timeout(self._wait):
                await turn
        except TimeoutError:
            if turn.cancelled():
                self._turned_away += 1
                raise Overloaded.now() from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(size, upload=upload)
            raise
        finally:
            self._let_in()  # who gave up must not stand in the way
