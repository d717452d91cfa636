"""Other members for a part, while it serves.

A quorum of the old members and one of the new ones must always have a node in common. So members change one at a time,
and a node that leaves must be *unable to answer* before the new ones count: then the old quorum is all that stay, and
meets every new one. The steps, each of which can be done again:

1. *Copy* everything to the node that joins. Nobody trusts it yet.
2. The leaving node's own route is changed, and it is restarted (or it is stopped for good): a hand does that.
3. *Announce*: those that stay are compared, and their marks say which members come next. From then on gateways with the
   old route and with the new one may work side by side. No gateway repairs the node that leaves. (If one of those that
   stay has failed in between, the leaving one must get its route back first: it may be the only one to have a write.)
4. *Admit*: the node that joins is repaired, and gets its mark.
5. All gateways are restarted with the new route: by a hand.
6. *Finish*: the marks say the new members only. A gateway with the old route is refused.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

from sfss.beansdb.checks import serves
from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.copying import Copied, Copier
from sfss.beansdb.marks import Mark
from sfss.beansdb.node import Node
from sfss.beansdb.part import Replicas
from sfss.beansdb.remark import Remark
from sfss.beansdb.repair import NotNow, Repair, keep, make_all_equal
from sfss.beansdb.route import MARK, Route, RouteError
from sfss.beansdb.tree import entries, leaves
from sfss.memcache.errors import ProxyError

#: Seconds between the end of a node that leaves and the announcement: a write that it has still acknowledged has then
#: reached the others, or was given up.
SETTLING = 30.0


def changed(old: Route, new: Route) -> list[int]:
    """The parts whose members change. :raises RouteError: if there are not the same parts."""
    if len(old.parts) != len(new.parts):
        raise RouteError(f"the routes have {len(old.parts)} and {len(new.parts)} buckets: they must be alike")
    return [part.number for part, then in zip(old.parts, new.parts) if part.members != then.members]


class Move:
    """Of one part: *old* and *new* are how gateways with either route see it."""

    def __init__(self, old: Replicas, new: Replicas):
        self._old = old
        self._new = new
        self.part = new.part
        self.joining = [node for node in new.nodes if node.name not in old.part.members]
        self.leaving = [node for node in old.nodes if node.name not in new.part.members]
        self._staying = [node for node in old.nodes if node.name in new.part.members]
        self.copied = Copied()

    def check(self) -> None:
        """:raises RouteError: if it is too much at once."""
        name = f"bucket {self.part.prefix.decode()}" if self.part.prefix else "the cluster"
        if len(self._staying) < self._old.quorum:
            raise RouteError(
                f"{name}: {len(self._staying)} of its nodes stay, and {self._old.quorum} are needed to serve meanwhile."
                " Change fewer nodes at once"
            )
        if self._old.quorum + self._new.quorum <= len(self._new.nodes):
            raise RouteError(f"{name}: too many nodes join at once. Add one at a time")

    def is_announced(self) -> bool:
        """Whether all that stay say that the new members come, or are there."""
        by_name = {node.name: node.marks[self.part.number] for node in self._new.nodes}
        return all(by_name[node.name] is not None for node in self._staying)

    def is_admitted(self) -> bool:
        return len(self._new.trusted()) == len(self._new.nodes)

    async def copy(self) -> AsyncIterator[float]:
        """Step 1; how far it is, 0 to 1.

        :raises NotNow: if a node that joins has something of its own.
        :raises ProxyError: when a node fails.
        """
        if not self.joining:
            return
        opened: list[NodeConnection] = []
        try:
            for node in self._old.nodes:
                opened.append(await node.open_another())
            sources = [link for link in opened if link.trusted[self.part.number]]
            if len(sources) < self._old.quorum:
                raise NotNow("too few of the nodes are trusted: sfss beansdb status shows which")
            targets = []
            for node in self.joining:
                connection = await node.open_another()
                opened.append(connection)
                targets.append(connection)
                if node.marks[self.part.number] is None:
                    private = self.part.private_hashes()
                    async for leaf in leaves([connection], self.part.prefix):
                        if any(hashed not in private for hashed, _ in entries(leaf.lines[0])):
                            raise NotNow(f"{node.name} is to join, and has files already: empty it first")
                    # So it is known again when this was interrupted. (It is no true mark.)
                    mark = Mark(node.name, self.part.members, 0, 0)
                    if not await keep(connection, self.part.reserved_key(MARK), mark.encode()):
                        raise NotNow(f"{node.name} does not serve this bucket: change its route.yaml first")
            old = [False] * len(sources) + [True] * len(targets)
            copier = Copier([*sources, *targets], self.copied, self._old.horizon, old)
            async for share in make_all_equal(copier, self.part):
                yield share
        finally:
            for connection in opened:
                connection.close()

    async def not_trusted(self) -> list[str]:
        """The old members that must be whole before one of them leaves, and are not."""
        trusted = await asyncio.gather(*(self._is_trusted(node) for node in self._old.nodes))
        return [node.name for node, is_trusted in zip(self._old.nodes, trusted) if not is_trusted]

    async def _is_trusted(self, node: Node) -> bool:
        try:
            connection = await node.open_another()
        except ProxyError:
            return False
        connection.close()
        return connection.trusted[self.part.number] == 1

    async def still_there(self, left: Iterable[str]) -> list[str]:
        """Step 2 is not done for these. *left*: names of nodes that were stopped for good, as a hand says."""
        return [node.name for node in self.leaving if not (node.name in left or await self._has_left(node))]

    async def _has_left(self, node: Node) -> bool:
        """Whether it says itself that it does not serve."""
        try:
            connection = await node.open_another()
        except ProxyError:
            return False
        try:
            async with asyncio.timeout(node.limits.operation_timeout):
                return not await serves(connection, self.part)
        except (ProxyError, TimeoutError):
            return False
        finally:
            connection.close()

    def announce(self) -> Remark:
        """Step 3."""
        members = self.part.members
        return Remark(self._old, self._staying, lambda mark: mark._replace(next_members=members))

    def admit(self) -> Repair:
        """Step 4. (It repairs those that stay, too, if one has failed meanwhile.)"""
        return Repair(self._new, self._new.nodes)

    def finish(self) -> Remark:
        """Step 6."""
        members = self.part.members
        return Remark(
            self._new, self._new.nodes, lambda mark: mark._replace(members=members, next_members=())
        )
