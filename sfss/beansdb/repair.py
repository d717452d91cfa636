"""Repair of a part: what its nodes have is compared, each key is copied to those that lack its newest version, and
those that were fenced get their mark.

A fenced node may be trusted again when it has been compared with as many trusted nodes as every quorum of writes must
have met, or else with all members: then nobody can know more. It must have been up for a few seconds (two processes of
one node then differ in when they were started), and all is done over one connection to each node, so that the mark is
true for the process that was compared. If that ends, nothing is marked.

One process at a time repairs a node: a *lease*, a key in the node itself, says who, and how far it is. Two would do no
harm.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.copying import PATIENCE, Copied, Copier
from sfss.beansdb.hashing import hash_text, key_hash
from sfss.beansdb.marks import Mark, decode
from sfss.beansdb.node import Node
from sfss.beansdb.part import Replicas
from sfss.beansdb.route import LEASE, MARK, Part
from sfss.beansdb.serving import serves
from sfss.beansdb.tree import unequal
from sfss.beansdb.versions import Seen, label
from sfss.memcache.errors import ProxyError

log = logging.getLogger("sfss.beansdb")

#: A node must have been up for so long before it is marked. Seconds.
LEAST_UPTIME = 3
#: A lease that was not renewed for so long is nobody's; how often it is renewed. Seconds, by the node's clock.
_LEASE, _RENEWAL = 10.0, 2.0
#: So many keys are copied at once.
_AT_ONCE = 64


class NotNow(Exception):
    """It cannot be repaired at the moment; the message says why."""


class Busy(NotNow):
    """Another process is at it, or was until a moment ago, as far as one can see: that passes."""

    def __init__(self, reason: str = "another process repairs it"):
        super().__init__(reason)


class Progress(NamedTuple):
    """Of a repair, as its lease tells everybody."""

    token: str
    node: str  #: that is repaired
    share: float  #: of the part that was compared, 0 to 1
    keys: int  #: copied so far
    size: int  #: bytes copied so far

    def encode(self) -> bytes:
        return json.dumps(self._asdict()).encode()


def progress_of(content: bytes | bytearray) -> Progress | None:
    try:
        read = json.loads(content)
        texts, numbers = (str(read["token"]), str(read["node"])), (int(read["keys"]), int(read["size"]))
        return Progress(*texts, float(read["share"]), *numbers)
    except (ValueError, TypeError, KeyError):
        return None


class Repair:
    """Of one part. *wanted*: the nodes that are to be trusted afterwards; none: they are only made equal.

    *compared*: those that take part; all, if none are named.
    """

    def __init__(self, replicas: Replicas, wanted: Sequence[Node], compared: Sequence[Node] = ()):
        self._replicas = replicas
        self._compared = compared or replicas.nodes
        self._part: Part = replicas.part
        self._model = Mark("", self._part.members, 0, 0)
        self._marks: dict[str, Mark | None] = {}  # of the nodes, at the beginning, and their versions
        self._versions: dict[str, int] = {}
        self._not_serving: list[str] = []
        self.wanted = list(wanted)
        self._token = secrets.token_hex(8)
        self._connections: list[NodeConnection] = []
        self._nodes: list[Node] = []
        self._renewed = float("-inf")
        self.copied = Copied()
        self.share = 0.0

    async def run(self) -> list[Node]:
        """The nodes that have their mark now.

        :raises NotNow: when too few can be compared, or another process repairs.
        :raises ProxyError: when a node has failed; what was copied stays.
        """
        try:
            await self._connect()
            self._take_model()
            chosen = await self._choose()
            await self._lease()
            await self._compare()
            if not await self._is_model_true():
                raise Busy("what holds for all members was changed meanwhile")
            marked = []
            for node, connection in chosen:
                await self._mark(node, connection)
                marked.append(node)
            with suppress(ProxyError):  # then it ends by its age
                await keep(self._leased(), self._part.reserved_key(LEASE), b"")
            return marked
        finally:
            for connection in self._connections:
                connection.close()

    async def _connect(self) -> None:
        """One connection to each of them that can be reached, and serves the part."""
        opened = await asyncio.gather(
            *(node.open_another() for node in self._compared), return_exceptions=True
        )
        for node, connection in zip(self._compared, opened):
            if not isinstance(connection, NodeConnection):
                if not isinstance(connection, ProxyError):
                    raise connection
                continue
            self._connections.append(connection)
            self._nodes.append(node)
        for node, connection in list(zip(self._nodes, self._connections)):
            version, mark = await self._read_mark(connection)
            if mark is None and not await serves(connection, self._part):
                # Its own route does not give it the part (any more): it keeps nothing, and says nothing of it.
                self._nodes.remove(node)
                self._connections.remove(connection)
                connection.close()
                self._not_serving.append(node.name)
                continue
            self._versions[node.name] = version
            self._marks[node.name] = mark if mark is not None and mark.node == node.name else None

    async def _read_mark(self, connection: NodeConnection) -> tuple[int, Mark | None]:
        """The version of the mark's key, and what it says. :raises NotNow: if it is just being written."""
        key = self._part.reserved_key(MARK)
        hashed, soon = hash_text(key_hash(key)), self._soon()
        before, value, after = await asyncio.gather(
            connection.look(hashed, soon), connection.fetch(key, soon), connection.look(hashed, soon)
        )
        if before != after:
            raise Busy
        return before.age, None if value is None else decode(value.content)

    def _take_model(self) -> None:
        """What the new marks say of all members is what those of trusted nodes say, or else what any says."""
        marks, trusted = [], []
        for node, connection in zip(self._nodes, self._connections):
            if (mark := self._marks[node.name]) is None:
                continue
            if not mark.admits(self._part.members):
                raise NotNow(
                    f"{node.name} belongs to other members than ours (after a move, a disk of before must be emptied)"
                )
            marks.append(mark)
            if connection.trusted[self._part.number]:
                trusted.append(mark)
        if marks:
            # Not all of them say the same while that is being changed: then a purge has not begun, and a move has.
            horizon = min(mark.horizon for mark in trusted) if trusted else max(m.horizon for m in marks)
            furthest = max(trusted or marks, key=lambda mark: (mark.is_open, mark.next_members))
            self._model = furthest.of_all()._replace(horizon=horizon)

    async def _is_model_true(self) -> bool:
        """Whether the trusted nodes still say what they said at the beginning."""
        for node, connection in zip(self._nodes, self._connections):
            if connection.trusted[self._part.number]:
                _, mark = await self._read_mark(connection)
                before = self._marks[node.name]
                if mark is None or before is None or mark.of_all() != before.of_all():
                    return False
        return True

    async def _choose(self) -> list[tuple[Node, NodeConnection]]:
        """Which are to be marked."""
        fenced: list[tuple[Node, NodeConnection]] = []
        trusted = set()
        for node, connection in zip(self._nodes, self._connections):
            if connection.trusted[self._part.number]:
                trusted.add(node.name)
            elif node in self.wanted and not self._model.is_leaving(node.name):
                figures = await connection.figures(self._soon())
                if int(figures["uptime"]) < LEAST_UPTIME:
                    raise NotNow(f"{node.name} has just been started")
                fenced.append((node, connection))
        if self.wanted:
            for members, quorum in self._memberships():
                self._check_enough(members, quorum, trusted)
        if len(self._nodes) < 2 < len(self._replicas.nodes):
            raise NotNow("only one node can be reached")
        return fenced

    def _memberships(self) -> list[tuple[set[str], int]]:
        """Whose quorums may have acknowledged something, and how many these are. While nodes are moved those of before
        and of after; of the former, who leaves is not among them any more when the others count.
        """
        ours, model = self._part.members, self._model
        found = []
        for members in (model.members, model.next_members if model.is_open else ()):
            if members:
                quorum = self._replicas.quorum if members == ours else len(members) // 2 + 1
                staying = set(members) & set(model.next_members) if model.is_open else set(members)
                found.append((staying, quorum))
        return found

    def _check_enough(self, members: set[str], quorum: int, trusted: set[str]) -> None:
        """:raises NotNow: if something that was acknowledged may be nowhere among those that are compared."""
        reached = {node.name for node in self._nodes}
        if len(trusted & members) >= len(members) - quorum + 1 or members <= reached:
            return
        missing = ", ".join(sorted(members - reached))
        raise NotNow(
            f"only {len(trusted & members)} nodes are trusted, and {missing} cannot be reached"
            + (f" or does not serve ({', '.join(self._not_serving)})" if self._not_serving else "")
            + ": nobody can know what was acknowledged"
        )

    async def _compare(self) -> None:
        horizon, index = self._model.horizon, self._part.number
        old = []
        for node, connection in zip(self._nodes, self._connections):
            mark = self._marks[node.name]
            old.append(not connection.trusted[index] and (mark is None or mark.horizon < horizon))
        copier = Copier(self._connections, self.copied, horizon, old)
        async for done in make_all_equal(copier, self._part):
            self.share = done
            await self._renew()
        self.share = 1.0

    async def _mark(self, node: Node, connection: NodeConnection) -> None:
        """Over the connection by which it was compared."""
        mark = self._target._replace(node=node.name, born=connection.born, pid=connection.pid)
        # Only in place of the mark that was there at the beginning: whoever is late must not undo what others did.
        key, version = self._part.reserved_key(MARK), self._versions[node.name]
        if not await keep(connection, key, mark.encode(), version):
            raise Busy(f"{node.name} does not keep its mark, or another process has given it one")

    # The lease, in the first of those that are repaired (or, if there is none, in the first node).

    def _leased(self) -> NodeConnection:
        for node, connection in zip(self._nodes, self._connections):
            if node in self.wanted:
                return connection
        return self._connections[0]

    async def _lease(self) -> None:
        connection = self._leased()
        key = self._part.reserved_key(LEASE)
        soon = self._soon()
        figures, found, value = await asyncio.gather(
            connection.figures(soon), connection.meta(key, soon), connection.fetch(key, soon)
        )
        if found is not None and value is not None and value.content:
            progress = progress_of(value.content)
            idle = int(figures["time"]) - int(found.split()[4])
            if progress is not None and progress.token != self._token and 0 <= idle < _LEASE:
                raise Busy
        await self._renew()

    async def _renew(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._renewed < _RENEWAL:
            return
        self._renewed = now
        if not await keep(self._leased(), self._part.reserved_key(LEASE), self.progress().encode()):
            raise Busy

    @property
    def _target(self) -> Mark:
        """What the new marks say of all members."""
        return self._model

    def progress(self) -> Progress:
        names = ", ".join(node.name for node in self.wanted) or "all"
        return Progress(self._token, names, round(self.share, 4), self.copied.keys, self.copied.bytes)

    def _soon(self) -> float:
        return asyncio.get_running_loop().time() + PATIENCE


async def make_all_equal(copier: Copier, part: Part) -> AsyncIterator[float]:
    """Compare all that the copier's nodes have of a part, and copy; how far it is, 0 to 1.

    :raises ProxyError: when one of them fails.
    """
    async for done, work in unequal(copier.connections, part):
        for start in range(0, len(work), _AT_ONCE):
            await asyncio.gather(
                *(copier.make_equal(hashed, seen) for hashed, seen in work[start : start + _AT_ONCE])
            )
            yield done
        yield done


async def keep(connection: NodeConnection, key: bytes, value: bytes, after: int | None = None) -> bool:
    """Set a value of our own in one node, in place of what is there (with the version *after*, if that is given);
    whether it is there then.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE
    hashed = hash_text(key_hash(key))
    if after is None:
        seen: Seen = await connection.look(hashed, deadline)
        after = seen.age
    version = after + 1
    kept, found = await asyncio.gather(
        connection.store(key, hashed, label(version, False), version, value, deadline),
        connection.fetch(key, deadline),
    )
    return kept.version == version and found is not None and bytes(found.content) == value
