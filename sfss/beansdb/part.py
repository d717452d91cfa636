"""What one process knows of a part of the cluster: its nodes, which of them can be asked, and its versions."""

import asyncio
import logging
import random

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.node import FOREIGN, TRUSTED, Node
from sfss.beansdb.route import Part
from sfss.beansdb.units import Units
from sfss.errors import NoStoreAvailable

log = logging.getLogger("sfss.beansdb")


class Replicas:
    """*nodes*: all that keep *part*. *quorum*: so many trusted ones decide, in reads and writes."""

    def __init__(self, part: Part, nodes: list[Node], quorum: int, units: Units):
        self.part = part
        self.index = part.number
        self.nodes = nodes
        self.quorum = quorum
        self.units = units
        self.first_turn = 0
        self.foreign_writes = 0  #: values that were found of writers who do not keep to the rules
        self.tasks: set[asyncio.Task[None]] = set()  #: of writes that wait

    def ready(self) -> list[tuple[Node, NodeConnection]]:
        """Those that can be asked at once, trusted or not."""
        found = []
        for node in self.nodes:
            connection = node.ready()
            if connection is not None:
                found.append((node, connection))
        return found

    def trusted(self) -> list[tuple[Node, NodeConnection]]:
        """Those whose answers count, the least loaded first."""
        index = self.index
        found = []
        for node in self.nodes:
            connection = node.ready()
            if connection is not None and connection.trusted[index]:
                found.append((node, connection))
        count = len(found)
        if count > 1:
            # The one with the least to do is asked for the value; of equals, by turns.
            self.first_turn += 1
            turn = self.first_turn % count
            if turn:
                found = found[turn:] + found[:turn]
            best, least = 0, found[0][1].load
            for number in range(1, count):
                load = found[number][1].load
                if load < least:
                    best, least = number, load
            if best:
                found[0], found[best] = found[best], found[0]
        return found

    @property
    def horizon(self) -> int:
        """A unit: tombstones up to it may be missing on some nodes (:mod:`sfss.beansdb.purge`)."""
        index = self.index
        horizons = []
        for node in self.nodes:
            mark = node.marks[index]
            if mark is not None and node.states[index] == TRUSTED:
                horizons.append(mark.horizon)
        return min(horizons, default=0)

    def unavailable(self) -> NoStoreAvailable:
        """Why nobody can say."""
        words = []
        for node in self.nodes:
            if not node.up or node.suspect:
                words.append(f"{node.name} cannot be reached")
            elif node.states[self.index] == FOREIGN:
                words.append(f"{node.name} belongs to other members than ours")
            elif not any(
                isinstance(c, NodeConnection) and c.trusted and c.trusted[self.index]
                for c in node.connections
            ):
                words.append(f"{node.name} is fenced until it has been compared with the others")
        why = ", ".join(words) or "they do not answer in time"
        return NoStoreAvailable(
            f"{self.quorum} of {len(self.nodes)} Beansdb nodes are needed to answer: {why}. Try again later."
        )

    def note_foreign(self, key: bytes) -> None:
        """A value has a version of ours and no label: somebody else writes, who does not keep to the rules."""
        if not self.foreign_writes:
            log.error(
                "somebody else writes to the Beansdb nodes: files may be lost. Stop all proxies of this cluster",
                extra={"key": key.decode("ascii", "replace")},
            )
        self.foreign_writes += 1

    def jitter(self, seconds: float) -> float:
        return seconds * random.uniform(0.5, 1.0)
