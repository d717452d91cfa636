"""Other members for a part, while it serves.

A quorum of the old members and one of the new ones must always have a node in common. So members change one at a time,
and a node that leaves must be *unable to answer* before the new ones count: then the old quorum is all that stay, and
meets every new one. The steps, each of which can be done again:

1. *Copy* everything to the node that joins. Nobody trusts it yet.
2. *Prepare*: the marks of those that stay say who comes next. From then on nobody gives the leaving node a mark again.
3. The leaving node's own route is changed, and it is restarted (or it is stopped for good): a hand does that.
4. *Announce*: those that stay are compared, and their marks say that the next members count. From then on gateways with
   the old route and with the new one may work side by side.
5. *Admit*: the node that joins is repaired, and gets its mark.
6. All gateways are restarted with the new route: by a hand.
7. *Finish*: the marks say the new members only. Gateways with the old route notice, and trust nobody any more.

Between 3 and 4 the leaving node may be the only one that has some write, if one of those that stay fails just then: it
must get its route back, after *cancel*, which takes 2 back.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.copying import Copied, Copier
from sfss.beansdb.marks import Mark
from sfss.beansdb.node import Node
from sfss.beansdb.part import Replicas
from sfss.beansdb.remark import Remark
from sfss.beansdb.repair import NotNow, Repair, keep, make_all_equal
from sfss.beansdb.route import MARK, Route, RouteError
from sfss.beansdb.serving import serves
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


async def examined(node: Node) -> NodeConnection | None:
    """A connection as it was found, and closed again; None: the node cannot be reached."""
    try:
        connection = await node.open_another()
    except ProxyError:
        return None
    connection.close()
    return connection


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
                " Let fewer nodes leave at once, or add one first"
            )
        if self._old.quorum + self._new.quorum <= len(self._new.nodes):
            raise RouteError(f"{name}: too many nodes join at once. Add one at a time")

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
        """Those that stay and are not trusted: they must be before one leaves."""
        trusted = await asyncio.gather(*(self._is_trusted(node) for node in self._staying))
        return [node.name for node, is_trusted in zip(self._staying, trusted) if not is_trusted]

    async def _is_trusted(self, node: Node) -> bool:
        found = await examined(node)
        return found is not None and found.trusted[self.part.number] == 1

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

    @property
    def examined_every(self) -> float:
        """So often gateways look what the marks say, seconds."""
        return max(node.examined_every for node in (*self._old.nodes, *self._new.nodes))

    def prepare(self) -> Remark:
        """Step 2."""
        return self._remark(self._old, self._staying, self._refuse_others, is_open=False)

    def announce(self) -> Remark:
        """Step 4."""
        return self._remark(self._old, self._staying, self._refuse_unprepared, is_open=True)

    def admit(self) -> Repair:
        """Step 5. (It repairs those that stay, too, if one has failed meanwhile.)"""
        return Repair(self._new, self._new.nodes)

    def finish(self) -> Remark:
        """Step 7."""
        members = self.part.members

        def change(mark: Mark) -> Mark:
            return mark._replace(members=members, next_members=(), is_open=False)

        return Remark(self._new, self._new.nodes, change)

    async def cancel(self) -> None:
        """Take step 2 back, on those that stay and are trusted. (The others get their marks by them.)

        :raises NotNow: :raises ProxyError:
        """

        def change(mark: Mark) -> Mark:
            return mark._replace(next_members=(), is_open=False)

        def refuse(mark: Mark) -> str | None:
            return "the new members count already: go on with the move" if mark.is_open else None

        missing = await self.not_trusted()
        trusted = [node for node in self._staying if node.name not in missing]
        if not trusted:
            raise NotNow("none of the nodes that stay is trusted: give the leaving one its route back first")
        await Remark(self._old, trusted, change, refuse).run()

    def _remark(
        self,
        replicas: Replicas,
        nodes: list[Node],
        refuse: Callable[[Mark], str | None],
        *,
        is_open: bool,
    ) -> Remark:
        members = self.part.members

        def change(mark: Mark) -> Mark:
            return mark._replace(next_members=members, is_open=is_open or mark.is_open)

        return Remark(replicas, nodes, change, refuse)

    def _refuse_others(self, mark: Mark) -> str | None:
        if mark.members != self._old.part.members:
            return "another move has not been finished: call that with --finish first"
        if mark.next_members not in ((), self.part.members):
            return (
                f"a move to {', '.join(mark.next_members)} is under way: finish it, or call it with --cancel"
            )
        return None

    def _refuse_unprepared(self, mark: Mark) -> str | None:
        if mark.next_members != self.part.members:
            return "the move was cancelled meanwhile"
        return self._refuse_others(mark)

    async def is_announced(self) -> bool:
        """Whether all that stay say that the new members count."""
        marks = await asyncio.gather(*(self._mark_of(node) for node in self._staying))
        return all(
            mark is not None
            and (
                mark.members == self.part.members or (mark.is_open and mark.next_members == self.part.members)
            )
            for mark in marks
        )

    async def _mark_of(self, node: Node) -> Mark | None:
        return None if await examined(node) is None else node.marks[self.part.number]
