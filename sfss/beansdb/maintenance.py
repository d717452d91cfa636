"""What goes on in the background of a part: repair of fenced nodes, and of what a node is known to have missed."""

import asyncio
import logging
import time
from collections import deque

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.copying import PATIENCE, Copied, Copier
from sfss.beansdb.hashing import hash_text
from sfss.beansdb.node import FENCED, TRUSTED, Node
from sfss.beansdb.part import Replicas
from sfss.beansdb.repair import NotNow, Repair
from sfss.beansdb.versions import Seen
from sfss.memcache.errors import ProxyError

log = logging.getLogger("sfss.beansdb")

#: Seconds between two looks.
PAUSE = 1.0
#: So many keys that were missed are repaired at once.
_AT_ONCE = 64
#: A write is this old before it counts as missed: it may be on its way. Seconds.
_ON_ITS_WAY = 3.0


class Maintenance:
    """Of one part."""

    def __init__(self, replicas: Replicas):
        self._replicas = replicas
        self._told = ""
        self._missed_since: dict[str, float] = {}
        self.repair: Repair | None = None  #: under way
        self.repairs = 0  #: nodes that were marked
        self.copied = Copied()

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._replicas.jitter(2 * PAUSE) / 1.5)
            self._raise_floor()
            try:
                await self._repair_fenced()
                await self._repair_missed()
            except NotNow as reason:
                self._tell(str(reason))
            except ProxyError as error:
                log.info("beansdb repair interrupted", extra={"reason": str(error)})
            finally:
                self.repair = None

    def _raise_floor(self) -> None:
        """No version is given behind the horizon of a purge. (Nor is one by clocks that are right.)"""
        units = self._replicas.units
        units.floor = max(units.floor, self._replicas.horizon)

    def _tell(self, reason: str) -> None:
        """Why nothing is repaired, once."""
        if reason != self._told:
            self._told = reason
            log.info(
                "beansdb repair waits", extra={"part": self._replicas.part.prefix.decode(), "reason": reason}
            )

    async def _repair_fenced(self) -> None:
        index = self._replicas.index
        fenced = [
            node
            for node in self._replicas.nodes
            if node.up and not node.suspect and node.states[index] == FENCED and node.ready() is not None
        ]
        if not fenced:
            self._told = ""
            return
        await self._run(Repair(self._replicas, fenced))

    async def _run(self, repair: Repair) -> None:
        self.repair = repair
        began = time.perf_counter()
        try:
            marked = await repair.run()
        finally:
            copied = repair.copied
            self.copied.keys += copied.keys
            self.copied.bytes += copied.bytes
            self.copied.unreadable += copied.unreadable
            self.copied.conflicts += copied.conflicts
        for node in marked:
            self.repairs += 1
            node.missed[self._replicas.index].clear()
            log.info(
                "beansdb node repaired",
                extra={
                    "node": node.name,
                    "part": self._replicas.part.prefix.decode(),
                    "keys": copied.keys,
                    "bytes": copied.bytes,
                    "seconds": round(time.perf_counter() - began, 1),
                },
            )

    async def _repair_missed(self) -> None:
        """Give nodes what they are known not to have."""
        index = self._replicas.index
        now = asyncio.get_running_loop().time()
        for node in self._replicas.nodes:
            missed = node.missed[index]
            if not missed:
                self._missed_since.pop(node.name, None)
                continue
            since = self._missed_since.setdefault(node.name, now)
            if node.states[index] != TRUSTED or node.ready() is None or now - since < _ON_ITS_WAY:
                continue
            if len(missed) > node.most_missed:
                missed.clear()
                await self._run(Repair(self._replicas, []))
                continue
            await self._give(node, missed)
            self._missed_since.pop(node.name, None)

    async def _give(self, node: Node, missed: set[int]) -> None:
        left = deque(missed)
        while left:
            batch = [left.popleft() for _ in range(min(len(left), _AT_ONCE))]
            ready = [connection for _, connection in self._replicas.trusted()]
            own = node.ready()
            if own is None or len(ready) < 2:
                return
            copier = Copier(ready, self.copied, self._replicas.horizon)
            await asyncio.gather(*(_look_and_make_equal(hash_text(hashed), copier) for hashed in batch))
            missed.difference_update(batch)


async def _look_and_make_equal(hashed: bytes, copier: Copier) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE

    async def look(connection: NodeConnection) -> Seen:
        seen: Seen = await connection.look(hashed, deadline)
        return seen

    seen = await asyncio.gather(*(look(connection) for connection in copier.connections))
    await copier.make_equal(hashed, seen)
