"""The rules of the protocol, each switched off in turn: the judge must see it.

They replace parts of ``sfss.beansdb``, so they need a process of their own, without the compiled modules.
"""

from collections.abc import Callable
from typing import NamedTuple

from sfss.beansdb import node, reads, settle, units, writers, writes
from sfss.beansdb.cluster import Cluster
from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.copying import Copier
from sfss.beansdb.maintenance import Maintenance
from sfss.beansdb.marks import Mark, decode
from sfss.beansdb.purge import purge
from sfss.beansdb.reads import Read, State
from sfss.beansdb.repair import Repair
from sfss.beansdb.route import Part
from sfss.beansdb.units import Units
from sfss.beansdb.versions import is_tombstone, label, version_of
from sfss.errors import NoStoreAvailable
from tests.simulated import histories, moves, scenarios
from tests.simulated.histories import Plan, Verdict, play


class Mutant(NamedTuple):
    """*scenario*: in place of random histories, where those take too long to find it."""

    switch_off: Callable[[], None]
    plan: Plan = Plan()
    scenario: Callable[..., Verdict] = play


class _Any:
    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def no_fence() -> None:
    """A node that was restarted is trusted as it is."""
    Mark.is_of = lambda self, born, pid: True


def fence_by_time() -> None:
    """A mark counts that is not older than the process: clocks are set back."""
    Mark.is_of = lambda self, born, pid: self.born >= born - 1


def marks_copied() -> None:
    """A repair copies marks like any other key, and whatever is there counts."""
    Part.private_hashes = lambda self: set()
    Mark.is_of = lambda self, born, pid: True

    def of_anybody(content):
        mark = decode(content)
        return mark and mark._replace(node=_Any())

    node.decode = of_anybody


def untrusted_acknowledge() -> None:
    """What a fenced node says counts for a write."""

    def stored(self, node, connection, seen):
        if seen.age >= self.version:
            self.acknowledged += 1
        self._came()

    writes.Write.stored = stored


def untrusted_read() -> None:
    """What a fenced node says counts for a read."""
    from sfss.beansdb.part import Replicas

    Replicas.trusted = Replicas.ready


def read_from_one() -> None:
    def begin(self: Read) -> bool:
        trusted = self.replicas.trusted()
        if not trusted:
            return False

        class First(reads._Part):
            def set_result(self, value):
                absent = value is None or (value.flags >> 31)
                self.read.answer(State(1, None if absent else value.content))

        trusted[0][1].fetch(self.key, self.deadline, First(self))
        return True

    Read.begin = begin


def next_version() -> None:
    """The version after the newest that was seen, whoever writes."""
    Units.next = lambda self, hashed, newest, by_clock=True: newest + 1


def no_writer() -> None:
    """Two processes give the same version."""
    units.version_of = lambda unit, writer: version_of(unit, 0)


def no_floor() -> None:
    """What a process forgets that it has used, it uses again."""
    units._MOST_KEYS = 0
    Units._forget = lambda self, clock: self._last.clear()


def no_reservation() -> None:
    """A process begins with its writer id wherever the clock is."""
    use = Units.use
    Units.use = lambda self, writer, floor, limit: use(self, writer, 0, limit)


def retry_above() -> None:
    """A write whose outcome is unknown is tried again with a newer version."""
    write = Cluster.write

    async def again(self, key, content):
        for _ in range(3):
            try:
                return await write(self, key, content)
            except NoStoreAvailable as error:
                last = error
        raise last

    Cluster.write = again


def native_delete() -> None:
    """Tombstones of nodes, which they forget."""
    store = NodeConnection.store

    def stored(self, key, hashed, flags, version, value, deadline, completion=None, refused=None):
        if completion is not None and is_tombstone(flags, version):
            self.delete(key, deadline)
            return self.look(hashed, deadline, _Deleted(completion, version))
        return store(self, key, hashed, flags, version, value, deadline, completion)

    NodeConnection.store = stored


class _Deleted:
    def __init__(self, completion, version):
        self.completion, self.version = completion, version
        self.done = completion.done
        self.set_exception = completion.set_exception

    def set_result(self, seen):
        deleted = seen.version <= 0
        self.completion.set_result(seen._replace(version=self.version) if deleted else seen)


def new_version_for_write_back() -> None:
    """A read writes back what it found as if it were new."""
    write_back = settle.write_back

    async def as_new(connection, key, text, flags, version, content, deadline):
        version += 1 << 10
        flags = label(version, bool(flags >> 31))
        return await write_back(connection, key, text, flags, version, content, deadline)

    settle.write_back = as_new


def no_write_back() -> None:
    async def nothing(*arguments) -> bool:
        return True

    settle.write_back = nothing


def mark_before_compared() -> None:
    """A repaired node is marked without what the others have. (Nor does anybody give nodes what they have missed,
    which would hide it; no rule stands on that.)
    """

    async def nothing(self):
        return None

    async def give_nothing(self):
        return None

    Repair._compare = nothing
    Maintenance._repair_missed = give_nothing


def claims_not_compared() -> None:
    """Whoever asks for a writer id has it: what lives with it goes on."""

    async def claim(self):
        writer = self._ids[0]
        self._take_key(writer)
        self._units.use(writer, 0, 1 << 23)
        return True

    async def renew(self):
        return True

    writers.Register._claim = claim
    writers.Register._renew = renew


def old_disks_not_buried() -> None:
    """What an old disk has that was purged meanwhile is copied like anything else."""
    Copier._was_purged = lambda self, newest, seen: False


def purge_of_what_is_new() -> None:
    """The horizon of a purge is where versions are given now."""
    Maintenance._raise_floor = lambda self: None
    histories.purge = lambda replicas, horizon: purge(replicas, replicas.units.clock() + 3)


def leaving_node_answers() -> None:
    """A node that leaves goes on answering, while gateways with the new route are there."""


def index_kept() -> None:
    """Nodes start with index files that are longer than their data."""


_BUSY = Plan(keys=1, pause=0.1, writes=0.8, gateways=3)
_LOSS = ("lose what one had",)
_QUIET = Plan(keys=6, pause=0.2, writes=0.3, troubles=_LOSS, every=3.0)
_CLOCKS = Plan(keys=6, pause=0.2, writes=0.3, troubles=("step a clock", *_LOSS), every=1.0)
_CUTS = Plan(
    keys=1, pause=0.05, writes=0.7, every=1.0,
    troubles=("cut", "cut two", "cut two", "stop a node", "slow", "pause a gateway"),
)  # fmt: skip
_MOVED_EARLY = Plan(
    keys=1, pause=0.05, writes=0.6, gateways=3, every=0.7, troubles=("cut", "cut", "slow", "stop a node")
)  # fmt: skip
PURGES = Plan(
    seconds=240.0, keys=40, pause=1.5, skew=1.0, every=4.0, seconds_per_unit=2, lag=2,
    troubles=(
        *["purge"] * 3, *["empty a node"] * 5, "take a snapshot", *["lose a disk"] * 3, "kill a node",
        "kill a gateway", "cut", "stop a node", "lose what one had", "pause a gateway", "cut two", "slow",
    ),
)  # fmt: skip

MUTANTS = {
    "no_fence": Mutant(no_fence, _QUIET),
    "fence_by_time": Mutant(fence_by_time, _CLOCKS),
    "marks_copied": Mutant(marks_copied, _QUIET),
    "untrusted_acknowledge": Mutant(untrusted_acknowledge, scenario=scenarios.a_fenced_node_has_it),
    "untrusted_read": Mutant(untrusted_read, _QUIET),
    "read_from_one": Mutant(read_from_one, _CUTS),
    "next_version": Mutant(next_version, _BUSY),
    "no_writer": Mutant(no_writer, _BUSY),
    "no_floor": Mutant(no_floor, _CUTS),
    "no_reservation": Mutant(no_reservation, scenario=scenarios.dies_in_the_middle),
    "claims_not_compared": Mutant(claims_not_compared, _BUSY),
    "retry_above": Mutant(retry_above, _CUTS),
    "native_delete": Mutant(native_delete, Plan(keys=2, pause=0.1, writes=0.7, every=2.0)),
    "new_version_for_write_back": Mutant(new_version_for_write_back, _CUTS),
    "no_write_back": Mutant(no_write_back, scenario=scenarios.only_one_has_what_is_newer),
    "mark_before_compared": Mutant(mark_before_compared, scenario=scenarios.only_one_has_it),
    "old_disks_not_buried": Mutant(old_disks_not_buried, scenario=scenarios.an_old_disk_comes_back),
    "purge_of_what_is_new": Mutant(purge_of_what_is_new, scenario=scenarios.a_repair_meets_writes),
    "leaving_node_answers": Mutant(leaving_node_answers, _MOVED_EARLY, moves.without_waiting),
    "index_kept": Mutant(
        index_kept, Plan(keys=2, pause=0.2, troubles=("kill a node",), every=3.0, keeps_index=True)
    ),
}
