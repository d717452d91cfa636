"""Moves that go wrong, told in simulated time: what two operators, a late repair or a forgotten gateway could break."""

import asyncio

import pytest

from sfss.beansdb.cluster import Cluster
from sfss.beansdb.move import Move
from sfss.beansdb.repair import NotNow, Repair
from sfss.errors import NoStoreAvailable, SfssError
from sfss.memcache.errors import ProxyError
from tests.simulated.histories import Plan, route_over
from tests.simulated.nodes import SimulatedNode
from tests.simulated.scenarios import Story
from tests.simulated.world import Process

KEY = b"k0"


class Told(Story):
    """Three nodes and a gateway over them, :attr:`old`; :meth:`add` makes other nodes."""

    def __init__(self):
        super().__init__(1, Plan(gateways=1, clients=0, writer_ids=8, skew=0.0))
        self.old = self.gateway

    def add(self) -> SimulatedNode:
        return SimulatedNode(self.network, max(self.network.nodes) + 1)

    def process(self, name: str) -> Process:
        made = Process(self.world)
        made.network, made.name = self.network, name
        self.processes.append(made)
        return made

    def gateway_over(self, nodes: list[SimulatedNode], name: str) -> Process:
        made = self.process(name)
        made.cluster = self.cluster_of(made, route_over(nodes))
        self.in_(made, made.cluster.start())
        self.wait(6)
        return made

    def tool(self, nodes: list[SimulatedNode]) -> tuple[Process, Cluster]:
        made = self.process("tool")
        made.cluster = self.cluster_of(made, route_over(nodes))
        self.in_(made, made.cluster.connect())
        return made, made.cluster

    def move(self, old: list[SimulatedNode], new: list[SimulatedNode]) -> "Moved":
        process, before = self.tool(old)
        after = self.cluster_of(process, route_over(new))
        self.in_(process, after.connect())
        return Moved(self, process, Move(before.parts[0], after.parts[0]))

    def in_(self, process: Process, coroutine, seconds: float = 60.0):
        """What *coroutine* gives in that process, or the error that it raises."""
        done: list = []

        async def run() -> None:
            try:
                done.append(await coroutine)
            except (SfssError, NotNow, ProxyError) as error:
                done.append(error)

        process.loop.call_soon(lambda: self.tasks.append(process.loop.create_task(run())))
        self.until(lambda: bool(done), seconds)
        return done[0]

    def wait(self, seconds: float) -> None:
        self.until(lambda: False, seconds)

    def restart(self, node: SimulatedNode, *, serves: bool = True) -> None:
        node.terminate()
        node.serves = serves
        node.start()

    def write(self, process: Process, value: bytes):
        self.wait(0.2)
        operation = self._begin(process, "put", KEY.decode(), value)
        answer = self.in_(process, process.cluster.write(KEY, value))
        if answer is None:
            self._done(operation)
        return answer

    def read(self, process: Process):
        self.wait(0.2)
        operation = self._begin(process, "get", KEY.decode())
        state = self.in_(process, process.cluster.read(KEY))
        if isinstance(state, Exception):
            return state
        operation.value = None if state.content is None else bytes(state.content)
        self._done(operation)
        return operation.value

    def states(self, process: Process) -> list[str]:
        return [node.state for node in process.cluster.nodes]

    def is_right(self) -> bool:
        self.nodes = list(self.network.nodes.values())
        self._judge()
        return not self.verdict.wrong


class Moved:
    def __init__(self, story: Told, process: Process, move: Move):
        self.story, self.process, self.move_ = story, process, move

    def copy(self) -> None:
        async def run() -> None:
            async for _ in self.move_.copy():
                pass

        assert self.story.in_(self.process, run()) is None

    def step(self, name: str, seconds: float = 20.0):
        """The nodes that were marked, or why not."""
        until = self.story.world.now + seconds
        while True:
            answer = self.story.in_(self.process, getattr(self.move_, name)().run())
            if isinstance(answer, list) or self.story.world.now >= until:
                return [node.name for node in answer] if isinstance(answer, list) else answer
            self.story.wait(0.5)

    def all(self, *names: str) -> None:
        for name in names:
            assert isinstance(answer := self.step(name), list), (name, answer)

    def still_there(self) -> list[str]:
        return self.story.in_(self.process, self.move_.still_there([]))


def test_a_repair_counts_both_memberships_while_nodes_are_added():
    told = Told()
    a, b, c = told.nodes
    d = told.add()
    move = told.move([a, b, c], [a, b, c, d])
    move.copy()
    move.all("prepare", "announce", "admit")
    new = told.gateway_over([a, b, c, d], "new")
    told.network.cut(told.old, c.port)
    assert told.write(told.old, b"v1") is None  # on a and b
    for process in (told.old, new):
        told.network.cut(process, b.port)
    a.kill()
    a.lose_disk()
    a.start()
    told.wait(15)
    assert isinstance(told.read(new), NoStoreAvailable)
    assert told.is_right()


def test_two_operators_do_not_get_two_moves():
    told = Told()
    a, b, c = told.nodes
    d, e = told.add(), told.add()
    first, second = told.move([a, b, c], [b, c, d]), told.move([a, b, c], [b, c, e])
    first.copy()
    second.copy()
    first.all("prepare")
    assert "is under way" in str(second.step("prepare", 1))
    told.restart(a, serves=False)
    told.wait(1)
    assert first.still_there() == []
    first.all("announce", "admit")
    assert "cancelled" in str(second.step("announce", 1))
    assert isinstance(second.step("admit", 1), NotNow)
    # Nor can one begin that goes on from there, before the first is finished.
    third = told.move([b, c, d], [c, d, e])
    assert "has not been finished" in str(third.step("prepare", 1))
    one = told.gateway_over([b, c, d], "one")
    other = told.gateway_over([b, c, e], "other")
    assert told.write(one, b"x") is None
    assert isinstance(told.read(other), NoStoreAvailable)
    assert told.is_right()


def test_a_leaving_node_that_gets_its_route_back_is_not_trusted_until_the_move_is_cancelled():
    told = Told()
    a, b, c = told.nodes
    d = told.add()
    move = told.move([a, b, c], [b, c, d])
    move.copy()
    move.all("prepare")
    told.restart(a, serves=False)
    told.wait(1)
    assert move.still_there() == []
    told.restart(b)  # one that stays is restarted in the settling time
    told.wait(5)
    told.restart(a)  # and the leaving one gets its route back
    told.wait(25)
    assert told.states(told.old) == ["fenced", "trusted", "trusted"]
    assert move.still_there() == ["node:1"]
    move.all("announce", "admit")
    new = told.gateway_over([b, c, d], "new")
    told.network.cut(told.old, c.port)
    told.network.cut(new, b.port)
    assert isinstance(told.write(told.old, b"x"), NoStoreAvailable)
    assert told.write(new, b"y") is None
    told.network.heal()
    told.wait(5)
    assert told.read(told.old) == told.read(new) == b"y"
    assert told.is_right()


def test_a_move_that_is_cancelled_leaves_everything_as_it_was():
    told = Told()
    a, b, c = told.nodes
    d = told.add()
    assert told.write(told.old, b"v") is None
    move = told.move([a, b, c], [b, c, d])
    move.copy()
    move.all("prepare")
    told.restart(a, serves=False)
    told.wait(1)
    told.restart(b)
    told.wait(8)
    assert isinstance(told.read(told.old), NoStoreAvailable)
    assert isinstance(move.step("announce", 3), NotNow)
    assert told.in_(move.process, move.move_.cancel()) is None
    told.restart(a)
    told.wait(20)
    assert told.states(told.old) == ["trusted"] * 3
    assert told.read(told.old) == b"v"
    assert "cancelled" in str(move.step("announce", 1))
    move.all("prepare", "announce")
    assert "count already" in str(told.in_(move.process, move.move_.cancel()))


def test_a_leaving_node_does_not_keep_others_from_being_repaired():
    told = Told()
    told.old.kill()
    nodes = [told.add() for _ in range(5)]
    f = told.add()
    gateway = told.gateway_over(nodes, "old")
    move = told.move(nodes, [*nodes[:4], f])
    move.copy()
    move.all("prepare")
    told.restart(nodes[4], serves=False)
    told.wait(1)
    told.restart(nodes[0])
    told.wait(20)
    assert told.states(gateway) == ["trusted"] * 4 + ["fenced"]
    move.all("announce", "admit")


def test_a_repair_that_is_late_undoes_nothing():
    told = Told()
    a, b, c = told.nodes
    d = told.add()
    told.network.cut(told.old, b.port)
    told.restart(b)
    told.wait(0.1)
    process, cluster = told.tool([a, b, c])
    repair = Repair(cluster.parts[0], cluster.parts[0].nodes)
    mark, came = repair._mark, []

    async def late(node, connection) -> None:
        await asyncio.sleep(60)
        await mark(node, connection)

    repair._mark = late

    async def run() -> None:
        await asyncio.sleep(3.2)
        try:
            came.append(await repair.run())
        except NotNow as reason:
            came.append(reason)

    process.loop.call_soon(lambda: told.tasks.append(process.loop.create_task(run())))
    told.wait(4.5)
    told.network.heal()
    told.wait(35)
    assert told.states(told.old) == ["trusted"] * 3 and not came
    move = told.move([a, b, c], [a, b, c, d])
    move.copy()
    move.all("prepare", "announce", "admit", "finish")
    told.wait(60)
    assert isinstance(came[0], NotNow) and "another process" in str(came[0])
    new = told.gateway_over([a, b, c, d], "new")
    assert told.states(new) == ["trusted"] * 4


@pytest.mark.parametrize("times", [1, 2])
def test_a_gateway_that_was_forgotten_trusts_nobody_after_the_finish(times):
    told = Told()
    members = list(told.nodes)
    assert told.write(told.old, b"x") is None
    for _ in range(times):
        more = [*members, told.add()]
        move = told.move(members, more)
        move.copy()
        move.all("prepare", "announce", "admit", "finish")
        told.wait(5)
        members = more
    assert told.states(told.old) == ["foreign"] * 3
    assert isinstance(told.write(told.old, b"y"), NoStoreAvailable)
    new = told.gateway_over(members, "new")
    assert told.read(new) == b"x"
    assert told.is_right()
