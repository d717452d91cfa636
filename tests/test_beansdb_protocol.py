"""Single steps of the protocol, in simulated time: what nodes may have, say and refuse."""

import asyncio

import pytest

from sfss.beansdb.copying import Copied, Copier
from sfss.beansdb.hashing import hash_text, key_hash, value_hash
from sfss.beansdb.marks import Mark, decode
from sfss.beansdb.reads import State
from sfss.beansdb.repair import progress_of
from sfss.beansdb.tree import Leaf, differences, entries, share
from sfss.beansdb.units import Units
from sfss.beansdb.versions import (
    LAST_UNIT,
    Seen,
    fits,
    is_foreign,
    is_tombstone,
    is_torn,
    label,
    unit_at,
    version_of,
)
from sfss.errors import NoStoreAvailable, PreconditionFailed, SfssError, StoreFull, StoreRefused
from sfss.memcache.protocol import ProtocolError
from tests.simulated.histories import History, Plan
from tests.simulated.nodes import Entry
from tests.simulated.world import EPOCH

KEY = b"k0"
NEW = version_of(unit_at(EPOCH), 5)


class Told(History):
    """One gateway without clients; what nodes have before it starts is *entries*, one for each node, or None."""

    def __init__(self, entries=(None, None, None)):
        super().__init__(1, Plan(gateways=1, clients=0, skew=0.0))
        for node, entry in zip(self.nodes, entries):
            if entry is not None:
                version, value = entry[:2]
                flags = entry[2] if len(entry) > 2 else 0
                node.entries[key_hash(KEY)] = Entry(KEY, flags, version, value, 0)
        self.world.run(self._is_well, 60)
        self.cluster = self._living()[0].cluster

    def do(self, coroutine, seconds: float = 30.0):
        """What *coroutine* gives, or the error that it raises."""
        process = self._living()[0]
        done: list = []

        async def run() -> None:
            try:
                done.append(await coroutine)
            except SfssError as error:
                done.append(error)

        process.loop.call_soon(lambda: process.loop.create_task(run()))
        self.world.run(lambda: bool(done), self.world.now + seconds)
        assert process.loop.errors == []
        return done[0]

    def read(self) -> State | SfssError:
        return self.do(self.cluster.read(KEY))

    def versions(self) -> list[int]:
        return [
            node.entries[key_hash(KEY)].version if key_hash(KEY) in node.entries else 0 for node in self.nodes
        ]

    def put_there(self, number: int, version: int, value: bytes | None, flags: int | None = None) -> None:
        """Behind the gateway's back."""
        flags = label(version, False) if flags is None else flags
        self.nodes[number].entries[key_hash(KEY)] = Entry(KEY, flags, version, value, 0)


@pytest.mark.parametrize(
    "entries, content",
    [
        (((1, b"a"), (1, b"a"), (1, b"a")), b"a"),
        (((1, b"a"), (2, b"b"), (1, b"a")), b"b"),
        (((1, b"a"), None, None), b"a"),
        (((-2, b""), (1, b"a"), (1, b"a")), None),
        (((-2, b""), None, None), None),
        (((-2, b""), (3, b"c"), None), b"c"),
        (((7, b"a", 0x10), (7, b"a", 0x10), (7, b"a", 0x10)), b"a"),  # another client's flag, no label
        (((NEW, b"n", label(NEW, False)), (9, b"o"), (9, b"o")), b"n"),
        (((NEW, b"", label(NEW, True)), (9, b"o"), None), None),
    ],
    ids=range(9),
)
def test_what_was_there_before(entries, content):
    told = Told(entries)
    for _ in range(6):
        state = told.read()
        assert isinstance(state, State) and (state.content and bytes(state.content)) == content
    # All have the same, or at least nobody has what is older and not deleted.
    newest = max(abs(version) for version in told.versions())
    assert all(abs(version) == newest or version <= 0 for version in told.versions())
    assert told.do(told.cluster.write(KEY, b"new")) is None
    assert bytes(told.read().content) == b"new"


def test_one_version_with_two_values_is_always_the_same_one():
    told = Told(((3, b"x"), (3, b"y"), (3, b"y")))
    assert {bytes(told.read().content) for _ in range(9)} == {b"y"}
    assert told.cluster.counts.conflicts > 0
    assert told.cluster.maintenance[0].copied.conflicts > 0


def test_a_value_that_one_node_cannot_read_comes_from_another():
    told = Told()
    assert told.do(told.cluster.write(KEY, b"x")) is None
    version = max(told.versions())
    told.put_there(0, version, None)
    assert {bytes(told.read().content) for _ in range(9)} == {b"x"}
    told.put_there(1, version, None)
    told.put_there(2, version, None)
    error = told.read()
    assert isinstance(error, StoreRefused) and "cannot read it" in str(error)


def test_what_cannot_be_read_anywhere_is_told_and_does_not_stop_a_repair():
    told = Told(((3, None), (2, b"x"), None))
    assert told.cluster.maintenance[0].copied.unreadable > 0
    assert all(told.cluster.is_trusted(node) for node in told.cluster.nodes)


def test_a_newer_version_on_one_node_is_written_back_before_it_is_the_answer():
    told = Told()
    assert told.do(told.cluster.write(KEY, b"x")) is None
    newer = max(told.versions()) + 128
    told.put_there(1, newer, b"newer")
    while bytes(told.read().content) != b"newer":
        pass  # the two others agreed on what is older
    assert told.versions().count(newer) >= 2
    told.put_there(2, newer + 128, b"", label(newer + 128, True))
    while told.read().content is not None:
        pass
    assert told.versions().count(newer + 128) >= 2


@pytest.mark.parametrize(
    "reply, error",
    [
        (b"SERVER_ERROR out of memory\r\n", StoreFull),
        (b"SERVER_ERROR no\r\n", StoreRefused),
        (b"NOT_STORED\r\n", StoreRefused),
        (b"CLIENT_ERROR bad\r\n", StoreRefused),
        (b"RECV_TIMEOUT recv_timeout\r\n", NoStoreAvailable),
    ],
)
def test_a_write_that_nodes_refuse(reply, error):
    told = Told()
    for node in told.nodes:
        do = node._do
        node._do = lambda parts, value, do=do: reply if parts[:2] == [b"set", KEY] else do(parts, value)
    assert isinstance(told.do(told.cluster.write(KEY, b"x")), error)
    for node in told.nodes:
        del node._do
    told.world.run(told._is_well, told.world.now + 60)
    assert told.do(told.cluster.write(KEY, b"x")) is None


@pytest.mark.parametrize(
    "reply",
    [
        b"END\r\n",
        b"VALUE @0000000000000000 0 0\r\n\r\nEND\r\n",
        b"VALUE @%b 0 7\r\nno line\r\nEND\r\n",
        b"VALUE @%b 0 25\r\n%b x y 123\r\nEND\r\n",
        b"ERROR\r\n",
    ],
)
def test_a_node_that_answers_garbage_is_no_voter(reply):
    told = Told()
    assert told.do(told.cluster.write(KEY, b"x")) is None
    node, hashed = told.nodes[0], hash_text(key_hash(KEY))
    do = node._do
    garbage = reply.replace(b"%b", hashed)
    node._do = lambda parts, value: garbage if parts[1:] == [b"@" + hashed] else do(parts, value)
    for _ in range(6):
        assert bytes(told.read().content) == b"x"
    assert told.do(told.cluster.write(KEY, b"y")) is None
    assert bytes(told.read().content) == b"y"


def test_a_conditional_write_that_comes_too_late():
    told = Told()
    assert told.do(told.cluster.write(KEY, b"x")) is None
    state = told.read()
    for number in range(3):  # by another gateway
        told.put_there(number, state.version + 5 * 128, b"meanwhile")

    async def over():
        written = asyncio.get_running_loop().create_future()
        told.cluster.write_over(KEY, b"too late", state, written, conditional=True)
        await written

    assert isinstance(told.do(over()), PreconditionFailed)
    assert bytes(told.read().content) == b"meanwhile"


def test_nothing_is_written_without_a_quorum():
    told = Told()
    told.nodes[0].terminate()
    told.nodes[1].terminate()
    error = told.do(told.cluster.write(KEY, b"x"))
    assert isinstance(error, NoStoreAvailable) and "cannot be reached" in str(error)
    assert told.versions() == [0, 0, 0]


def test_units():
    now = [0.0]
    units = Units(lambda: EPOCH, lambda: now[0])
    assert units.next(1, 0) == 0 and units.want.is_set()  # there is no writer id yet
    clock = units.clock()
    units.use(3, clock + 2, clock + 10)
    first = units.next(1, 0)
    assert first == version_of(clock + 3, 3)
    assert units.next(1, 0) == version_of(clock + 4, 3)  # never one twice
    assert units.next(2, version_of(clock + 7, 99)) == version_of(clock + 8, 3)
    assert units.next(2, version_of(clock + 10, 99)) == 0  # beyond the limit
    assert units.wanted == clock + 11
    units.raise_limit(clock + 40_000)
    now[0] = 60.0 * 20
    assert units.next(1, 0) == version_of(clock + 20, 3)
    assert units.next(1, 0, by_clock=False) == version_of(clock + 21, 3)
    for hashed in range(30_000):
        assert units.next(hashed + 10, version_of(clock + 30 + hashed % 100, 0)) > 0
    # What is forgotten raises the floor: nothing comes twice.
    assert units.floor > clock + 30
    assert units.next(10, 0) > version_of(clock + 30, 127)
    units.raise_limit(1 << 24)
    with pytest.raises(StoreRefused, match="used up"):
        units.next(1, version_of(LAST_UNIT, 1))
    units.lose()
    assert units.next(1, 0) == 0


def test_labels():
    old = 12
    for version in (NEW, NEW + 1, (1 << 31) - 1):
        assert fits(label(version, False), version) and fits(label(version, True), version)
        assert is_tombstone(label(version, True), version) and not is_tombstone(
            label(version, False), version
        )
        assert is_torn(label(version, False), version ^ 1) and not is_torn(0, version)
        assert is_foreign(0, version) and not is_foreign(label(version, False), version)
    assert not fits(0, old) and not is_foreign(0, old) and not is_torn(0x10, old)


async def test_nothing_is_copied_where_nobody_lacks_anything():
    copied = Copied()
    await Copier([], copied).make_equal(b"0" * 16, [Seen(5, 1), Seen(5, 1)])
    await Copier([], copied).make_equal(b"0" * 16, [Seen(-5, 0), Seen(0, 0)])
    assert copied.keys == 0


def test_hashes_are_those_of_the_nodes():
    """Read off a running gobeansdb."""
    assert hash_text(key_hash(b"a")) == b"e40c292c3c2569b2"
    assert value_hash(b"abc") == 59950 and value_hash(b"x" * 6000) == 41178 and value_hash(b"") == 40389


def test_a_mark_that_is_none():
    mark = Mark("n", ("n", "m"), 5, 7)
    assert decode(mark.encode()) == mark
    assert mark.is_of(6, 7) and not mark.is_of(7, 7) and not mark.is_of(5, 8)
    for content in (b"", b"{}", b"[1]", b"\xff", mark.encode().replace(b"5", b'"5"'), b'{"members": 3}'):
        assert decode(content) is None


def test_a_tree_that_is_none():
    line = b"%016x 7 5\n" % 3
    assert differences(Leaf(b"", [bytearray(line), bytearray(line)])) == {}
    found = differences(Leaf(b"", [bytearray(line), bytearray()]))
    assert found == {b"%016x" % 3: [Seen(5, 7), Seen(0, 0)]}
    for content in (b"x 1 2\n", b"%016x 1\n" % 3, b"123 1 2\n", b"%016x a 2\n" % 3):
        with pytest.raises(ProtocolError):
            entries(content)
    assert share(b"a", b"a") == 0.0 and share(b"a8", b"a") == 0.5
    assert progress_of(b"{}") is None and progress_of(b"\xff") is None
