"""The writer id of a process in one part, and the units that it may use.

Each of the 126 ids has a *register* in the part, a key of its own. Its version only grows, and *is* the end of the
range that was reserved last: a node takes a version only if it is greater than what it has. A process reserves the
range between two versions of a register by replacing the first, which holds its own token in a quorum of trusted
nodes, by the second, and seeing its token with the second in a quorum of them. The first claim of an id reserves
nothing; only what follows it does. So whoever takes an id begins above all that anybody with that id has used: over
restarts, and on other machines, without a clock or a number that a hand must give.

To live together in peace, a process takes an id that nobody has renewed for :data:`IDLE` seconds (by the clock of the
node that tells). That is a courtesy: two processes that take one id at the same moment are told apart by the
registers, and one of them takes another.
"""

import asyncio
import logging
import os
import random
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.hashing import hash_text, key_hash
from sfss.beansdb.part import Replicas
from sfss.beansdb.settle import quorum_of
from sfss.beansdb.units import Units
from sfss.beansdb.versions import PURGE_WRITER, WRITER_BITS, label
from sfss.memcache.errors import ProxyError

T = TypeVar("T")

log = logging.getLogger("sfss.beansdb")

IDS = range(PURGE_WRITER - 1)
#: An id whose register nobody has touched for so long is free. Seconds.
IDLE = 90.0
#: How often a register is renewed, and how long to wait after a failure. Seconds.
RENEWAL, PAUSE = 20.0, 0.5
#: So many units are reserved beyond the clock, or beyond what was wanted.
AHEAD = 60
#: Seconds that the nodes have to answer.
PATIENCE = 2.0
#: So many ids are looked at, and the one that was used longest ago is taken.
_SAMPLE = 6
#: In place of a token, in the register of an id that was given back.
_FREE = b"-"


class Register:
    """The writer id of this process in one part, which gives *units* their range. *ids*: those to choose from."""

    def __init__(self, replicas: Replicas, ids: range = IDS):
        self._replicas = replicas
        self._ids = ids
        self._units: Units = replicas.units
        self._token = b""
        self._key = b""
        self._hashed = b""
        self._version = 0  # the last that is known to hold our token
        self.claims = 0

    async def keep(self) -> None:
        """Take an id, renew it, take another one when it is lost; for ever."""
        while True:
            try:
                if self._units.writer < 0:
                    done = await self._claim()
                else:
                    done = await self._renew()
            except (ProxyError, TimeoutError):
                done = False
            self._units.want.clear()
            if done and self._units.writer >= 0 and self._units.wanted <= self._units.limit:
                try:
                    async with asyncio.timeout(RENEWAL):
                        await self._units.want.wait()
                except TimeoutError:
                    continue
            else:
                await asyncio.sleep(self._replicas.jitter(PAUSE))

    async def release(self) -> None:
        """Let others take the id at once. (If that fails they wait a little.)"""
        if self._units.writer >= 0:
            self._units.lose()
            token, self._token = self._token, _FREE
            await self._write(self._version + 1, token)

    async def _claim(self) -> bool:
        chosen = await self._choose()
        if chosen is None:
            return False
        writer, newest = chosen
        self._take_key(writer)
        self._token = secrets.token_hex(8).encode()
        # The claim reserves nothing: it only puts our token there.
        claimed = newest + 1 + random.randrange(32)
        if not await self._write(claimed, None):
            return False
        self._version = claimed
        limit = self._units.clock() + AHEAD
        reserved = max(limit << WRITER_BITS, claimed + (AHEAD << WRITER_BITS))
        if not await self._write(reserved, self._token):
            return False
        self._version = reserved
        # All units that begin above the first version and end below the second are ours alone.
        self.claims += 1
        self._units.use(writer, (claimed >> WRITER_BITS), (reserved >> WRITER_BITS) - 1)
        log.debug("beansdb writer id", extra={"part": self._replicas.index, "writer": writer})
        return True

    async def _renew(self) -> bool:
        limit = max(self._units.clock(), self._units.wanted) + AHEAD
        reserved = max(limit << WRITER_BITS, self._version + 1)
        written = await self._write(reserved, self._token)
        if written:
            self._version = reserved
            self._units.raise_limit((reserved >> WRITER_BITS) - 1)
            return True
        if written is None:
            log.info(
                "beansdb writer id lost", extra={"part": self._replicas.index, "writer": self._units.writer}
            )
            self._units.lose()
        return False

    def _take_key(self, writer: int) -> None:
        self._key = self._replicas.part.reserved_key(f"writer-{writer}")
        self._hashed = hash_text(key_hash(self._key))

    async def _choose(self) -> tuple[int, int] | None:
        """An id, and the newest version of its register; None if none is free, or too few nodes can say."""
        best: tuple[float, int, int] | None = None
        for writer in random.sample(self._ids, min(_SAMPLE, len(self._ids))):
            self._take_key(writer)
            found = await self._ask_all(self._look)
            if len(found) < self._replicas.quorum:
                return None
            newest = max(version for version, _ in found)
            idle = min(idle for _, idle in found)
            if idle == float("inf"):
                return writer, newest
            if idle >= IDLE and (best is None or idle > best[0]):
                best = idle, writer, newest
        return None if best is None else best[1:]

    async def _look(self, connection: NodeConnection, deadline: float) -> tuple[int, float]:
        """The version of the register in a node, and for how long nobody has touched it."""
        figures, found, value = await asyncio.gather(
            connection.figures(deadline),
            connection.meta(self._key, deadline),
            connection.fetch(self._key, deadline),
        )
        if found is None or value is None:
            return 0, float("inf")
        version, _, _, _, modified = found.split()
        if value.content.startswith(_FREE + b" "):
            return int(version), float("inf")
        return int(version), float(figures["time"]) - float(modified)

    async def _write(self, version: int, token: bytes | None) -> bool | None:
        """Whether a quorum held *token* (None: that is of no interest), and then our value with this *version*.

        None: no, and somebody else's token is there.
        """
        value = b"%b %d %b" % (self._token, version, _who())

        async def write(connection: NodeConnection, deadline: float) -> tuple[bool, bool, bool]:
            found, seen, kept = await asyncio.gather(
                connection.fetch(self._key, deadline),
                connection.store(self._key, self._hashed, label(version, False), version, value, deadline),
                connection.fetch(self._key, deadline),
            )
            held = token is None or (found is not None and found.content.startswith(token + b" "))
            ours = kept is not None and seen.version == version and kept.content == value
            foreign = kept is not None and not kept.content.startswith(self._token + b" ")
            return held, ours, foreign

        answers = await self._ask_all(write)
        quorum = self._replicas.quorum
        if sum(held for held, _, _ in answers) >= quorum and sum(ours for _, ours, _ in answers) >= quorum:
            return True
        return None if any(foreign for _, _, foreign in answers) else False

    async def _ask_all(self, ask: Callable[[NodeConnection, float], Awaitable[T]]) -> list[T]:
        """What trusted nodes answer: a quorum, if possible, and those that come soon after."""
        deadline = asyncio.get_running_loop().time() + PATIENCE

        async def one(connection: NodeConnection) -> T | None:
            try:
                return await ask(connection, deadline)
            except ProxyError:
                return None

        asked = [one(connection) for _, connection in self._replicas.trusted()]
        return [answer for answer in await quorum_of(asked, self._replicas.quorum) if answer is not None]


def _who() -> bytes:
    """For people who look at a register."""
    return f"{socket.gethostname()}:{os.getpid()}".encode("ascii", "replace")
