"""A node: a store that has all files of its neighbours, and tells them of its own.

What stands below, from the ground up:

* ``versions.py`` which change is newer; ``changes.py`` how changes travel; ``tree.py`` whether two
  nodes have the same;
* ``oplog.py``, ``catalog.py``, and the folder of files (``sfss/stores/folder.py``): what is on disk;
* ``replica.py`` keeps these in step; ``asking.py`` and ``answering.py`` are what nodes say to each other.
  All that runs in one thread (``engine.py``), and needs no network: the tests simulate one;
* ``transport.py`` is HTTP, ``links.py`` one neighbour, ``verification.py`` what reads everything again.
"""

import asyncio
import errno
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

from sfss.errors import (
    NoStoreAvailable,
    NotFound,
    SfssError,
    StoreRefused,
)
from sfss.figures import Family
from sfss.models import Precondition, etag_of
from sfss.panel import Event
from sfss.paths import check_path, is_valid_path
from sfss.receivers import Receiver
from sfss.replication import report
from sfss.replication.answering import Answers
from sfss.replication.catalog import LEARNED, CatalogReader, Entry
from sfss.replication.changes import Change, decode
from sfss.replication.engine import Engine
from sfss.replication.links import Link
from sfss.replication.names import can_name_a_file, generated_name
from sfss.replication.operations import Adopt, Delete, Heal, Learn, Outcome, Put
from sfss.replication.replica import Replica
from sfss.replication.transport import Transport
from sfss.replication.verification import Verification
from sfss.replication.versions import Version, stamp_of
from sfss.stores.base import Stats, Store
from sfss.stores.deadlines import Deadlines

log = logging.getLogger("sfss.node")

#: The log of changes is cut when it has so many bytes, or is so old (seconds).
CHECKPOINT_BYTES = 16 * 1024 * 1024
CHECKPOINT_AGE = 20.0
#: Neighbours have so long to say whether they have a file that is asked for here (seconds).
_READ_THROUGH_TIMEOUT = 2.0
#: and who has said nothing is not asked again for so long.
_SILENCE = 15.0
_MOST_FORGOTTEN = 500
#: A larger content is hashed in a thread. Bytes.
_LONG = 256 * 1024


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How a node behaves. Times in seconds."""

    names: str = "generated"  #: or ``exact``
    max_file_size: int = 32 * 1024 * 1024  #: bytes
    request_timeout: float = 10.0
    write_quorum: int = 1  #: nodes that have a file on disk before a put is acknowledged
    read_through: bool = True
    tombstone_lifetime: float = 7 * 86400.0  #: of deletes that all neighbours know of
    catch_up_rate: float = 0.0  #: bytes a second, 0 for no limit
    compare_interval: float = 60.0
    new_storage: bool = False  #: the storage may be empty, though it was not

    @property
    def immutable(self) -> bool:
        return self.names == "generated"


class NodeFile(NamedTuple):
    """A file as the node gives it."""

    content: bytes | bytearray
    etag: str
    sha1: str  #: 40 hex digits

    @property
    def info(self) -> "NodeFileInfo":
        return NodeFileInfo(len(self.content), self.etag, self.sha1)


class NodeFileInfo(NamedTuple):
    size: int  #: bytes
    etag: str
    sha1: str
    path: str = ""  #: of a put: the name that the file has got
    is_new: bool = False  #: of a put: whether there was no file before
    changed: bool = True  #: of a put: whether it has changed anything


def _put_result(outcome: Outcome | SfssError) -> NodeFileInfo:
    if isinstance(outcome, SfssError):
        raise outcome
    entry, before = outcome.entry, outcome.before
    is_new = before is None or before.sha1 is None
    return NodeFileInfo(
        entry.size, entry.etag, entry.sha1, entry.path, is_new, outcome.changed
    )


async def sha1_of(content: bytes | bytearray) -> str:
    """The SHA-1 of *content*, 40 hex digits."""
    if len(content) > _LONG:
        return await asyncio.to_thread(lambda: sha1(content).hexdigest())
    return sha1(content).hexdigest()


class _Quorum:
    """A write that waits until *needed* other nodes have said that they have it."""

    def __init__(self, needed: int):
        self.needed = needed
        self.version: Version | None = None  # not known yet
        self.reached = asyncio.Event()
        self._have: dict[str, Version] = {}  # by the id of the node

    @property
    def nodes(self) -> int:
        """How many have it."""
        return sum(version >= self.version for version in self._have.values())

    def has(self, node: str, version: Version) -> None:
        self._have[node] = max(version, self._have.get(node, version))
        self.look()

    def look(self) -> None:
        if self.version is not None and self.nodes >= self.needed:
            self.reached.set()


class Node(Store):
    """Files in *storage*, and all else in *queue*. *neighbours*: their URLs.

    *open_transport* is called once the loop runs.
    """

    def __init__(
        self,
        storage: Path,
        queue: Path,
        neighbours: Sequence[str],
        options: NodeOptions,
        open_transport: Callable[[], Transport],
        *,
        reached: Callable[[str], None] = lambda step: None,
    ):
        self.options = options
        self.description = f"node {Path(storage).absolute()}"
        self.links: dict[str, Link] = {}
        self.verification: Verification | None = None
        self._storage, self._queue = Path(storage), Path(queue)
        self._neighbours = tuple(neighbours)
        self._open_transport = open_transport
        self._reached = reached
        self._replica: Replica | None = None
        self._reader: CatalogReader | None = None
        self._engine: Engine | None = None
        self._transport: Transport | None = None
        self._answers: Answers | None = None
        self._one_compares = asyncio.Lock()
        self._silent: dict[str, float] = {}  # when a neighbour let a question pass, on time.monotonic's clock
        self._quorums: dict[str, list[_Quorum]] = {}
        self._tasks: list[asyncio.Task] = []
        self._counts = Counter(
            {name: 0 for name in ("get", "get_hits", "put", "delete", "learned", "read_through")}
        )

    # The life of the node.

    async def start(self) -> None:
        """:raises StoreUnusable: if a folder cannot be used, or is in use."""
        began = time.monotonic()
        self._replica = await asyncio.to_thread(self._open_replica)
        loop = asyncio.get_running_loop()
        self._engine = Engine(self._replica, loop, self._wake_links)
        self._deadlines = Deadlines(loop, self.options.request_timeout, self._late)
        self._reader = self._replica.catalog.reader()
        self._transport = self._open_transport()
        self._answers = Answers(self._replica, self.options.names)
        self.verification = Verification(
            self._replica, self._engine, lambda: list(self.links.values())
        )
        for url in self._neighbours:
            self._add_link(url)
        self._tasks = [
            loop.create_task(self._keep_log_short()),
            loop.create_task(self._keep_forgetting()),
        ]
        counts = self._replica.catalog.counts
        log.info(
            "node started",
            extra={
                "node": self._replica.node,
                "names": self.options.names,
                "files": counts.files,
                "neighbours": len(self._neighbours),
                "seconds": round(time.monotonic() - began, 3),
            },
        )
        if not self._replica.knows_folder:
            log.warning(
                "the storage is not the one that this node had: looking at every file",
                extra={"storage": self._storage},
            )
            self.verification.start(contents=False)

    def _open_replica(self) -> Replica:
        started_at, started = time.time(), time.monotonic()
        return Replica(
            self._storage,
            self._queue,
            neighbours=self._neighbours,
            wall=time.time,
            now=lambda: int((started_at + time.monotonic() - started) * 1_000_000),
            max_file_size=self.options.max_file_size,
            new_storage=self.options.new_storage,
            reached=self._reached,
        )

    async def close(self) -> None:
        """Nobody asks any more. What is not told yet stays in the queue."""
        for task in self._tasks:
            task.cancel()
        if self.verification is not None:
            await self.verification.stop()
        await asyncio.gather(
            *(link.stop() for link in self.links.values()), *self._tasks, return_exceptions=True
        )
        if self._transport is not None:
            await self._transport.close()
        if self._engine is not None:
            await self._engine.close()
            self._deadlines.close()
            self._reader.close()
            try:
                await asyncio.to_thread(self._replica.checkpoint)
            except (OSError, SfssError) as error:  # the next start reads the log again
                log.warning("the folder cannot be synced", extra={"reason": str(error)})
            self._replica.close()

    def _add_link(self, url: str) -> None:
        options = self.options
        link = Link(
            url,
            options.names,
            self._replica,
            self._engine,
            self._transport,
            rate=options.catch_up_rate,
            interval=options.compare_interval,
            one_compares=self._one_compares,
            told=self._note_has,
        )
        self.links[url] = link
        link.start()

    def use_secret(self, secret: str) -> None:
        """What neighbours know this node by from now on."""
        self._transport.use_secret(secret)

    async def use_neighbours(self, neighbours: Sequence[str]) -> None:
        """Have these from now on, and no others."""
        gone = [url for url in self.links if url not in neighbours]
        new = [url for url in neighbours if url not in self.links]
        others = [u for u in neighbours if not (u in self.links and self.links[u].is_this_node)]
        await self._engine.run(partial(self._replica.use_neighbours, others))
        self._neighbours = tuple(neighbours)
        for url in gone:
            await self.links.pop(url).stop()
        for url in new:
            self._add_link(url)
        for what, urls in (("removed", gone), ("added", new)):
            for url in urls:
                log.info(f"neighbour {what}", extra={"neighbour": url})

    # The store.

    async def get(self, path: str) -> NodeFile:
        self._counts["get"] += 1
        entry = await self._entry_of(path)
        content = await asyncio.to_thread(self._read, entry)
        if content is None:
            # It may have been replaced between two looks; in the engine's thread nothing can.
            entry, content = await self._engine.run(partial(self._look_again, path))
            if entry is None or entry.sha1 is None:
                raise NotFound.of(path)
            if content is None:
                content = await self._healed(entry)
        self._counts["get_hits"] += 1
        return NodeFile(content, entry.etag, entry.sha1)

    def begin_get(self, path: str, receiver: Receiver) -> bool:
        """See :class:`sfss.stores.base.AnswersAtOnce`."""
        entry = self._reader.get(path)
        if entry is None:
            return False
        if entry.sha1 is None:
            self._counts["get"] += 1
            receiver.set_result(None)
            return True
        try:
            content = self._replica.folder.read_at_once(path, limit=entry.size)
        except OSError:
            return False
        if content is None or etag_of(content) != entry.etag:
            return False
        self._counts["get"] += 1
        self._counts["get_hits"] += 1
        receiver.set_result(NodeFile(content, entry.etag, entry.sha1))
        return True

    def begin_put(self, path: str, content: bytes, receiver: Receiver) -> bool:
        if self.options.write_quorum > 1 or len(content) > _LONG:
            return False
        operation = self._put(path, content, sha1(content).hexdigest(), None)
        if not is_valid_path(operation.path):
            return False
        self._counts["put"] += 1
        self._deadlines.add(receiver)
        self._engine.submit(
            lambda: ((operation,), lambda outcomes: _put_result(outcomes[0])), len(content), receiver
        )
        return True

    async def stat(self, path: str) -> NodeFileInfo:
        entry = await self._entry_of(path)
        found = await asyncio.to_thread(self._replica.folder.stat, path)
        if found is None or found.st_size != entry.size:
            return (await self.get(path)).info  # which puts it right, or says what is wrong
        return NodeFileInfo(entry.size, entry.etag, entry.sha1)

    async def put(
        self,
        path: str,
        content: bytes | bytearray,
        precondition: Precondition | None = None,
        *,
        digest: str | None = None,
    ) -> NodeFileInfo:
        """*digest*: the SHA-1 of *content*, 40 hex digits, if it is known already.

        :raises AlreadyDeleted, PreconditionFailed: and nothing has changed.
        :raises InvalidPath: if the name that is generated is too long.
        :raises NoStoreAvailable: if it was not on disk in time, here or on enough nodes.
        """
        self._counts["put"] += 1
        digest = digest or await sha1_of(content)
        operation = self._put(path, content, digest, precondition)
        check_path(operation.path)
        return _put_result(await self._change(operation, len(content)))

    def _put(
        self, path: str, content: bytes, digest: str, precondition: Precondition | None
    ) -> Put:
        if not self.options.immutable:
            return Put(path, content, digest, precondition)
        return Put(generated_name(path, digest, time.time()), content, digest, None, immutable=True)

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        """:raises NotFound: if there is no such file here; others are told all the same."""
        self._counts["delete"] += 1
        if self._reader.get(path) is None:
            await self._adopted(path)
        operation = Delete(path, precondition, self.options.immutable)
        outcome = await self._change(operation)
        if outcome.before is None or outcome.before.sha1 is None:
            raise NotFound.of(path)

    async def ready(self) -> None:
        """:raises StoreRefused: if it cannot write."""
        if self._replica.broken is not None:
            raise StoreRefused(f"The node cannot write: {self._replica.broken}.")

    async def _change(self, operation: Put | Delete, size: int = 0) -> Outcome:
        """Make a client's change; return when enough nodes have it."""
        if self.options.write_quorum == 1:
            return await self._in_time(self._engine.change(operation, size))
        quorum = _Quorum(self.options.write_quorum - 1)
        waiting = self._quorums.setdefault(operation.path, [])
        waiting.append(quorum)
        try:
            outcome = await self._in_time(self._engine.change(operation, size))
            quorum.version = outcome.entry.version
            quorum.look()
            if not outcome.changed:  # others have perhaps been told long ago: ask them
                await self._engine.run(partial(self._tell_again, operation.path))
                self._wake_links()
            async with asyncio.timeout(self.options.request_timeout):
                await quorum.reached.wait()
        except TimeoutError:
            raise NoStoreAvailable(
                f"Only {1 + quorum.nodes} of the {self.options.write_quorum} nodes that are wanted have it on"
                f" disk. It is kept, and will reach the others."
            ) from None
        finally:
            waiting.remove(quorum)
            if not waiting:
                self._quorums.pop(operation.path, None)
        return outcome

    def _tell_again(self, path: str) -> None:
        replica = self._replica
        entry = replica.catalog.get(path)
        if entry is not None:
            replica.catalog.queue(
                [
                    (neighbour, path, LEARNED, replica.next_due(), entry.version)
                    for neighbour in replica.neighbours
                ]
            )

    def _note_has(self, node: str | None, changes: Iterable[tuple[str, Version]]) -> None:
        """The node of this id has these changes, as it says."""
        if self._quorums and node is not None and node != self._replica.node:
            for path, version in changes:
                for quorum in self._quorums.get(path, ()):
                    quorum.has(node, version)

    # What neighbours say.

    async def answer(self, body: bytes) -> bytes:
        """The answer to the message that *body* is. :raises BadMessage:"""
        message = decode(body) if len(body) < _LONG else await asyncio.to_thread(decode, body)
        node = message.fields.get("node")
        link = next((link for link in self.links.values() if link.node == node), None)
        source = link.url if link is not None else None

        def prepare() -> tuple[Sequence[Learn], Callable[..., tuple[bytes, int]]]:
            operations, finish = self._answers.prepare(message, source)

            def finished(outcomes: Sequence[Outcome | SfssError]) -> tuple[bytes, int]:
                changed = sum(isinstance(o, Outcome) and o.changed for o in outcomes)
                return b"".join(finish(outcomes)), changed

            return operations, finished

        answer, changed = await self._engine.do(prepare, len(body))
        self._counts["learned"] += changed
        if link is not None:
            link.has_spoken(message.changes)
            if message.kind in ("offer", "push"):
                self._note_has(node, ((c.path, c.version) for c in message.changes))
        return answer

    def _wake_links(self) -> None:
        self._deadlines.settle()
        for link in self.links.values():
            link.wake()

    # Files that are not where they should be.

    def _read(self, entry: Entry) -> bytes | None:
        """The content of *entry*, None if that is not what lies there."""
        try:
            content = self._replica.folder.read(entry.path, limit=entry.size)
        except OSError as error:
            if error.errno == errno.EFBIG:
                return None  # it is not what was put
            log.error("cannot read a file", extra={"path": entry.path, "reason": str(error)})
            raise StoreRefused(f"The disk refused: {error.strerror}.") from error
        return content if content is not None and etag_of(content) == entry.etag else None

    def _look_again(self, path: str) -> tuple[Entry | None, bytes | None]:
        entry = self._replica.catalog.get(path)
        if entry is None or entry.sha1 is None:
            return entry, None
        return entry, self._replica.contents.on_disk(entry)

    async def _healed(self, entry: Entry) -> bytes:
        """The content of *entry*, from a neighbour. :raises StoreRefused: if none has it."""
        adopted = await self._in_time(self._engine.change(Adopt(entry.path)))
        if adopted.changed:  # somebody has gone on to write it after it was found
            return (await self.get(entry.path)).content
        change = await self._ask_neighbours(entry.path, list(self.links.values()), entry.sha1)
        if change is None:
            raise StoreRefused(
                f"The content of {entry.path!r} is damaged or missing here, and no neighbour has it."
            )
        try:
            await self._engine.change(Heal(entry.path, change.content), change.size)
            log.warning("a file is healed from a neighbour", extra={"path": entry.path})
        except SfssError as error:
            log.error("cannot heal a file", extra={"path": entry.path, "reason": str(error)})
        return bytes(change.content)

    async def _entry_of(self, path: str) -> Entry:
        """What is known of a file, wherever it has to be found. :raises NotFound:"""
        entry = self._reader.get(path)
        if entry is None:
            entry = await self._find(path)
        if entry is None or entry.sha1 is None:
            raise NotFound.of(path)
        return entry

    async def _find(self, path: str) -> Entry | None:
        """A file that is not in the catalog: put into the folder by somebody else, or not yet come."""
        entry = await self._adopted(path)
        if entry is not None or not self.options.read_through:
            return entry
        links = [link for link in self.links.values() if self._may_have(link, path)]
        change = await self._ask_neighbours(path, links) if links else None
        if change is None:
            return None
        self._counts["read_through"] += 1
        learn = Learn(change, None)
        return (await self._in_time(self._engine.change(learn, change.size))).entry

    async def _adopted(self, path: str) -> Entry | None:
        try:
            found = await asyncio.to_thread(self._replica.folder.stat, path)
            if found is None or not can_name_a_file(path):
                return None
        except OSError as error:
            raise StoreRefused(f"The disk refused: {error.strerror}.") from error
        outcome = await self._in_time(self._engine.change(Adopt(path)))
        return outcome.entry

    def _may_have(self, link: Link, path: str) -> bool:
        """Whether the neighbour may know of *path*, and this node not yet."""
        if not self._may_answer(link):
            return False
        return (
            not link.caught_up
            or self._replica.announced.get(path) == link.url
            or self._answers.left.get(link.node, 0) > 0
        )

    def _may_answer(self, link: Link) -> bool:
        silent = time.monotonic() - self._silent.get(link.url, -_SILENCE) < _SILENCE
        return not link.is_this_node and link.up is not False and not silent

    async def _ask_neighbours(
        self, path: str, links: Sequence[Link], sha1: str | None = None
    ) -> Change | None:
        """The file at *path* that one of *links* has; with *sha1*: only this one.

        They answer from what they have, and ask nobody: it goes in no circle.
        """
        async def ask(link: Link) -> Change | None:
            try:
                async with asyncio.timeout(_READ_THROUGH_TIMEOUT):
                    changes = await link.ask("fetch", paths=[path])
            except SfssError:
                return None  # its link knows how it is
            except TimeoutError:
                self._silent[link.url] = time.monotonic()
                return None
            for change in changes:
                if change.path == path and change.is_intact and sha1 in (None, change.sha1):
                    return change
            return None

        asked = [asyncio.create_task(ask(link)) for link in links if self._may_answer(link)]
        try:
            for answer in asyncio.as_completed(asked):
                if (change := await answer) is not None:
                    return change
            return None
        finally:
            for task in asked:
                task.cancel()

    async def _in_time(self, coroutine: Any) -> Any:
        try:
            async with asyncio.timeout(self.options.request_timeout):
                return await coroutine
        except TimeoutError:
            raise self._late() from None

    def _late(self) -> NoStoreAvailable:
        return NoStoreAvailable(
            f"It was not on disk within {self.options.request_timeout:g} s. It may still happen."
        )

    # In the background.

    async def _keep_log_short(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.5)
            size, age = self._replica.log_bytes, time.monotonic() - last
            if self._replica.broken is not None:
                await self._engine.run(self._replica.mend)
            elif size > CHECKPOINT_BYTES or (size and age > CHECKPOINT_AGE):
                try:
                    begun = await self._engine.run(self._replica.begin_checkpoint)
                    await asyncio.to_thread(self._write_back)
                    await self._engine.run(partial(self._replica.end_checkpoint, begun))
                except Exception as error:  # the log stays, and nothing is lost
                    log.error("the log of changes cannot be cut", extra={"reason": str(error)})
                    await asyncio.sleep(5.0)
                last = time.monotonic()

    def _write_back(self) -> None:
        self._replica.catalog.write_back()
        self._replica.folder.sync()

    async def _keep_forgetting(self) -> None:
        lifetime = self.options.tombstone_lifetime
        while True:
            before = stamp_of(max(time.time() - lifetime, 0))
            forgotten = 0
            try:
                forgotten = await self._engine.run(
                    partial(self._replica.forget, before, _MOST_FORGOTTEN)
                )
            except Exception as error:  # there will be a next time
                log.error("deletes cannot be forgotten", extra={"reason": str(error)})
            if forgotten < _MOST_FORGOTTEN:
                await asyncio.sleep(min(max(lifetime / 10, 0.1), 600.0))

    # Figures.

    async def stats(self) -> Stats:
        return {self.description: {name: str(value) for name, value in self._counts.items()}}

    def status(self) -> dict[str, Any]:
        """What ``/_status`` tells: the queues by neighbour, and more."""
        return report.status(self._replica, self._reader, self.links) | {
            "names": self.options.names,
            "verification": self.verification.progress(),
        }

    def families(self) -> Iterable[Family]:
        if self._replica is None:
            return []
        return [
            *report.families(self._replica, self._engine),
            report.operations(self._counts),
            *report.families_of_links(self._reader, self.links),
        ]

    def history(self) -> Iterable[Event]:
        return [event for link in self.links.values() for event in link.history]
