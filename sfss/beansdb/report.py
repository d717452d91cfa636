"""What an operator asks: how the nodes are, and where they differ."""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from sfss.beansdb.cluster import Cluster
from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.copying import Copied, Copier
from sfss.beansdb.node import TRUSTED, Node
from sfss.beansdb.part import Replicas
from sfss.beansdb.repair import NotNow, progress_of
from sfss.beansdb.route import LEASE
from sfss.beansdb.tree import unequal
from sfss.memcache.errors import ProxyError

#: Seconds that a node has for each answer.
_PATIENCE = 5.0


class NodeReport(NamedTuple):
    node: str
    state: str  #: see :attr:`Node.state`
    trusted: int  #: so many of its buckets
    buckets: int
    keys: int | None  #: that have a value; None: it does not say
    uptime: int | None  #: seconds
    repair: str  #: what is being repaired; empty for nothing


async def report(cluster: Cluster) -> list[NodeReport]:
    return [await _report(node, cluster) for node in cluster.nodes]


async def _report(node: Node, cluster: Cluster) -> NodeReport:
    trusted = sum(node.states[part.number] == TRUSTED for part in node.parts) if node.up else 0
    keys = uptime = None
    repair = ""
    connection = node.ready()
    if connection is not None:
        try:
            figures = await connection.figures(cluster.soon(_PATIENCE))
            keys, uptime = int(figures["curr_items"]), int(figures["uptime"])
            repair = await _repair_of(node, connection, cluster)
        except (ProxyError, KeyError, ValueError):
            repair = "it does not answer"
    return NodeReport(node.name, node.state, trusted, len(node.parts), keys, uptime, repair)


async def _repair_of(node: Node, connection: NodeConnection, cluster: Cluster) -> str:
    words = []
    for part in node.parts:
        if node.states[part.number] == TRUSTED:
            continue
        value = await connection.fetch(part.reserved_key(LEASE), cluster.soon(_PATIENCE))
        progress = None if value is None else progress_of(value.content)
        if progress is not None:
            name = f"bucket {part.prefix.decode()} " if part.prefix else ""
            words.append(f"{name}{progress.share:.0%}, {progress.keys} keys copied")
    return "; ".join(words)


class Difference(NamedTuple):
    """A key of which the nodes do not have the same."""

    hashed: str  #: of the key, 16 hex digits
    versions: dict[str, int]  #: by node; negative: a native tombstone; 0: nothing


async def compare(replicas: Replicas, progress: Callable[[float], object]) -> AsyncIterator[Difference]:
    """All differences between the nodes that can be reached. *progress* is told how far it is, 0 to 1.

    :raises NotNow: if there are not two. :raises ProxyError: if one fails meanwhile.
    """
    ready = replicas.ready()
    if len(ready) < 2:
        raise NotNow("fewer than two nodes can be reached")
    connections = [connection for _, connection in ready]
    copier = Copier(connections, Copied(), replicas.horizon)
    async for share, found in unequal(connections, replicas.part):
        for hashed, seen in found:
            if await copier.differs(hashed, seen):
                versions = {node.name: each.version for (node, _), each in zip(ready, seen)}
                yield Difference(hashed.decode(), versions)
        progress(share)
