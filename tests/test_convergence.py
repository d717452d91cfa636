"""Whatever happens to three nodes, in the end they have the same, and what clients were told is true."""

import errno
import os
import shutil

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sfss.compiled import PURE_VARIABLE
from sfss.replication.operations import Adopt
from tests import shattered
from tests.simulation import STEPS, SimulatedNode, World

MESH = {"A": "BC", "B": "AC", "C": "AB"}
LINE = {"A": "B", "B": "AC", "C": "B"}
PATHS = ["a", "a/b", "c.jpg"]

nodes = st.sampled_from("ABC")
pairs = st.sampled_from([(a, b) for a in "ABC" for b in "ABC" if a != b])
faults = st.sampled_from(
    [None, None, None, "lose request", "lose answer", "damage request", "damage answer", "duplicate"]
)
actions = st.one_of(
    st.tuples(st.just("put"), nodes, st.sampled_from(PATHS), st.integers(0, 7)),
    st.tuples(st.just("put"), nodes, st.sampled_from(PATHS), st.integers(0, 7)),
    st.tuples(st.just("delete"), nodes, st.sampled_from(PATHS)),
    st.tuples(
        st.just("group"),
        nodes,
        st.lists(st.tuples(st.sampled_from(PATHS), st.integers(-1, 7)), min_size=2, max_size=4),
    ),
    st.tuples(
        st.just("fail"),
        nodes,
        st.sampled_from(["append", "place", "_change_queues", "_save_state"]),
        st.sampled_from([errno.EIO, errno.ENOSPC]),
    ),
    st.tuples(st.just("deliver"), pairs, faults),
    st.tuples(st.just("deliver"), pairs, faults),
    st.tuples(st.just("compare"), pairs, faults),
    st.tuples(st.just("cut"), pairs),
    st.tuples(st.just("mend"), pairs),
    st.tuples(st.just("kill"), nodes, st.sampled_from([*STEPS, None])),
    st.tuples(st.just("start"), nodes),
    st.tuples(st.just("checkpoint"), nodes),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 1.5, 60.0])),
)
histories = st.lists(actions, min_size=5, max_size=40)
skews = st.fixed_dictionaries({name: st.sampled_from([0.0, -300.0, 240.0]) for name in "ABC"})


def content(number: int) -> bytes:
    """Of a file; 6 and 7 have one SHA-1."""
    return (shattered.A, shattered.B)[number - 6] if number >= 6 else b"%d" % number * (number * 50)


def play(world: World, action: tuple) -> None:
    match action:
        case ("put", name, path, number):
            world.put(name, path, content(number))
        case ("delete", name, path):
            world.delete(name, path)
        case ("group", name, wanted):
            world.change(name, [(path, None if n < 0 else content(n)) for path, n in wanted])
        case ("fail", name, step, number):
            if world.nodes[name].replica is not None:
                world.nodes[name].fail_at(step, number)
        case ("use neighbours", name, forgotten):
            if world.nodes[name].replica is not None:
                others = world.nodes[name].peers
                world.nodes[name].replica.use_peers([n for n in others if n != forgotten])
                world.nodes[name].replica.use_peers(others)
        case ("forget",):
            world.forget(100.0)
        case ("deliver" | "compare" as kind, (source, target), fault):
            if target in world.nodes[source].peers:
                world.converse(source, target, kind, fault)
        case ("cut", pair):
            world.cut.add(frozenset(pair))
        case ("mend", pair):
            world.cut.discard(frozenset(pair))
        case ("kill", name, None):
            world.nodes[name].kill()
        case ("kill", name, step):
            world.nodes[name].kill_at = step
        case ("start", name):
            world.nodes[name].start()
        case ("checkpoint", name):
            if world.nodes[name].replica is not None:
                world.nodes[name].checkpoint()
        case ("begin checkpoint" | "end checkpoint" as which, name):
            if world.nodes[name].replica is not None:
                getattr(world.nodes[name], which.replace(" ", "_"))()
        case ("cut power", name, *lost):
            world.nodes[name].cut_power(*lost)
        case ("wait", seconds):
            world.time += seconds


def run(links, history, skews, *, names="exact", comparing=True, power=False, trusting=True):
    world = World(links, names=names, skews=skews, trusting=trusting)
    try:
        if power:
            for node in world.nodes.values():
                node.checkpoint()
        for action in history:
            play(world, action)
        world.settle(comparing=comparing)
        world.check()
    finally:
        world.close()


#: Compiled, as CI runs these, they take a fifth of the time that they take while their coverage is measured.
EXAMPLES = 30 if os.environ.get(PURE_VARIABLE) else 150

thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)


@thorough
@given(histories, skews)
def test_a_mesh_converges(history, skews):
    run(MESH, history, skews)


@thorough
@given(histories, skews, st.booleans())
def test_a_mesh_converges_by_its_queues_alone(history, skews, trusting):
    run(MESH, history, skews, comparing=False, trusting=trusting)


@thorough
@given(histories, skews)
def test_a_line_converges(history, skews):
    run(LINE, history, skews, comparing=False)


@thorough
@given(histories, skews)
def test_a_mesh_of_generated_names_converges(history, skews):
    run(MESH, history, skews, names="generated")


with_power_cuts = st.lists(
    st.one_of(
        actions,
        st.tuples(st.just("begin checkpoint"), nodes),
        st.tuples(st.just("end checkpoint"), nodes),
        st.tuples(st.just("cut power"), nodes, st.booleans(), st.booleans(), st.booleans()),
    ),
    min_size=5,
    max_size=30,
)


@thorough
@given(with_power_cuts, skews)
def test_what_is_acknowledged_outlives_a_power_cut(history, skews):
    run(MESH, history, skews, comparing=False, power=True)


def story(*actions, power_is_cut_at="A"):
    """What was acknowledged in *actions* is there, though A loses its power at the end."""
    run(
        MESH,
        [*actions, ("cut power", power_is_cut_at)],
        dict.fromkeys("ABC", 0.0),
        comparing=False,
        power=True,
    )


def test_what_is_acknowledged_is_in_the_log_on_disk():
    story(("put", "A", "a", 1), ("delete", "A", "a"), ("put", "A", "c.jpg", 2))


def test_a_segment_that_was_used_before_is_on_disk_too():
    story(
        *[action for n in range(4) for action in (("put", "A", "a", n), ("checkpoint", "A"))],
        ("put", "A", "a", 5),
    )


@pytest.mark.parametrize("step", ["place", "_change_queues", "_save_state", "append"])
def test_what_is_acknowledged_outlives_a_failure_of_the_disk_and_a_power_cut(step):
    story(
        ("put", "A", "a", 1),
        ("fail", "A", step, errno.EIO),
        ("put", "A", "a", 2),
        ("wait", 1.5),
        ("put", "A", "c.jpg", 1),
    )


def test_a_checkpoint_that_is_not_ended_takes_nothing_from_the_log():
    story(("put", "A", "a", 1), ("begin checkpoint", "A"), ("put", "A", "a/b", 2), ("end checkpoint", "A"))
    story(("begin checkpoint", "A"), ("put", "A", "a", 1), ("end checkpoint", "A"), ("begin checkpoint", "A"))


with_forgetting = st.lists(
    st.one_of(
        actions,
        st.tuples(st.just("use neighbours"), nodes, nodes),
        st.tuples(st.just("forget")),
        st.tuples(st.just("wait"), st.just(200.0)),
    ),
    min_size=5,
    max_size=40,
)


@thorough
@given(with_forgetting)
def test_forgetting_deletes_loses_no_file(history):
    """Neighbours go and come, with their queues lost. (Deletes may come back then: that is told.)"""
    world = World(MESH, trusting=True)
    try:
        for action in history:
            play(world, action)
        world.settle()
        states = [node.files() for node in world.nodes.values()]
        assert all(state == states[0] for state in states)
        for path, (version, digest) in world.acknowledged.newest.items():
            if digest is not None:
                assert world.nodes["A"].replica.catalog.get(path).version >= version
    finally:
        world.close()


# Stories, each from beginning to end.


@pytest.fixture(params=["exact", "generated"])
def world(request):
    world = World(MESH, names=request.param)
    yield world
    world.close()


def fill(world, count=40):
    for number in range(count):
        world.put("ABC"[number % 3], f"f/{number}", b"%d" % number * 100)


def test_a_node_that_lost_its_disk_gets_all_again(world):
    fill(world)
    world.settle()
    world.nodes["B"].lose_disk()
    world.put("A", "while/away", b"new")
    world.delete("C", "f/3")
    world.settle()
    world.check()
    assert len(world.nodes["B"].files()) == 40


def test_who_was_said_to_be_told_and_was_not_gets_it_all_the_same():
    world = World(MESH, trusting=True)
    fill(world)
    world.settle()
    for number in range(5):
        world.put("A", f"new/{number}", b"%d" % number)
    world.time += 1
    assert world.converse("A", "B", "deliver")
    assert world.nodes["B"].replica.catalog.queue_length("C") == 0
    world.nodes["A"].lose_disk()
    world.settle()
    world.check()
    assert len(world.nodes["C"].files()) == 45
    world.close()


def test_what_is_passed_on_is_passed_on_by_all():
    """A says that it tells C. That is true of what begins at A, and not of what it got from B."""
    world = World({"A": "BCD", "B": "A", "C": "AD", "D": "AC"}, trusting=True)
    world.settle()
    world.put("B", "x", b"1")
    world.converse("B", "A", "deliver")
    world.time += 5
    world.converse("A", "D", "deliver")
    assert world.nodes["D"].replica.catalog.queue_length("C") == 1
    world.close()


def test_a_new_node_gets_all(world):
    fill(world)
    world.settle()
    for node in world.nodes.values():
        node.peers.append("D")
        node.kill()
    world.nodes["D"] = SimulatedNode(world, "D", ["A", "B", "C"], 0.0)
    world.settle()
    world.check()
    assert len(world.nodes["D"].files()) == 40


def test_a_delete_of_a_file_that_has_not_come_yet_is_remembered(world):
    world.put("A", "x", b"content")
    world.time += 1
    world.delete("B", "x")
    assert world.nodes["B"].files() == {}
    world.settle()
    world.check()
    assert all(node.files() == {} for node in world.nodes.values())


def test_in_generated_mode_a_delete_wins_whatever_the_clocks_say():
    world = World(MESH, names="generated", skews={"A": 300.0, "B": -300.0})
    world.put("A", "x", b"content")  # its version is ten minutes ahead of the delete's
    world.delete("B", "x")
    world.settle()
    assert all(node.files() == {} for node in world.nodes.values())
    world.close()


def test_what_a_client_does_after_it_has_seen_a_file_is_newer_whatever_the_clocks_say():
    world = World(MESH, skews={"A": 300.0, "B": -300.0})
    world.put("A", "x", b"first")
    world.converse("A", "B", "deliver")
    world.put("B", "x", b"second")
    world.settle()
    world.check()
    assert world.nodes["C"].replica.folder.read("x") == b"second"
    world.close()


@pytest.mark.parametrize("who", "AB")
def test_a_comparison_goes_on_though_one_changes_meanwhile(world, who):
    fill(world)
    world.settle()
    answer = world._answer

    def changed_first(two, request):
        world._answer = answer
        world.put(who, f"meanwhile/{who}", b"x")
        return answer(two, request)

    world._answer = changed_first
    assert world.converse("A", "B", "compare")
    world.settle()
    world.check()


def test_a_restored_storage_brings_nothing_deleted_back_and_loses_nothing(world):
    """The copy has names that cannot lie at their own path; files were deleted, changed and made since."""
    long = "n" * 300
    fill(world)
    for path in (long, "f", "f/0/below"):
        world.put("B", path, b"at another place")
    world.settle()
    node = world.nodes["B"]
    copy = world.folder / "copy"
    shutil.copytree(node.folder / "storage", copy)
    world.delete("A", "f/1")
    world.delete("C", "f/0/below")
    if world.names == "exact":
        world.put("A", "f/2", b"changed")
    world.put("C", "new", b"since")
    world.settle()
    node.lose_disk()
    shutil.copytree(copy, node.folder / "storage")
    shutil.rmtree(copy)
    (node.folder / "storage/.sfss/owner").unlink()
    node.start()
    found = [*node.replica.folder.walk()]
    assert {long, "f", "f/0/below"} <= set(found) and len(found) == 43
    node.apply(*map(Adopt, found))
    world.settle()
    world.check()
    assert len(node.files()) == 42


DAY = 86400.0


def away_for_long(world, name: str) -> None:
    """The others do without *name*, and forget what it does not know of."""
    others = [node for node in world.nodes.values() if node.name != name]
    for node in others:
        node.replica.use_peers([n for n in node.peers if n != name])
    world.cut |= {frozenset((name, node.name)) for node in others}


def test_a_node_that_was_away_for_long_brings_nothing_deleted_back(world):
    fill(world)
    world.settle()
    away_for_long(world, "C")
    for number in range(20):
        world.delete("A", f"f/{number}")
    world.put("C", "only/here", b"unsent")
    for _ in range(3):
        world.time += 10
        for pair in ("AB", "BA"):
            world.converse(*pair, "deliver")
    world.time += 30 * DAY
    world.forget(7 * DAY)
    assert world.nodes["A"].replica.catalog.counts.tombstones == 0
    for node in world.nodes.values():
        node.replica.use_peers(node.peers)
    world.settle()
    world.check()
    files = world.nodes["A"].files()
    assert len(files) == 21 and "only/here" in files


def test_nothing_is_deleted_for_a_node_that_lost_its_disk_and_forgot(world):
    """Who lacks files may have lost them: that is no reason to delete them elsewhere."""
    fill(world)
    world.settle()
    world.nodes["A"].lose_disk()
    world.nodes["A"].start()
    world.put("A", "new", b"x")
    world.delete("A", "new")
    world.time += 30 * DAY
    world.nodes["A"].replica.catalog.keep_queues_of([], 0)
    world.forget(7 * DAY)
    assert world.nodes["A"].replica.horizon > 0
    world.settle()
    world.check()
    assert len(world.nodes["A"].files()) == 40


def test_a_tombstone_stays_while_a_neighbour_does_not_know_of_it(world):
    world.put("A", "x", b"1")
    world.settle()
    world.cut = {frozenset("AC"), frozenset("BC")}
    world.delete("A", "x")
    for pair in ("AB", "BA"):
        world.converse(*pair, "deliver")
    world.time += 365 * DAY
    world.forget(7 * DAY)
    assert world.nodes["A"].replica.catalog.counts.tombstones == 1
    world.settle()
    world.check()
    world.time += 365 * DAY
    world.forget(7 * DAY)
    assert all(node.replica.catalog.counts.tombstones == 0 for node in world.nodes.values())
    world.settle()
    assert all(node.files() == {} for node in world.nodes.values())


def test_equal_nodes_exchange_a_few_hundred_bytes(world):
    fill(world)
    world.settle()
    world.traffic = 0
    assert world.converse("A", "B", "compare")
    assert world.traffic < 1000


def test_files_found_in_the_folder_are_the_same_on_every_node(world):
    for name, node in world.nodes.items():
        folder = node.replica.folder
        for path in ("old/1.jpg", f"only/{name}.jpg"):
            folder.place(folder.write_temporary(path.encode(), sync=False), path)
            node.apply(Adopt(path))
    world.settle()
    assert all(len(node.files()) == 4 for node in world.nodes.values())
    versions = {node.replica.catalog.get("old/1.jpg").version for node in world.nodes.values()}
    assert len(versions) == 1


def test_nodes_of_different_names_do_not_mix():
    world = World({"A": "B", "B": "A"})
    world.put("A", "x", b"1")
    replica = world.nodes["B"].replica
    replica.rules = replica.rules._replace(immutable=True)
    assert not world.converse("A", "B", "deliver")
    assert world.nodes["B"].files() == {}
    world.close()
