"""Where a file is: in the folder as the catalog says, put there by somebody else, or with a neighbour."""

import asyncio
import errno
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from sfss.disk.errors import refusal
from sfss.errors import NotFound, Overloaded, SfssError, StoreRefused
from sfss.replication.changes import Change
from sfss.replication.digests import Digests, are_same
from sfss.replication.engine import Engine
from sfss.replication.entries import CatalogReader, Entry
from sfss.replication.names import can_name_a_file
from sfss.replication.operations import Adopt, Heal, Learn
from sfss.replication.peer import Peer
from sfss.replication.replica import Replica

log = logging.getLogger("sfss.node")

#: Neighbours have so long to say whether they have a file that is asked for here (seconds).
_TIMEOUT = 2.0
#: and one that has said nothing is not asked again for so long.
_SILENCE = 15.0
#: A content that comes damaged is asked for so often.
_MOST_FETCHES = 3


class ReadPath:
    """Finds files for the clients of a node.

    *peers*: by URL. *left*: what each node has to tell this one, by its id. *read_through*: whether
    neighbours are asked for what is not here; *counts* has how often one of them had it.
    """

    def __init__(
        self,
        replica: Replica,
        reader: CatalogReader,
        engine: Engine,
        peers: Mapping[str, Peer],
        left: Mapping[str, int],
        *,
        read_through: bool,
        counts: Counter[str],
    ):
        self._replica = replica
        self._reader = reader
        self._engine = engine
        self._peers = peers
        self._left = left
        self._read_through = read_through
        self._counts = counts
        self._silent: dict[str, float] = {}  # when a neighbour let a question pass, on time.monotonic's clock

    async def entry(self, path: str) -> Entry:
        """What is known of a file, wherever it has to be found. :raises NotFound:"""
        entry = self._reader.get(path)
        if entry is None:
            entry = await self._find(path)
        if entry is None or entry.is_delete:
            raise NotFound.of(path)
        return entry

    async def content(self, entry: Entry) -> tuple[Entry, bytes | bytearray]:
        """The content of *entry*, or of what has come after it; from a neighbour, if it is damaged here.

        :raises NotFound: if it is deleted by now. :raises StoreRefused: if nobody has it.
        """
        content = await asyncio.to_thread(self._read, entry)
        if content is not None:
            return entry, content
        # It may have been replaced between two looks; in the engine's thread nothing can.
        path = entry.path
        entry, content = await self._engine.run(partial(self._look_again, path))
        if entry is None or entry.is_delete:
            raise NotFound.of(path)
        return (entry, content) if content is not None else await self._heal(entry)

    async def adopted(self, path: str) -> Entry | None:
        """What is known of *path* once it was looked for in the folder."""
        try:
            found = await asyncio.to_thread(self._replica.folder.stat, path)
            if found is None or not can_name_a_file(path):
                return None
        except OSError as error:
            raise refusal(error) from error
        outcome = await self._engine.change_in_time(Adopt(path))
        return outcome.entry

    def _read(self, entry: Entry) -> bytes | bytearray | None:
        """The content of *entry*, None if that is not what lies there."""
        try:
            content = self._replica.folder.read(entry.path, limit=entry.size)
        except OSError as error:
            if error.errno == errno.EFBIG:
                return None  # it is not what was put
            answer = refusal(error)
            if not isinstance(answer, Overloaded):
                log.error("cannot read a file", extra={"path": entry.path, "reason": str(error)})
            raise answer from error
        return content if entry.is_intact(content) else None

    def _look_again(self, path: str) -> tuple[Entry | None, bytes | bytearray | None]:
        entry = self._replica.catalog.get(path)
        if entry is None or entry.is_delete:
            return entry, None
        return entry, self._replica.contents.on_disk(entry)

    async def _heal(self, entry: Entry) -> tuple[Entry, bytes | bytearray]:
        """The same, from a neighbour. :raises StoreRefused: if none has it."""
        path = entry.path
        adopted = await self._engine.change_in_time(Adopt(path))
        if adopted.changed:  # somebody has gone on to write it after it was found
            return await self.content(adopted.known)
        change = await self._ask(path, list(self._peers.values()), entry.digests)
        if change is None or change.content is None:
            raise StoreRefused(
                f"The content of {path!r} is damaged or missing here, and no neighbour has it."
            )
        try:
            await self._engine.change(Heal(path, change.content), change.size)
            log.warning("a file is healed from a neighbour", extra={"path": path})
        except SfssError as error:
            log.error("cannot heal a file", extra={"path": path, "reason": str(error)})
        return entry, bytes(change.content)

    async def _find(self, path: str) -> Entry | None:
        """A file that is not in the catalog: put into the folder by somebody else, or not yet come."""
        entry = await self.adopted(path)
        if entry is not None or not self._read_through:
            return entry
        peers = [peer for peer in self._peers.values() if self._may_have(peer, path)]
        change = await self._ask(path, peers) if peers else None
        if change is None:
            return None
        self._counts["read_through"] += 1
        learn = Learn(change, None)
        return (await self._engine.change_in_time(learn, change.size)).entry

    def _may_have(self, peer: Peer, path: str) -> bool:
        """Whether the neighbour may know of *path*, and this node not yet."""
        if not self._may_answer(peer):
            return False
        return (
            not peer.caught_up
            or self._replica.announced.get(path) == peer.url
            or self._left.get(peer.node or "", 0) > 0
        )

    def _may_answer(self, peer: Peer) -> bool:
        silent = time.monotonic() - self._silent.get(peer.url, -_SILENCE) < _SILENCE
        return not peer.is_this_node and peer.up is not False and not silent

    async def _ask(self, path: str, peers: Sequence[Peer], digests: Digests | None = None) -> Change | None:
        """The file at *path* that one of *peers* has; with *digests*: only this one.

        They answer from what they have, and ask nobody: it goes in no circle.

        :raises StoreRefused: if one has it, but it comes damaged again and again, and no other has it.
        """
        damaged: list[Peer] = []

        async def ask(peer: Peer) -> Change | None:
            try:
                async with asyncio.timeout(_TIMEOUT):
                    for _ in range(_MOST_FETCHES):
                        change = _of(path, await peer.ask("fetch", paths=[path]))
                        if change is None or change.is_delete:
                            return None
                        if digests is not None and not are_same(digests, change.digests):
                            return None
                        if change.is_intact:
                            return change
            except SfssError:
                return None  # its link knows how it is
            except TimeoutError:
                self._silent[peer.url] = time.monotonic()
                return None
            damaged.append(peer)
            return None

        asked = [asyncio.create_task(ask(peer)) for peer in peers if self._may_answer(peer)]
        try:
            for answer in asyncio.as_completed(asked):
                if (change := await answer) is not None:
                    return change
        finally:
            for task in asked:
                task.cancel()
        if damaged:
            log.error("a file comes damaged", extra={"path": path, "neighbour": damaged[0].url})
            raise StoreRefused(f"The content of {path!r} comes damaged from another node.")
        return None


def _of(path: str, changes: list[Change]) -> Change | None:
    return next((change for change in changes if change.path == path), None)
