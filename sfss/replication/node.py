"""A node: a store that has all files of its neighbours, and tells them of its own.

What stands below, from the ground up:

* ``clock.py`` which change is newer; ``changes.py`` how changes travel; ``merkle.py`` whether two
  nodes have the same;
* ``oplog.py``, ``catalog.py``, and the folder of files (``sfss/disk/folder.py``): what is on disk;
* ``replica.py`` keeps these in step (``resolve.py`` says what is to change, ``contents.py`` reads);
  ``requests.py`` and ``responses.py`` are what nodes say to each other. All that runs in one thread
  (``engine.py``), and needs no network: the tests simulate one;
* ``transport.py`` is HTTP, ``peer.py`` one neighbour, ``read_path.py`` how a client gets its file,
  ``quorum.py`` how a write waits for others; ``scrub.py`` reads everything again, ``maintenance.py`` is
  the rest of what is done in the background.

The module is long because a node puts all these parts together, and is the store that clients see.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sfss.completion import Completion
from sfss.config.node import NodeSettings
from sfss.disk.usage import disk_families
from sfss.errors import AlreadyDeleted, InvalidRequest, NoStoreAvailable, NotFound, SfssError, StoreRefused
from sfss.metrics.events import StateChange
from sfss.metrics.families import Family
from sfss.models import FileInfo, Precondition, StoredFile
from sfss.paths import check_path, is_valid_path
from sfss.replication import report
from sfss.replication.catalog import FILE_NAME
from sfss.replication.changes import decode
from sfss.replication.clock import Version
from sfss.replication.digests import Digests, are_same, digests_of
from sfss.replication.engine import Engine
from sfss.replication.entries import LEARNED, CatalogReader, Entry
from sfss.replication.listing import Lister
from sfss.replication.maintenance import keep_forgetting, keep_log_short
from sfss.replication.names import RecentNames, generated_name, sha1_in
from sfss.replication.operations import Delete, Learn, Outcome, Put
from sfss.replication.peer import Peer
from sfss.replication.quorum import Quorums
from sfss.replication.read_path import ReadPath
from sfss.replication.relaying import Relaying
from sfss.replication.replica import Replica
from sfss.replication.resolve import Rules
from sfss.replication.responses import Answers
from sfss.replication.scrub import Scrub
from sfss.replication.transport import Transport
from sfss.stores.base import Listing, Stats, Store

log = logging.getLogger("sfss.node")

#: A larger content is hashed in a thread. Bytes.
_LONG = 256 * 1024


class PutFile(NamedTuple):
    """A file as a put has left it."""

    path: str  #: the name that it has got
    size: int  #: bytes
    etag: str
    sha1: str  #: 40 hex digits
    is_new: bool  #: whether there was no file before
    changed: bool  #: whether the put has changed anything


def _put_result(outcome: Outcome | SfssError) -> PutFile:
    if isinstance(outcome, SfssError):
        raise outcome
    entry, before = outcome.known, outcome.before
    is_new = before is None or before.is_delete
    return PutFile(entry.path, entry.size, entry.etag, entry.sha1, is_new, outcome.changed)


def _delete_result(outcome: Outcome | SfssError) -> None:
    """:raises NotFound: if there was no file."""
    if isinstance(outcome, SfssError):
        raise outcome
    before = outcome.before
    if before is None or before.is_delete:
        raise NotFound.of(outcome.known.path)


def _modified(entry: Entry) -> float | None:
    """When the file was put, by the clock of the node that took it: the same on every node."""
    return entry.version.time if entry.version.stamp else None  # (of a file that was found nobody knows)


def _info(entry: Entry) -> FileInfo:
    return FileInfo(entry.size, entry.etag, _modified(entry), entry.sha1)


def _file(entry: Entry, content: bytes | bytearray) -> StoredFile:
    return StoredFile(content, entry.etag, _modified(entry), entry.sha1)


async def _hashed(content: bytes | bytearray) -> Digests:
    """The digests of *content*, without keeping the loop waiting."""
    if len(content) > _LONG:
        return await asyncio.to_thread(digests_of, content)
    return digests_of(content)


class Node(Store):
    """Files in ``settings.storage``, and all else in ``settings.queue``.

    *open_transport* is called once the loop runs. *reached*: see :class:`Replica`.
    """

    scrub: Scrub
    _answers: Answers
    _engine: Engine
    _lister: Lister
    _read_path: ReadPath
    _opened: contextlib.AsyncExitStack
    _reader: CatalogReader
    _relaying: Relaying
    _replica: Replica
    _transport: Transport

    def __init__(
        self,
        settings: NodeSettings,
        open_transport: Callable[[], Transport],
        *,
        reached: Callable[[str], None] = lambda step: None,
    ):
        self.settings = settings
        self.description = f"node {Path(settings.storage).absolute()}"
        self.peers: dict[str, Peer] = {}
        self.is_open = False  #: whether :meth:`start` has ended, so that all that it opens is there
        self._storage, self._queue = Path(settings.storage), Path(settings.queue)
        self._peer_urls = settings.peer_urls
        self._open_transport = open_transport
        self._reached = reached
        self._one_compares = asyncio.Lock()
        self._quorums = Quorums()
        self._recent_names = RecentNames(time.monotonic)
        self._tasks: list[asyncio.Task[Any]] = []
        self._counts = Counter(
            dict.fromkeys(("get", "get_hits", "put", "delete", "learned", "read_through"), 0)
        )

    # The life of the node.

    async def start(self) -> None:
        """:raises StoreUnusable: if a folder cannot be used, or is in use."""
        began = time.monotonic()
        async with contextlib.AsyncExitStack() as opened:
            self._replica = await asyncio.to_thread(self._open_replica)
            opened.push_async_callback(self._close_replica)
            loop = asyncio.get_running_loop()
            timeout = self.settings.request_timeout
            self._engine = Engine(self._replica, loop, self._wake_peers, timeout)
            opened.push_async_callback(self._engine.close)
            self._reader = self._replica.catalog.reader()
            opened.callback(self._reader.close)
            self._lister = Lister(self._queue / FILE_NAME, timeout)
            opened.push_async_callback(self._lister.close)
            self._transport = self._open_transport()
            opened.push_async_callback(self._transport.close)
            self._opened = opened.pop_all()
        self._answers = Answers(self._replica)
        self._relaying = Relaying(self._replica, self._reader, self.peers)
        self._read_path = ReadPath(
            self._replica,
            self._reader,
            self._engine,
            self.peers,
            self._answers.left,
            read_through=self.settings.read_through,
            counts=self._counts,
        )
        self.scrub = Scrub(self._replica, self._engine, lambda: list(self.peers.values()))
        for url in self._peer_urls:
            self._add_peer(url)
        self._tasks = [
            loop.create_task(self._relaying.keep_announcing()),
            loop.create_task(keep_log_short(self._replica, self._engine)),
            loop.create_task(keep_forgetting(self._replica, self._engine, self.settings.tombstone_lifetime)),
        ]
        self.is_open = True
        counts = self._replica.catalog.counts
        log.info(
            "node started",
            extra={
                "node": self._replica.node,
                "names": self.settings.names,
                "files": counts.files,
                "neighbours": len(self._peer_urls),
                "seconds": round(time.monotonic() - began, 3),
            },
        )
        if not self._replica.knows_folder:
            log.warning(
                "the storage is not the one that this node had: looking at every file",
                extra={"storage": self._storage},
            )
            self.scrub.start(contents=False)

    def _open_replica(self) -> Replica:
        started_at, started = time.time(), time.monotonic()
        return Replica(
            self._storage,
            self._queue,
            peers=self._peer_urls,
            wall=time.time,
            now=lambda: int((started_at + time.monotonic() - started) * 1_000_000),
            rules=Rules(self.settings.immutable, self.settings.max_file_size),
            new_storage=self.settings.new_storage,
            reached=self._reached,
        )

    async def close(self) -> None:
        """Nobody asks any more. What is not told yet stays in the queue."""
        for task in self._tasks:
            task.cancel()
        if not self.is_open:
            return
        await self.scrub.stop()
        await asyncio.gather(
            *(peer.stop() for peer in self.peers.values()), *self._tasks, return_exceptions=True
        )
        await self._opened.aclose()

    async def _close_replica(self) -> None:
        try:
            await asyncio.to_thread(self._replica.checkpoint)
        except (OSError, SfssError) as error:  # the next start reads the log again
            log.warning("the folder cannot be synced", extra={"reason": str(error)})
        self._replica.close()

    def _add_peer(self, url: str) -> None:
        settings = self.settings
        peer = Peer(
            url,
            self._replica,
            self._engine,
            self._transport,
            rate=settings.catch_up_rate,
            interval=settings.compare_interval,
            one_compares=self._one_compares,
            told=self._note_has,
            heard=self._relaying.heard,
            lost=self._relaying.lost,
        )
        self.peers[url] = peer
        peer.start()

    def use_secret(self, secret: str) -> None:
        """What neighbours know this node by from now on."""
        self._transport.use_secret(secret)

    async def use_peers(self, peers: Sequence[str]) -> None:
        """Have these from now on, and no others."""
        gone = [url for url in self.peers if url not in peers]
        new = [url for url in peers if url not in self.peers]
        others = [u for u in peers if not (u in self.peers and self.peers[u].is_this_node)]
        await self._engine.run(partial(self._replica.use_peers, others))
        self._peer_urls = tuple(peers)
        for url in gone:
            peer = self.peers.pop(url)
            await peer.stop()
            self._relaying.lost(peer)
        for url in new:
            self._add_peer(url)
        for what, urls in (("removed", gone), ("added", new)):
            for url in urls:
                log.info(f"neighbour {what}", extra={"neighbour": url})

    # The store.

    async def get(self, path: str) -> StoredFile:
        self._counts["get"] += 1
        entry, content = await self._read_path.content(await self._read_path.entry(path))
        self._counts["get_hits"] += 1
        return _file(entry, content)

    def begin_get(self, path: str, completion: Completion) -> bool:
        """See :class:`sfss.stores.base.AnswersAtOnce`."""
        entry = self._reader.get(path)
        if entry is None:
            return False
        if entry.is_delete:
            self._counts["get"] += 1
            completion.set_result(None)
            return True
        try:
            found = self._replica.folder.read_at_once(path, limit=entry.size)
        except OSError:
            return False
        content = found and found.content
        if content is None or not entry.is_intact(content):
            return False
        self._counts["get"] += 1
        self._counts["get_hits"] += 1
        completion.set_result(_file(entry, content))
        return True

    def begin_stat(self, path: str, completion: Completion) -> bool:
        entry = self._reader.get(path)
        if entry is None:
            return False
        if entry.is_delete:
            completion.set_result(None)
            return True
        try:
            found = self._replica.folder.stat(path, at_once=True)
        except OSError:
            return False
        if found is None or found.st_size != entry.size:
            return False
        completion.set_result(_info(entry))
        return True

    def begin_delete(self, path: str, precondition: Precondition | None, completion: Completion) -> bool:
        if self.settings.write_quorum > 1 or self._reader.get(path) is None:
            return False
        self._counts["delete"] += 1
        operation = Delete(path, precondition, self.settings.immutable)
        self._engine.begin_change(operation, 0, _delete_result, completion)
        return True

    def begin_put(
        self,
        path: str,
        content: bytes | bytearray,
        precondition: Precondition | None,
        completion: Completion,
    ) -> bool:
        if self.settings.write_quorum > 1 or len(content) > _LONG:
            return False
        try:
            operation = self._put(path, content, digests_of(content), precondition)
        except (AlreadyDeleted, InvalidRequest) as error:
            self._counts["put"] += 1
            completion.set_exception(error)
            return True
        if not is_valid_path(operation.path):
            return False
        self._counts["put"] += 1
        self._engine.begin_change(operation, len(content), _put_result, completion)
        return True

    async def stat(self, path: str) -> FileInfo:
        entry = await self._read_path.entry(path)
        found = await asyncio.to_thread(self._replica.folder.stat, path)
        if found is None or found.st_size != entry.size:
            return (await self.get(path)).info  # which puts it right, or says what is wrong
        return _info(entry)

    async def put(  # type: ignore[override]  # the name that the file gets is part of the answer
        self,
        path: str,
        content: bytes | bytearray,
        precondition: Precondition | None = None,
    ) -> PutFile:
        """:raises AlreadyDeleted, NameTaken, PreconditionFailed: and nothing has changed.
        :raises InvalidPath: if the name that is generated is too long.
        :raises NoStoreAvailable: if it was not on disk in time, here or on enough nodes.
        """
        self._counts["put"] += 1
        operation = self._put(path, content, await _hashed(content), precondition)
        check_path(operation.path)
        return _put_result(await self._change(operation, len(content)))

    def _put(
        self,
        path: str,
        content: bytes | bytearray,
        digests: Digests,
        precondition: Precondition | None,
    ) -> Put:
        """:raises AlreadyDeleted: if *path* is a generated name that is not used again.
        :raises InvalidRequest: if *content* is not the one that *precondition* wants.
        """
        if precondition is not None and precondition.sha1 not in (None, digests.sha1):
            raise InvalidRequest(f"X-Content-SHA1 is not that of the body, which is {digests.sha1}.")
        if not self.settings.immutable:
            return Put(path, content, digests, precondition)
        return Put(self._name_for(path, digests), content, digests, None, immutable=True)

    def _name_for(self, path: str, digests: Digests) -> str:
        """The name that a file gets that a client calls *path*."""
        generated_for = sha1_in(path)
        entry = self._reader.get(path) if generated_for is not None else None
        if entry is not None and entry.is_delete:
            raise AlreadyDeleted.of(path)
        if entry is None or are_same(entry.digests, digests):
            if generated_for == digests.sha1:
                return path
        # Otherwise somebody has made another content of the same SHA-1: it gets a name of its own.
        recent = self._recent_names.get(path, digests.sha256)
        if recent is not None and not self._is_deleted(recent):
            return recent
        name = generated_name(path, digests.sha1, time.time())
        self._recent_names.note(path, digests.sha256, name)
        return name

    def _is_deleted(self, path: str) -> bool:
        entry = self._reader.get(path)
        return entry is not None and entry.is_delete

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        """:raises NotFound: if there is no such file here; others are told all the same."""
        self._counts["delete"] += 1
        if self._reader.get(path) is None:
            await self._read_path.adopted(path)
        operation = Delete(path, precondition, self.settings.immutable)
        _delete_result(await self._change(operation))

    is_ordered = True

    async def list_files(
        self, prefix: str = "", cursor: str = "", limit: int = 1000, delimiter: str = ""
    ) -> Listing:
        return await self._lister.list_files(prefix, cursor, limit, delimiter)

    async def ready(self) -> None:
        """:raises StoreRefused: if it cannot write."""
        if self._replica.broken is not None:
            raise StoreRefused(f"The node cannot write: {self._replica.broken}.")

    async def _change(self, operation: Put | Delete, size: int = 0) -> Outcome:
        """Make a client's change; return when enough nodes have it."""
        if self.settings.write_quorum == 1:
            return await self._engine.change_in_time(operation, size)
        needed = self.settings.write_quorum - 1
        with self._quorums.of(operation.path, needed) as quorum:
            try:
                outcome = await self._engine.change_in_time(operation, size)
                if not outcome.changed:  # others have perhaps been told long ago: ask them
                    await self._engine.run(partial(self._tell_again, operation.path))
                    self._wake_peers()
                async with asyncio.timeout(self.settings.request_timeout):
                    await quorum.reached(outcome.known.version)
            except TimeoutError:
                raise NoStoreAvailable(
                    f"Only {1 + quorum.nodes} of the {needed + 1} nodes that are wanted have it on disk. It"
                    f" is kept, and will reach the others."
                ) from None
        return outcome

    def _tell_again(self, path: str) -> None:
        replica = self._replica
        entry = replica.catalog.get(path)
        if entry is not None:
            replica.catalog.queue(
                [(peer, path, LEARNED, replica.next_due(), entry.version) for peer in replica.peers]
            )

    def _note_has(self, node: str | None, changes: Iterable[tuple[str, Version]]) -> None:
        """The node of this id has these changes, as it says."""
        if node is not None and node != self._replica.node:
            self._quorums.has(node, changes)

    # What neighbours say.

    async def answer(self, body: bytes) -> bytes:
        """The answer to the message that *body* is. :raises BadMessage:"""
        message = decode(body) if len(body) < _LONG else await asyncio.to_thread(decode, body)
        node = message.fields.get("node")
        peer = next((peer for peer in self.peers.values() if peer.node == node), None)
        source = peer.url if peer is not None else None
        told = self._relaying.left_to(peer, message) if peer is not None else frozenset()

        def prepare() -> tuple[Sequence[Learn], Callable[..., tuple[bytes, int]]]:
            operations, finish = self._answers.prepare(message, source, told)

            def finished(outcomes: Sequence[Outcome | SfssError]) -> tuple[bytes, int]:
                changed = sum(isinstance(o, Outcome) and o.changed for o in outcomes)
                return b"".join(finish(outcomes)), changed

            return operations, finished

        answer: bytes
        answer, changed = await self._engine.do(prepare, len(body))
        self._counts["learned"] += changed
        if peer is not None:
            peer.has_spoken(message.changes)
            self._relaying.heard(peer, message)
            if not peer.up or peer.url not in self.peers:  # since it has spoken
                self._relaying.lost(peer)
            if message.kind in ("offer", "push"):
                self._note_has(node, ((c.path, c.version) for c in message.changes))
        return answer

    def _wake_peers(self) -> None:
        for peer in self.peers.values():
            peer.wake()

    # Figures.

    async def stats(self) -> Stats:
        return {self.description: {name: str(value) for name, value in self._counts.items()}}

    def status(self) -> dict[str, Any]:
        """What ``/_status`` tells: the queues by neighbour, and more."""
        return report.status(self._replica, self._reader, self.peers) | {
            "names": self.settings.names,
            "verification": self.scrub.progress(),
        }

    def families(self) -> Iterable[Family]:
        if not self.is_open:
            return []
        return [
            *report.families(self._replica, self._engine),
            report.operations(self._counts),
            *report.families_of_peers(self._reader, self.peers),
            *disk_families({"storage": self._storage, "queue": self._queue}),
        ]

    def history(self) -> Iterable[StateChange]:
        return [event for peer in self.peers.values() for event in peer.history]
