"""One Beansdb node: its connections, and for which of its parts it is trusted.

A connection is examined before it is used, and while it is not trusted for all parts, again and again: what was
started when, and whether the marks tell the truth (:mod:`sfss.beansdb.marks`). A node that is not trusted is *fenced*:
it is given what is written, and what it says counts for nothing, in reads and in acknowledgements.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.hashing import hash_text, key_hash
from sfss.beansdb.marks import Mark, decode
from sfss.beansdb.route import MARK, Part
from sfss.memcache.connection import Connection
from sfss.memcache.endpoint import Endpoint, Limits
from sfss.memcache.errors import ProxyDown, ProxyError
from sfss.memcache.keys import probe_key

log = logging.getLogger("sfss.beansdb")

#: What a node is for one of its parts.
UNKNOWN, FENCED, FOREIGN, TRUSTED = range(4)
STATES = ("unknown", "fenced", "foreign", "trusted")
#: How often a connection that is not trusted is examined again, and one that is; seconds.
EXAMINE_PAUSE, EXAMINE_AGAIN = 0.25, 2.0
#: Of the writes that a node is known to have missed, so many are kept in all its parts; beyond, all is compared.
MOST_MISSED = 10_000


class Node(Endpoint):
    """The node at *host*:*port*, whose name is *address*, with *parts* of *count*."""

    def __init__(self, address: str, host: str, port: int, limits: Limits, parts: Sequence[Part], count: int):
        super().__init__(host, port, limits, NodeConnection, "beansdb node")
        self.name = address
        self.parts = list(parts)
        self.states = bytearray(count)  #: by part, as the last examination found them
        self.marks: list[Mark | None] = [None] * count  #: by part: what it says, be it true or not
        self.missed: list[set[int]] = [set() for _ in range(count)]  #: by part, hashes of keys
        #: Of each; with one more than these, all is to be compared.
        self.most_missed = MOST_MISSED // max(1, len(self.parts))
        self.fenced_seconds = 0.0  #: how long it was up and not trusted for all
        self._fenced_since = -1.0
        self._count = count
        self._mark_keys = {part.number: part.reserved_key(MARK) for part in self.parts}
        self._watching: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """From now on, examine what is not trusted."""
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await super().close()

    @property
    def state(self) -> str:
        """For all of its parts: the worst."""
        if not self.up:
            return "down"
        return STATES[min((self.states[part.number] for part in self.parts), default=UNKNOWN)]

    def ready(self) -> NodeConnection | None:
        """A connection that can be used at once."""
        if not self.up or self.suspect:
            return None
        connection = self.ready_connection() or self.least_busy()
        return connection if isinstance(connection, NodeConnection) else None

    def note_missed(self, part: int, hashed: int) -> None:
        """It has not said that it has the last write of a key."""
        missed = self.missed[part]
        if len(missed) <= self.most_missed:
            missed.add(hashed)

    async def open_connection(self) -> Connection:
        connection = await super().open_connection()
        assert isinstance(connection, NodeConnection)
        connection.trusted = bytearray(self._count)  # for nothing yet
        return connection

    async def open_another(self) -> NodeConnection:
        """A connection of its own for who asks, examined; it must close it. :raises ProxyError:"""
        connection = await self.open_connection()
        assert isinstance(connection, NodeConnection)
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                await self.examine(connection)
        except TimeoutError:
            connection.close()
            raise ProxyDown("no reply in time") from None
        except BaseException:
            connection.close()
            raise
        return connection

    async def admit(self, connection: Connection) -> None:
        assert isinstance(connection, NodeConnection)
        await self.examine(connection)

    async def examine(self, connection: NodeConnection, again: bool = False) -> None:
        """Find out for which parts *connection* can be trusted; *again*: also of those for which it is.

        :raises ProxyError:
        """
        deadline = float("inf")  # the connection's own time bounds it
        asked = [part for part in self.parts if again or not connection.trusted[part.number]]
        # All in one write. The first shows whether it is a gobeansdb (see the connection).
        _, figures, *found = await asyncio.gather(
            connection.look(hash_text(key_hash(probe_key())), deadline),
            connection.figures(deadline),
            *(connection.fetch(self._mark_keys[part.number], deadline) for part in asked),
        )
        connection.born, connection.pid = _birth(figures)
        for part, value in zip(asked, found):
            mark = None if value is None else decode(value.content)
            if mark is None or mark.node != self.name:
                mark, state = None, FENCED
            elif not mark.admits(part.members):
                mark, state = None, FOREIGN
            else:
                is_true = mark.is_of(connection.born, connection.pid) and not mark.is_leaving(self.name)
                state = TRUSTED if is_true else FENCED
            connection.trusted[part.number] = state == TRUSTED
            self.states[part.number] = state
            self.marks[part.number] = mark
        self._note_state()

    def _note_state(self) -> None:
        now = asyncio.get_running_loop().time()
        fenced = any(self.states[part.number] != TRUSTED for part in self.parts)
        if self._fenced_since >= 0:
            self.fenced_seconds += now - self._fenced_since
        was_fenced, self._fenced_since = self._fenced_since >= 0, now if fenced else -1.0
        if fenced != was_fenced:
            if fenced:
                log.warning("beansdb node fenced", extra={"node": self.name, "state": self.state})
            else:
                log.info("beansdb node trusted", extra={"node": self.name})
            reason = "restarted, emptied or new: to be compared" if fenced else "compared and repaired"
            self.endpoint_stats.changed(time.time(), self.state, reason)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        again = loop.time() + self.examined_every
        while True:
            await asyncio.sleep(EXAMINE_PAUSE)
            self.ready()  # there is to be a connection, even while nobody asks
            is_time = loop.time() >= again
            if is_time:
                again = loop.time() + self.examined_every
            for connection in list(self.connections):
                if not isinstance(connection, NodeConnection) or not connection.usable:
                    continue
                if is_time or not self._is_settled(connection):
                    try:
                        await self.examine(connection, is_time)
                    except ProxyError:
                        continue  # it is lost, which its owner is told
                if is_time:
                    self._distrust(connection)
                    is_time = False

    @property
    def examined_every(self) -> float:
        """So often it is looked whether the marks still say the same, seconds."""
        return EXAMINE_AGAIN * max(1.0, len(self.parts) / 32)

    def _distrust(self, examined: NodeConnection) -> None:
        """Members may have changed (:mod:`sfss.beansdb.move`): then the trust in a connection ends before it does. What
        was found on one connection holds for all to the same process.
        """
        for connection in self.connections:
            if isinstance(connection, NodeConnection) and connection.pid == examined.pid:
                for part in self.parts:
                    if not examined.trusted[part.number]:
                        connection.trusted[part.number] = False

    def _is_settled(self, connection: NodeConnection) -> bool:
        return all(connection.trusted[part.number] for part in self.parts)


def _birth(figures: dict[str, str]) -> tuple[int, int]:
    """When a node was started, by its own clock, and as which process."""
    try:
        return int(figures["time"]) - int(figures["uptime"]), int(figures["pid"])
    except (KeyError, ValueError):
        raise ProxyDown("its stats have no time, uptime and pid: it is no Beansdb node") from None
