"""Writing: two round trips.

1. All nodes are asked what version they have. When a quorum of trusted ones has answered, a version above all is
   chosen.
2. The value is set with that version, and asked for again, in one pipeline, on all nodes. It is acknowledged when a
   quorum of trusted nodes shows this version or a newer one: then it is kept, or was replaced by a write that came
   meanwhile.

Nothing is ever tried again with a newer version: a second try after an acknowledgement that nobody saw would bring
deleted files back. Nothing is sent that comes late: :data:`PATIENCE` after a write began, it is given up, and nothing
has changed. After that, an error says that the outcome is unknown.
"""

import asyncio
from typing import Any

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.node import Node
from sfss.beansdb.part import Replicas
from sfss.beansdb.versions import Seen, label
from sfss.completion import Completion
from sfss.errors import NoStoreAvailable, PreconditionFailed, SfssError
from sfss.memcache.errors import ProxyRefused, refused_because

#: Seconds from a write's begin in which its value must be sent.
PATIENCE = 1.0
_TOMBSTONE = b""


class Write:
    """One write of *key*; the result is None. *content* None: a delete.

    *deadline*: on the loop's clock.
    """

    __slots__ = (
        "acknowledged",
        "began",
        "changed",
        "completion",
        "content",
        "deadline",
        "ended",
        "hashed",
        "is_conditional",
        "key",
        "loop",
        "newest",
        "outstanding",
        "refusal",
        "replicas",
        "sent",
        "text",
        "version",
        "votes",
    )

    def __init__(
        self,
        replicas: Replicas,
        key: bytes,
        hashed: int,
        text: bytes,
        content: bytes | bytearray | None,
        deadline: float,
        completion: Completion,
        loop: asyncio.AbstractEventLoop,
    ):
        self.replicas = replicas
        self.key = key
        self.hashed = hashed
        self.text = text
        self.content = content
        self.deadline = deadline
        self.completion = completion
        self.loop = loop
        self.began = loop.time()
        self.newest = 0
        self.votes = 0
        self.outstanding = 0
        self.acknowledged = 0
        self.version = 0
        self.sent = False
        self.changed = False  # a node shows a newer version than that which is written
        self.ended = False
        self.is_conditional = False
        self.refusal: ProxyRefused | None = None

    def begin(self) -> bool:
        """False: too few nodes can be asked now, and nothing has begun."""
        replicas = self.replicas
        ready = replicas.ready()
        index, votes = replicas.index, 0
        for _, connection in ready:
            if connection.trusted[index]:
                votes += 1
        if votes < replicas.quorum or replicas.units.writer < 0:
            return False
        self.outstanding = len(ready)
        patience = self.began + PATIENCE
        for _, connection in ready:
            connection.look(self.text, patience, _Looked(self, connection))
        return True

    def looked(self, connection: NodeConnection, seen: Seen) -> None:
        if self.sent or self.ended:
            return
        self.outstanding -= 1
        if seen.age > self.newest:
            self.newest = seen.age
        if connection.trusted[self.replicas.index]:
            self.votes += 1
            if self.votes == self.replicas.quorum:
                self.send(self.newest)
                return
        self._give_up_looking()

    def not_looked(self) -> None:
        if not self.sent and not self.ended:
            self.outstanding -= 1
            self._give_up_looking()

    def _give_up_looking(self) -> None:
        if self.outstanding == 0 and not self.sent:
            self._fail(_nothing_written(self.replicas.unavailable()))

    def send(self, newest: int) -> None:
        """The second step: *newest* is what a quorum has. (A condition has been looked at against that.)"""
        replicas = self.replicas
        self.newest = newest
        if self.loop.time() - self.began > PATIENCE:
            self._fail(_nothing_written(replicas.unavailable()))
            return
        try:
            version = replicas.units.next(self.hashed, newest, not self.is_conditional)
        except SfssError as used_up:
            self._fail(used_up)
            return
        if version == 0:
            self.sent = True  # (what is still looked is of no interest)
            task = self.loop.create_task(self._wait_for_units())
            replicas.tasks.add(task)
            task.add_done_callback(replicas.tasks.discard)
            return
        self.version = version
        self.sent = True
        is_delete = self.content is None
        content = _TOMBSTONE if self.content is None else self.content
        flags = label(version, is_delete)
        ready = replicas.ready()
        self.outstanding = len(ready) + 1
        asked = set()
        for node, connection in ready:
            asked.add(node.name)
            receiver = _Stored(self, node, connection)
            connection.store(
                self.key, self.text, flags, version, content, self.deadline, receiver, _Refused(self)
            )
        if len(asked) < len(replicas.nodes):
            for node in replicas.nodes:
                if node.name not in asked:
                    node.note_missed(replicas.index, self.hashed)
        self._came()

    async def _wait_for_units(self) -> None:
        try:
            async with asyncio.timeout_at(self.began + PATIENCE):
                await self.replicas.units.granted.wait()
        except TimeoutError:
            self._fail(
                NoStoreAvailable(
                    "No version can be given to this write now: a quorum of Beansdb nodes must agree to it first. "
                    "Nothing was written; try again later."
                )
            )
        else:
            self.send(self.newest)

    def stored(self, node: Node, connection: NodeConnection, seen: Seen) -> None:
        if seen.age < self.version:
            node.note_missed(self.replicas.index, self.hashed)
        else:
            if seen.version != self.version:
                self.changed = True
            if connection.trusted[self.replicas.index]:
                self.acknowledged += 1
        self._came()

    def not_stored(self, node: Node) -> None:
        node.note_missed(self.replicas.index, self.hashed)
        self._came()

    def _came(self) -> None:
        """One more has said what it has to say of the value."""
        self.outstanding -= 1
        if self.ended:
            return
        quorum = self.replicas.quorum
        if self.acknowledged >= quorum:
            if self.is_conditional and self.changed:
                self._fail(
                    PreconditionFailed(
                        "The file was changed by somebody else at the same time. Read it again."
                    )
                )
            else:
                self.ended = True
                if not self.completion.done():
                    self.completion.set_result(None)
        elif self.outstanding == 0:
            self._fail(self._verdict())

    def _verdict(self) -> SfssError:
        if self.refusal is not None:
            return refused_because([self.refusal])
        unavailable = self.replicas.unavailable()
        return NoStoreAvailable(f"{unavailable} The write may have happened all the same.")

    def _fail(self, error: SfssError) -> None:
        self.ended = True
        if not self.completion.done():
            self.completion.set_exception(error)


def _nothing_written(error: NoStoreAvailable) -> NoStoreAvailable:
    return NoStoreAvailable(f"{error} Nothing was written.")


class _Looked:
    """Receives the version that a node has."""

    __slots__ = ("connection", "write")

    def __init__(self, write: Write, connection: NodeConnection):
        self.write = write
        self.connection = connection

    def done(self) -> bool:
        return self.write.sent or self.write.ended

    def set_result(self, result: Any) -> None:
        self.write.looked(self.connection, result)

    def set_exception(self, error: Exception) -> None:
        self.write.not_looked()


class _Stored:
    """Receives the version that a node has after the value was sent. (It is told even when the client has its answer:
    what a node has missed is to be known.)
    """

    __slots__ = ("came", "connection", "node", "write")

    def __init__(self, write: Write, node: Node, connection: NodeConnection):
        self.write = write
        self.node = node
        self.connection = connection
        self.came = False

    def done(self) -> bool:
        return self.came

    def set_result(self, result: Any) -> None:
        self.came = True
        self.write.stored(self.node, self.connection, result)

    def set_exception(self, error: Exception) -> None:
        self.came = True
        self.write.not_stored(self.node)


class _Refused:
    """Receives what a node says when it does not take the value."""

    __slots__ = ("write",)

    def __init__(self, write: Write):
        self.write = write

    def done(self) -> bool:
        return False

    def set_result(self, result: Any) -> None:
        """It says so; whether it is true, the version tells."""

    def set_exception(self, error: Exception) -> None:
        if isinstance(error, ProxyRefused):
            self.write.refusal = error
