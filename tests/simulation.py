"""Nodes in a simulated network, with simulated clocks: the real replicas and the real conversations.

Only what is above them is left out: threads, HTTP, timers. Disks are real, in memory if possible; what a power cut
leaves of them, ``disk.py`` says.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from sfss.errors import SfssError
from sfss.replication.catalog import Catalog
from sfss.replication.changes import BadMessage, decode
from sfss.replication.clock import Version, stamp_of
from sfss.replication.digests import digests_of
from sfss.replication.merkle import leaf_of
from sfss.replication.operations import Delete, Operation, Outcome, Put
from sfss.replication.replica import Replica
from sfss.replication.requests import Conversation, Resends, compare, deliver
from sfss.replication.resolve import Rules
from sfss.replication.responses import Answers, tells
from tests.disk import Disk, make_folder

STEPS = ("written", "logged", "placed", "committed")
START = 1_750_000_000.0


class Killed(BaseException):
    """The process is ended here."""


class Lost(Exception):
    """A message or an answer did not arrive."""


class Acknowledged:
    """What clients were told, and what they tried."""

    def __init__(self):
        self.newest: dict[str, tuple[Version, str | None]] = {}  # by path: version, SHA-256
        self.tried: dict[str, set[str | None]] = {}  # by path: each SHA-256 that it may have

    def note(self, path: str, outcome: Outcome) -> None:
        entry = outcome.entry
        if path not in self.newest or entry.version > self.newest[path][0]:
            self.newest[path] = entry.version, entry.digests and entry.digests.sha256


class SimulatedNode:
    def __init__(self, world: "World", name: str, peers: list[str], skew: float):
        self.world = world
        self.name = name
        self.peers = peers
        self.skew = skew
        self.replica: Replica | None = None
        self.kill_at: str | None = None
        self.begun: tuple[int, int] | None = None  # a checkpoint
        self.failing: list[tuple[object, str]] = []
        self.careful: dict[str, bool] = {}
        self.resends: dict[str, Resends] = {}
        self.start()

    @property
    def folder(self) -> Path:
        return self.world.folder / self.name

    def start(self) -> None:
        if self.replica is None:
            self.replica = Replica(
                self.folder / "storage",
                self.folder / "queue",
                peers=self.peers,
                wall=lambda: self.world.time + self.skew,
                now=lambda: int(self.world.time * 1_000_000),
                rules=Rules(immutable=self.world.names == "generated", max_file_size=10_000_000),
                reached=self._reached,
            )
            self._watch_checkpoints(self.replica.catalog)
            self.answers = Answers(self.replica)
            self.kill_at = self.begun = None
            self.careful = dict.fromkeys(self.peers, True)
            self.resends = {name: Resends() for name in self.peers}

    def _watch_checkpoints(self, catalog: Catalog) -> None:
        checkpoint = catalog.checkpoint

        def watched() -> bool:
            done = checkpoint()
            if done:
                self.world.disk.keep(self.folder / "queue" / "catalog.sqlite3")
            return done

        catalog.checkpoint = watched

    def _reached(self, step: str) -> None:
        if step == self.kill_at:
            raise Killed

    def kill(self) -> None:
        """kill -9: what was written is there, what was to be done is not done."""
        if self.replica is not None:
            self.replica.close()
            self.replica = None

    def checkpoint(self) -> None:
        self.begin_checkpoint()
        self.end_checkpoint()

    def begin_checkpoint(self) -> None:
        if self.replica.broken is None:
            self.begun = self.replica.begin_checkpoint()
            self.replica.folder.sync()

    def end_checkpoint(self) -> None:
        if self.begun is not None and self.replica.broken is None:
            self.replica.end_checkpoint(self.begun)
            self.begun = None

    def fail_at(self, step: str, number: int) -> None:
        """The next time that *step* is done, the disk fails with the error *number*."""
        replica = self.replica
        owner = {"append": replica._log, "place": replica.folder}.get(step, replica.catalog)
        real = getattr(type(owner), step).__get__(owner)

        def fail(*arguments, **options):
            if getattr(owner, step) is fail:
                delattr(owner, step)
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        setattr(owner, step, fail)
        self.failing.append((owner, step))

    def works_again(self) -> None:
        for owner, step in self.failing:
            vars(owner).pop(step, None)
        self.failing.clear()

    def cut_power(self, folder: bool = True, catalog: bool = True, logged: bool = True) -> None:
        """What was not synced is as it was, of the files, the catalog, and the log of changes; each of them only
        if it is said. (What was written and not synced may be there, or not.)
        """
        self.kill()
        disk, storage, queue = self.world.disk, self.folder / "storage", self.folder / "queue"
        if folder:
            disk.cut_power(storage)
        for name in {file.name for file in queue.iterdir()} | disk.names_in(queue):
            if (catalog and name.startswith("catalog")) or (logged and name.endswith(".log")):
                disk.cut_power(queue / name)
        disk.keep(self.folder)

    def lose_disk(self) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def apply(self, *operations: Operation) -> list[Outcome | SfssError]:
        """Nothing: the process has ended meanwhile."""
        try:
            return self.replica.apply(operations)
        except Killed:
            self.kill()
            return []

    def check_queues(self) -> None:
        """What is counted as waiting does wait."""
        catalog = self.replica.catalog
        found = catalog._database.execute("SELECT neighbour, count(*) FROM queue GROUP BY neighbour")
        waiting = dict(found.fetchall())
        assert {n: catalog.queue_length(n) for n in self.peers} == {n: waiting.get(n, 0) for n in self.peers}

    def files(self) -> dict[str, str]:
        """SHA-256 by path, of what the catalog says; it must be what lies on the disk."""
        replica = self.replica
        found = {}
        leaf, path = 0, ""
        while entries := replica.catalog.after(leaf, path, 1000):
            for entry in entries:
                content = replica.folder.read(entry.path)
                assert content is not None, f"{self.name} has no file at {entry.path}"
                assert sha256(content).hexdigest() == entry.digests.sha256, entry.path
                found[entry.path] = entry.digests.sha256
            leaf, path = leaf_of(entries[-1].path), entries[-1].path
        assert set(replica.folder.walk()) <= found.keys()
        counts = replica.catalog.counts
        assert counts.files == len(found)
        assert not os.listdir(replica.folder.root / ".sfss/temporary")
        return found


class World:
    """*links*: who has whom as a neighbour, such as ``{"A": "BC", "B": "AC", "C": "AB"}``.

    *trusting*: each node has others believe that it tells all its neighbours itself, whether it can
    or not.
    """

    def __init__(
        self,
        links: dict[str, str],
        *,
        names: str = "exact",
        skews: dict[str, float] = {},
        trusting: bool = False,
    ):
        self.trusting = trusting
        self.folder = make_folder()
        self._opened = contextlib.ExitStack()
        self.disk = self._opened.enter_context(Disk(self.folder).watching())
        self.names = names
        self.time = START
        self.traffic = 0  # bytes
        self.cut: set[frozenset[str]] = set()
        self.acknowledged = Acknowledged()
        self.nodes = {
            name: SimulatedNode(self, name, list(others), skews.get(name, 0.0))
            for name, others in links.items()
        }

    def close(self) -> None:
        for node in self.nodes.values():
            node.kill()
        self._opened.close()
        shutil.rmtree(self.folder)

    # Clients.

    def put(self, name: str, path: str, content: bytes) -> None:
        self.change(name, [(path, content)])

    def delete(self, name: str, path: str) -> None:
        self.change(name, [(path, None)])

    def change(self, name: str, wanted: list[tuple[str, bytes | None]]) -> None:
        """Puts, and deletes (None), that come at the same time."""
        node, generated = self.nodes[name], self.names == "generated"
        if node.replica is None:
            return
        operations: list[Put | Delete] = []
        for path, content in wanted:
            digests = None if content is None else digests_of(content)
            self.acknowledged.tried.setdefault(path, {None}).add(digests and digests.sha256)
            if content is None:
                operations.append(Delete(path, None, generated))
            else:
                operations.append(Put(path, content, digests, None, generated))
        for operation, outcome in zip(operations, node.apply(*operations)):
            if isinstance(outcome, Outcome):
                assert outcome.changed or generated
                self.acknowledged.note(operation.path, outcome)

    # The network.

    def converse(
        self, source: str, target: str, kind: str, fault: Callable[[bytes], bytes] | str | None = None
    ) -> bool:
        """One conversation, in which *fault* happens to the first message; whether it ended well."""
        one = self.nodes[source]
        if one.replica is None:
            return False
        if kind == "deliver":
            conversation: Conversation = deliver(
                one.replica, target, one.resends[target], careful=one.careful[target]
            )
        else:
            conversation = compare(one.replica, target)
        if self.trusting:
            living = [self.nodes[name].replica for name in one.peers]
            one.replica.tells = tuple(replica.node for replica in living if replica)
        answer = None
        try:
            while True:
                request = b"".join(conversation.send(answer))
                answer = decode(self._carry(source, target, request, fault))
                fault = None
        except StopIteration as end:
            if kind == "deliver" and not end.value.changes and not end.value.damaged:
                one.careful[target] = False
            return True
        except (Lost, BadMessage, SfssError, OSError):
            one.careful[target] = True
            return False
        except Killed:
            one.kill()
            return False

    def _carry(self, source: str, target: str, request: bytes, fault) -> bytes:
        two = self.nodes[target]
        if two.replica is None or frozenset((source, target)) in self.cut or fault == "lose request":
            raise Lost
        if fault == "damage request":
            request = damaged(request)
        answer = self._answer(two, request)
        self.traffic += len(request) + len(answer)
        if fault == "duplicate":
            answer = self._answer(two, request)
        if fault == "lose answer":
            raise Lost
        return damaged(answer) if fault == "damage answer" else answer

    def _answer(self, two: SimulatedNode, request: bytes) -> bytes:
        try:
            message = decode(request)
            known = {
                node.replica.node: name
                for name, node in self.nodes.items()
                if node.replica and name in two.peers
            }
            told = frozenset(known[node] for node in tells(message) if node in known)
            source = known.get(message.fields.get("node"))
            operations, finish = two.answers.prepare(message, source, told)
            return b"".join(finish(two.replica.apply(operations)))
        except (BadMessage, OSError) as error:
            raise Lost from error
        except Killed:
            two.kill()
            raise Lost from None

    # The end.

    def settle(self, rounds: int = 30, *, comparing: bool = True) -> None:
        """Heal all, and let them talk until nobody has anything to say.

        Without *comparing* the queues must do it alone.
        """
        self.cut.clear()
        self.time += 5.0
        for node in self.nodes.values():
            node.kill_at = None
            node.works_again()
            node.start()
            node.replica.mend()
        for _ in range(rounds):
            self.time += 40.0
            for source, node in self.nodes.items():
                node.check_queues()
                for target in node.peers:
                    for _ in range(100):
                        assert self.converse(source, target, "deliver")
                        if not node.careful[target]:
                            break
                    if comparing:
                        assert self.converse(source, target, "compare")
            roots = {node.replica.catalog.tree.root() for node in self.nodes.values()}
            waiting = sum(
                node.replica.catalog.queue_length(target)
                for node in self.nodes.values()
                for target in node.peers
            )
            if not waiting and (len(roots) == 1 or not comparing):
                return
        raise AssertionError(f"no end: {len(roots)} roots, {waiting} queued")

    def check(self) -> None:
        """All have the same; nothing that was acknowledged is lost, but to something newer."""
        states = [node.files() for node in self.nodes.values()]
        assert all(state == states[0] for state in states), states
        for path, (version, digest) in self.acknowledged.newest.items():
            for node in self.nodes.values():
                entry = node.replica.catalog.get(path)
                if entry is None:  # a delete that is forgotten
                    assert digest is None, f"{path} is lost"
                    continue
                assert entry.version >= version, f"{path} went back in time"
                if entry.version == version:
                    assert (entry.digests and entry.digests.sha256) == digest
                else:
                    assert (entry.digests and entry.digests.sha256) in self.acknowledged.tried[path]

    def forget(self, lifetime: float) -> None:
        for node in self.nodes.values():
            if node.replica is not None:
                with contextlib.suppress(OSError):  # of a failing disk: there is a next time (maintenance.py)
                    node.replica.forget(stamp_of(self.time + node.skew - lifetime), 1000)


def damaged(data: bytes) -> bytes:
    """With one bit another one, where nothing but a digest tells."""
    position = len(data) * 2 // 3
    return data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]
