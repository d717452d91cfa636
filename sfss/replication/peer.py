"""One neighbour: what is said to it, in order, and what is done when it does not answer."""

import asyncio
import contextlib
import logging
import math
import random
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from sfss.errors import SfssError
from sfss.metrics.events import StateChange
from sfss.replication.changes import BadMessage, Change, Message, Piece, decode, encode
from sfss.replication.clock import Version
from sfss.replication.engine import Engine
from sfss.replication.replica import Replica
from sfss.replication.requests import (
    DEFERRAL,
    Acked,
    Compared,
    Conversation,
    Itself,
    Resends,
    TooLarge,
    check,
    compare,
    deliver,
)
from sfss.replication.responses import introduction
from sfss.replication.transport import PeerFailed, Transport

log = logging.getLogger("sfss.node")

#: After a failure it is tried again after so many seconds, twice as many each time, up to:
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: A neighbour that could not be reached is knocked at so often (seconds), and told all as soon as it
#: opens: the pauses are for one that is there and cannot do its work.
KNOCK_INTERVAL = 1.0
#: One that has not been asked anything for so long is greeted. Seconds.
_IDLE = 5.0
#: One that could not be told something is not relied upon for so long. Seconds.
_DOUBT = 1.5 * DEFERRAL / 1_000_000
#: How often it is looked whether something has become due, if nobody says so. Seconds.
_LOOK = 0.5
#: Progress of a long comparison is logged so often. Seconds.
_PROGRESS_INTERVAL = 10.0
#: Clocks may be so far apart before that is worth a line in the log. Seconds.
_SKEW = 60.0
#: After so many bytes a conversation that is to be slow is stopped for a while.
_SLICE = 64 * 1024


class Peer:
    """*told* is called with the id of the neighbour at *url*, and what it has now.

    *rate*: bytes a second that a comparison may fetch, 0 for no limit. *interval*: seconds between
    comparisons. *one_compares*: of all neighbours one at a time, or two would be asked for the same. *heard*
    is called with each answer of the neighbour, *lost* when it is not up any more.
    """

    def __init__(
        self,
        url: str,
        replica: Replica,
        engine: Engine,
        transport: Transport,
        *,
        rate: float,
        interval: float,
        one_compares: asyncio.Lock,
        told: Callable[[str | None, list[tuple[str, Version]]], None],
        heard: Callable[["Peer", Message], None],
        lost: Callable[["Peer"], None],
    ):
        self.url = url
        self.up: bool | None = None  #: None: not known yet
        self.caught_up = False  #: whether a comparison has ended since the start
        self.node: str | None = None  #: its id
        self.is_this_node = False
        self.tells: frozenset[str] = frozenset()  #: the nodes that it tells itself, as it says
        self.last_answer: float | None = None  #: seconds since the epoch
        self.last_failure = ""
        self.counts = {"told": 0, "put_off": 0, "damaged": 0, "failures": 0, "comparisons": 0, "fetched": 0}
        self.bytes = {"sent": 0, "received": 0}
        self.catching_up: dict[str, int] | None = None  #: a comparison is under way
        self.history: deque[StateChange] = deque(maxlen=20)
        self._replica = replica
        self._engine = engine
        self._transport = transport
        self._rate = rate
        self._interval = interval
        self._one_compares = one_compares
        self._told = told
        self._heard = heard
        self._lost = lost
        self._wake = asyncio.Event()
        self._again = asyncio.Event()
        self._said: tuple[str, ...] | None = None  # which nodes are told what begins here, as it knows
        self._resends = Resends()
        self._careful = True  # it may have much of the queue from others
        self._believes_knocks = True
        self._silent_from = math.inf  # on time.monotonic's clock
        self._refuses = False
        self._relied_on_from = 0.0  # on time.monotonic's clock
        self._failure_kind: tuple[type, bool] | None = None
        self._skewed = False
        self._compare_at = 0.0  # on time.monotonic's clock
        self._compare_wake = asyncio.Event()
        self._urgent = False
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._forever(self._deliver)),
            asyncio.create_task(self._forever(self._compare_when_due)),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """There may be something to tell."""
        self._wake.set()

    def has_spoken(self, changes: list[Change]) -> None:
        """It has just said something itself: whatever the pause, try again."""
        self._note_clock(changes)
        self._again.set()

    @property
    def can_be_told(self) -> bool:
        """Whether nothing is in the way of telling it what begins here."""
        relied_on = time.monotonic() >= self._relied_on_from
        return bool(self.up) and self.caught_up and relied_on and not self.is_this_node

    def compare_soon(self, *, urgent: bool = False) -> None:
        """*urgent*: whatever other comparisons there are."""
        self._compare_at = 0.0
        self._urgent = self._urgent or urgent
        self._compare_wake.set()

    async def ask(self, kind: str, **fields: Any) -> list[Change]:
        """The changes of the answer to one message. :raises PeerFailed, BadMessage:"""
        # (Not how much is left to tell: the catalog is asked in the engine's thread only.)
        message = encode(kind, **introduction(self._replica), **fields)
        answer = decode(await self._transport.exchange(self.url, message))
        check(self._replica, answer)
        return answer.changes

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work* again and again; what goes wrong with it is waited for, longer each time."""
        pause = SHORTEST_PAUSE
        while not self.is_this_node:
            try:
                await work()
                pause = SHORTEST_PAUSE
            except (PeerFailed, BadMessage, TooLarge) as error:
                self._is_down(error)
                await self._pause_after(error, pause * random.uniform(0.8, 1.2))
                pause = min(pause * 2, LONGEST_PAUSE)
            except Itself:
                if not self.is_this_node:
                    self.is_this_node = True
                    await self._engine.run(self._forget_itself)
                    log.info("one of the neighbours is this node", extra={"neighbour": self.url})
            except (SfssError, OSError, sqlite3.Error) as error:  # our own disk
                if str(error) != self.last_failure:
                    self.last_failure = str(error)
                    log.error(
                        "cannot note what a neighbour says",
                        extra={"neighbour": self.url, "reason": str(error)},
                    )
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            except Exception:
                log.exception("a conversation failed", extra={"neighbour": self.url})
                await asyncio.sleep(LONGEST_PAUSE)

    async def _deliver(self) -> None:
        self._wake.clear()
        # What it answers to a greeting shows that it works, and tells whom it tells.
        silent = not self.up or time.monotonic() > self._silent_from
        greeting = self.up is not None and (silent or self._replica.tells != self._said)
        acked: Acked = await self._converse(
            deliver(
                self._replica,
                self.url,
                self._resends,
                careful=self._careful,
                greeting=greeting,
            )
        )
        if acked.said is not None:
            self._said = acked.said
            if self.up is False and not acked.changes:
                self.compare_soon()
            self._is_up()
        if acked.changes or acked.deferred or acked.damaged:
            self.counts["told"] += len(acked.changes)
            self.counts["put_off"] += acked.deferred
            self.counts["damaged"] += acked.damaged
            if acked.damaged:
                log.warning(
                    "contents arrived damaged; sending them again",
                    extra={"neighbour": self.url, "files": acked.damaged},
                )
            self._told(self.node, acked.changes)
            self._note_refusals(acked)
        else:
            self._careful = not self.up
            await _wait(self._wake, _LOOK)

    def _note_refusals(self, acked: Acked) -> None:
        """Log when it begins to refuse changes, and why, and not each one."""
        if acked.reason:
            self._relied_on_from = time.monotonic() + _DOUBT
            self.last_failure = acked.reason
            if not self._refuses:
                log.error(
                    "a neighbour refuses changes; trying again now and then",
                    extra={"neighbour": self.url, "changes": acked.deferred, "reason": acked.reason},
                )
        elif self._refuses and acked.changes:
            log.info("a neighbour takes changes again", extra={"neighbour": self.url})
        self._refuses = bool(acked.reason) or (self._refuses and not acked.changes)

    async def _compare_when_due(self) -> None:
        while time.monotonic() < self._compare_at:
            self._compare_wake.clear()
            await _wait(self._compare_wake, self._compare_at - time.monotonic())
        # (One that has not answered yet may never do so: the others do not wait for it.)
        while self.up and not self._urgent and self._one_compares.locked():
            self._compare_wake.clear()
            await _wait(self._compare_wake, _LOOK)
        in_turn = self.up and not self._urgent
        self._compare_at, self._urgent = math.inf, False
        try:
            async with self._one_compares if in_turn else contextlib.nullcontext():
                await self._compare()
        except BaseException:
            self._compare_at = 0.0
            raise
        # A comparison that was asked for meanwhile has to begin after that.
        following = time.monotonic() + self._interval * random.uniform(0.8, 1.2)
        self._compare_at = min(self._compare_at, following)
        self._is_up()

    async def _compare(self) -> None:
        self.catching_up = {"fetched_files": 0, "fetched_bytes": 0, "of_files": 0}
        began = time.monotonic()
        try:
            found: Compared = await self._converse(compare(self._replica, self.url), rate=self._rate)
        finally:
            self.catching_up = None
        self.counts["comparisons"] += 1
        self.counts["fetched"] += found.fetched
        if not self.caught_up or found.fetched:
            log.info(
                "compared with a neighbour",
                extra={
                    "neighbour": self.url,
                    **found._asdict(),
                    "seconds": round(time.monotonic() - began, 3),
                },
            )
        self.caught_up = self.caught_up or found.complete

    async def _converse(self, conversation: Conversation[Any], rate: float = 0.0) -> Any:
        """Run *conversation* to its end; what it returns."""
        answer: Message | TooLarge | None = None
        logged = time.monotonic()
        while True:
            request, result, ended = await self._engine.run(partial(_next, conversation, answer))
            if ended:
                return result
            try:
                data = await self._transport.exchange(self.url, request)
            except TooLarge as error:
                answer = error
                continue
            self.bytes["sent"] += sum(map(len, request))
            self.bytes["received"] += len(data)
            answer = decode(data)
            self.node = check(self._replica, answer)
            self.last_answer, self._silent_from = time.time(), time.monotonic() + _IDLE
            self._heard(self, answer)
            self._note_clock(answer.changes)
            if self.catching_up is not None:
                self._note_progress(self.catching_up, answer.fields, answer.changes)
                if time.monotonic() - logged > _PROGRESS_INTERVAL:
                    logged = time.monotonic()
                    log.info("catching up", extra={"neighbour": self.url, **self.catching_up})
            if rate and len(data) > _SLICE:
                await asyncio.sleep(len(data) / rate)

    def _note_clock(self, changes: list[Change]) -> None:
        """Say once that its clock is wrong, or ours."""
        ahead = max((self._replica.clock.ahead(c.version.stamp) for c in changes), default=0.0)
        if ahead > _SKEW and not self._skewed:
            self._skewed = True
            log.warning(
                "changes come from the future: a clock is wrong",
                extra={"neighbour": self.url, "seconds": round(ahead)},
            )

    @staticmethod
    def _note_progress(progress: dict[str, int], fields: dict[str, Any], changes: list[Change]) -> None:
        contents = [change for change in changes if change.content is not None]
        progress["fetched_files"] += len(contents)
        progress["fetched_bytes"] += sum(change.size for change in contents)
        if type(fields.get("files")) is int:
            progress["of_files"] = fields["files"]

    def _forget_itself(self) -> None:
        replica = self._replica
        replica.use_peers([url for url in replica.peers if url != self.url])

    # Up and down.

    def _is_up(self) -> None:
        self._believes_knocks = True
        if not self.up:
            if self.up is not None:
                log.info("neighbour is back", extra={"neighbour": self.url})
                self._note("up", "it answers")
            self.up = True
            self.last_failure = ""
            self._again.set()

    def _is_down(self, error: SfssError) -> None:
        self.counts["failures"] += 1
        self._careful = True
        self._compare_at = 0.0
        self.last_failure = str(error)
        # That it cannot be reached is one thing, and what it says when it can be is another.
        kind = (type(error), getattr(error, "reached", True))
        if self.up is not False or kind != self._failure_kind:
            self.up, self._failure_kind = False, kind
            log.warning("neighbour fails", extra={"neighbour": self.url, "reason": str(error)})
            self._note("down", str(error))
            self._said = None
            self._lost(self)

    def _note(self, state: str, reason: str) -> None:
        self.history.append(StateChange(time.time(), self.url, state, reason[:200]))

    async def _pause_after(self, error: SfssError, pause: float) -> None:
        """Wait so long; not for a neighbour that was away and is there again."""
        self._again.clear()
        until = time.monotonic() + pause
        away = isinstance(error, PeerFailed) and not error.reached
        while (left := until - time.monotonic()) > 0:
            if await _wait(self._again, min(left, KNOCK_INTERVAL)):
                return
            if away and left > KNOCK_INTERVAL:
                opened = await self._transport.knock(self.url)
                believed, self._believes_knocks = self._believes_knocks, not opened
                if opened and believed:
                    return


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Whether *event* came in time."""
    # (Not asyncio.wait_for: before Python 3.12 it may swallow that the task is cancelled.)
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _next(
    conversation: Conversation[Any], answer: Message | TooLarge | None
) -> tuple[list[Piece] | None, Any, bool]:
    """The next request, or the result; whether it is that."""
    try:
        if isinstance(answer, TooLarge):
            return conversation.throw(answer), None, False
        if answer is None:
            return next(conversation), None, False
        return conversation.send(answer), None, False
    except StopIteration as end:  # (it cannot travel through a future)
        return None, end.value, True
