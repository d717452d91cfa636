"""What is looked at before anything is served: whether the nodes are what the route says."""

import asyncio
import logging
import statistics
from collections.abc import Callable

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.node import FOREIGN, Node
from sfss.beansdb.route import Route
from sfss.beansdb.serving import serves
from sfss.errors import StoreUnusable
from sfss.memcache.endpoint import Limits
from sfss.memcache.errors import ProxyDown, ProxyError
from sfss.memcache.protocol import ProtocolError

log = logging.getLogger("sfss.beansdb")

#: A clock that is so far from the nodes' would give versions that are of no use. Seconds.
MOST_SKEW = 600.0


class _OtherMembers(StoreUnusable):
    """A node belongs to other members than the route says."""


async def check(
    route: Route, addresses: dict[str, tuple[str, int]], limits: Limits, wall: Callable[[], float]
) -> None:
    """Ask every node that can be reached; the others are only told of.

    :raises StoreUnusable: if one is no gobeansdb, does not serve a bucket that the route gives it, or belongs to
        other members; or if this machine's clock is far from the nodes'.
    """
    count = len(route.parts)
    nodes = [
        Node(address, *addresses[address], limits, route.parts_of(address), count)
        for address in route.addresses
    ]
    clocks: list[int] = []
    refusals: list[BaseException] = []
    for found in await asyncio.gather(*(_check_node(node, limits) for node in nodes), return_exceptions=True):
        if isinstance(found, BaseException):
            refusals.append(found)
        elif found:
            clocks.append(found)
    if refusals:
        # With an old route, a node that has left lacks its bucket, too. The reason is that the members are others.
        raise min(refusals, key=lambda refusal: not isinstance(refusal, _OtherMembers))
    if clocks and abs(skew := wall() - statistics.median(clocks)) > MOST_SKEW:
        raise StoreUnusable(
            f"The clock of this machine is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the Beansdb"
            " nodes': versions of files come from it. Set it right, and start again."
        )


async def _check_node(node: Node, limits: Limits) -> int:
    """The node's clock, seconds since the epoch; 0 if it cannot be reached."""
    try:
        connection = await node.open_connection()
        assert isinstance(connection, NodeConnection)
    except ProxyDown as error:
        log.warning("beansdb node down", extra={"node": node.name, "reason": str(error)})
        return 0
    try:
        async with asyncio.timeout(limits.operation_timeout):
            await node.examine(connection)
            figures: dict[str, str] = await connection.figures(float("inf"))
            for part in node.parts:
                if node.states[part.number] == FOREIGN:
                    raise _OtherMembers(
                        f"The Beansdb node {node.name} belongs to other members than this route says. All gateways "
                        "of a cluster must have the same route, and name the nodes alike; members are changed by "
                        "'sfss beansdb move'."
                    )
            for part in node.parts:
                if not await serves(connection, part):
                    bucket = f"bucket {part.prefix.decode()}" if part.prefix else "all keys"
                    raise StoreUnusable(
                        f"The Beansdb node {node.name} does not keep {bucket}, which the route gives it: its own "
                        "route.yaml must have it under main."
                    )
        return int(figures["time"])
    except ProtocolError as error:
        raise StoreUnusable(f"{node.name} cannot be used: {error}.") from None
    except (ProxyError, TimeoutError) as error:
        log.warning(
            "beansdb node down", extra={"node": node.name, "reason": str(error) or "no reply in time"}
        )
        return 0
    finally:
        connection.close()
