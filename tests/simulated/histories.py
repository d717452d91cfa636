"""Random histories: clients, and what happens to the nodes, the gateways and the wires."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from sfss.beansdb import units, versions, writers
from sfss.beansdb.cluster import Cluster
from sfss.beansdb.marks import decode
from sfss.beansdb.purge import purge
from sfss.beansdb.repair import NotNow
from sfss.beansdb.route import Route, route_of
from sfss.errors import NoStoreAvailable, PreconditionFailed, SfssError
from sfss.memcache.endpoint import Limits
from sfss.memcache.errors import ProxyError
from tests.simulated.linearizable import Operation, explain
from tests.simulated.network import Network
from tests.simulated.nodes import SimulatedNode
from tests.simulated.world import Process, World

# Ids are taken again soon, to see that this does no harm.
writers.IDLE, writers.RENEWAL = 2.0, 0.7

PORTS = (1, 2, 3)
ADDRESSES = {f"node:{port}": ("node", port) for port in range(1, 10)}
LIMITS = Limits(connections=2, connect_timeout=1.0, operation_timeout=2.0)


@dataclass
class Plan:
    """What a history is like. Times in seconds."""

    seconds: float = 60.0
    keys: int = 3
    gateways: int = 2
    clients: int = 2  #: of each gateway
    pause: float = 0.4  #: between two requests of one client, on the average
    writes: float = 0.5  #: of all requests
    writer_ids: int = 4
    skew: float = 300.0  #: of clocks
    troubles: tuple[str, ...] = (
        "kill a node", "kill a node", "terminate a node", "stop a node", "stop a node", "cut", "cut", "slow",
        "lose a disk", "pause a gateway", "kill a gateway", "kill a gateway", "step a clock",
        "lose what one had", "lose what one had", "cut two", "die in the middle",
        "kill a flapping node", "kill a flapping node",
    )  # fmt: skip
    every: float = 4.0  #: between two troubles, on the average
    keeps_index: bool = False
    seconds_per_unit: int = 60
    lag: int = 24 * 60  #: of versions behind the clock, units
    purge_age: int = 8  #: of what is purged, units


@dataclass
class Verdict:
    seed: int
    operations: int = 0
    succeeded: int = 0
    troubles: int = 0
    purges: int = 0
    wrong: list[str] = field(default_factory=list)


def route_over(nodes: Sequence[SimulatedNode]) -> Route:
    return route_of(tuple(f"node:{node.port}" for node in nodes))


class History:
    def __init__(self, seed: int, plan: Plan):
        random.seed(seed)
        self.plan = plan
        versions.SECONDS_PER_UNIT, units.LAG = plan.seconds_per_unit, plan.lag
        self.world = world = World(seed)
        self.network = Network(world)
        self.network.processes = self.processes = []
        self.network.keeps_index = plan.keeps_index
        self.nodes = [SimulatedNode(self.network, port) for port in PORTS]
        self.route = route_over(self.nodes)
        self.operations: list[Operation] = []
        self.verdict = Verdict(seed)
        self.ending = False
        self.tasks: list[asyncio.Task] = []
        self.last_loss = 0.0  # when a trusted node was killed
        self._numbers = iter(range(1 << 30))
        for node in self.nodes:
            node.skew = world.random.uniform(-2, 2)
        for _ in range(plan.gateways):
            self.start_gateway()

    def start_gateway(self) -> None:
        process = Process(self.world)
        process.network = self.network
        process.skew = self.world.random.uniform(-1, 1) * self.plan.skew
        process.name = f"g{next(self._numbers)}"
        self.processes.append(process)
        process.cluster = self.cluster_of(process, self.route)
        process.loop.call_soon(
            lambda: setattr(process, "task", process.loop.create_task(self._serve(process)))
        )

    def cluster_of(self, process: Process, route: Route) -> Cluster:
        return Cluster(
            route,
            ADDRESSES,
            limits=LIMITS,
            request_timeout=5.0,
            wall=process.wall,
            writer_ids=range(self.plan.writer_ids),
        )

    async def _serve(self, process: Process) -> None:
        await process.cluster.start()
        process.tasks = [process.loop.create_task(self._client(process)) for _ in range(self.plan.clients)]

    async def _client(self, process: Process) -> None:
        while not self.ending:
            await asyncio.sleep(random.expovariate(1 / self.plan.pause))
            key = f"k{random.randrange(self.plan.keys)}"
            choice = random.random()
            if choice >= self.plan.writes:
                await self.get(process, key)
            elif choice < self.plan.writes * 0.6:
                await self.put(process, key)
            elif choice < self.plan.writes * 0.85:
                await self.delete(process, key)
            else:
                await self.put_if(process, key)

    # Requests.

    def _begin(self, process: Process, kind: str, key: str, value: object = None) -> Operation:
        operation = Operation(kind, key, value, self.world.now, by=process.name)
        self.operations.append(operation)
        return operation

    def _done(self, operation: Operation) -> None:
        operation.end, operation.known = self.world.now, True

    async def get(self, process: Process, key: str, must_succeed: bool = False) -> None:
        operation = self._begin(process, "get", key)
        try:
            state = await process.cluster.read(key.encode())
        except SfssError as error:
            if must_succeed:
                self.verdict.wrong.append(f"{key} cannot be read at the end: {error}")
            return
        operation.value = None if state.content is None else bytes(state.content)
        self._done(operation)

    async def put(self, process: Process, key: str) -> None:
        value = b"%d" % next(self._numbers)
        operation = self._begin(process, "put", key, value)
        try:
            await process.cluster.write(key.encode(), value)
        except SfssError as error:
            self._may_be_nothing(operation, error)
        else:
            self._done(operation)

    async def delete(self, process: Process, key: str) -> None:
        operation = self._begin(process, "get", key)
        try:
            state = await process.cluster.read(key.encode())
        except SfssError:
            return
        operation.value = None if state.content is None else bytes(state.content)
        self._done(operation)
        if state.content is not None:
            await self._write_over(process, key, None, state, operation.begin, conditional=False)

    async def put_if(self, process: Process, key: str) -> None:
        operation = self._begin(process, "get", key)
        try:
            state = await process.cluster.read(key.encode())
        except SfssError:
            return
        operation.value = None if state.content is None else bytes(state.content)
        self._done(operation)
        value = b"%d" % next(self._numbers)
        await self._write_over(process, key, value, state, operation.begin, conditional=True)

    async def _write_over(
        self, process: Process, key: str, value, state, begin: float, *, conditional: bool
    ) -> None:
        """The client's request has begun at *begin*, with the read."""
        operation = self._begin(process, "delete" if value is None else "put", key, value)
        operation.begin = begin
        written = process.loop.create_future()
        process.cluster.write_over(key.encode(), value, state, written, conditional=conditional)
        try:
            await written
        except PreconditionFailed:
            return  # it may have been there for a moment
        except SfssError as error:
            self._may_be_nothing(operation, error)
        else:
            self._done(operation)

    def _may_be_nothing(self, operation: Operation, error: SfssError) -> None:
        if isinstance(error, NoStoreAvailable) and "Nothing was written" in str(error):
            self.operations.remove(operation)

    # Troubles.

    def play(self) -> Verdict:
        world = self.world
        self._trouble_again()
        world.run(lambda: False, self.plan.seconds)
        self.ending = True
        self._heal()
        world.run(self._is_well, world.now + 200)
        if not self._is_well():
            self.verdict.wrong.append(
                "it does not become well again: "
                + ", ".join(f"{node.name} {node.state}" for p in self._living() for node in p.cluster.nodes)
            )
        else:
            world.run(lambda: False, world.now + 15)
            self._read_all_back()
        self._judge()
        return self.verdict

    def _living(self) -> list[Process]:
        return [process for process in self.processes if not process.dead]

    def _heal(self) -> None:
        self.network.heal()
        for node in self.nodes:
            node.go_on()
            node.start()
        for process in self._living():
            process.paused_until = 0.0
        if len(self._living()) < 1:
            self.start_gateway()

    def _is_well(self) -> bool:
        return all(
            process.cluster.parts
            and all(process.cluster.is_trusted(node) for node in process.cluster.nodes)
            and process.cluster.parts[0].units.writer >= 0
            for process in self._living()
        )

    def _read_all_back(self) -> None:
        for process in self._living():
            for number in range(self.plan.keys):
                for _ in range(3):
                    process.loop.call_soon(
                        lambda p=process, k=f"k{number}": p.loop.create_task(self.get(p, k, True))
                    )
        self.world.run(lambda: False, self.world.now + 10)

    def _trouble_again(self) -> None:
        delay = random.expovariate(1 / self.plan.every)
        self.world.at(self.world.now + delay, self._trouble)

    def _trouble(self) -> None:
        if self.ending:
            return
        kind = random.choice(self.plan.troubles)
        if getattr(self, "_" + kind.replace(" ", "_"))():
            self.verdict.troubles += 1
        self._trouble_again()

    def _later(self, least: float, most: float, happen) -> None:
        self.world.at(self.world.now + random.uniform(least, most), happen)

    def _is_trusted(self, node: SimulatedNode) -> bool:
        """Whether it has a true mark. (Somebody may not know it yet.)"""
        key = self.route.parts[0].reserved_key("mark")
        for entry in node.entries.values():
            if entry.key == key:
                mark = decode(entry.value)
                return bool(mark and node.up and mark.pid == 1000 + node.incarnation)
        return False

    def _victim(self) -> SimulatedNode | None:
        """A node whose data may be lost, since the two others have all."""
        victim = random.choice(self.nodes)
        if victim.up and all(self._is_trusted(node) for node in self.nodes if node is not victim):
            self.last_loss = self.world.now
            return victim
        return None

    def _kill_a_node(self) -> bool:
        if (node := self._victim()) is None:
            return False
        node.kill()
        self._later(0.1, 8.0, node.start)
        return True

    def _kill_a_flapping_node(self) -> bool:
        """One that has just been killed, and is fenced, again; and another one within a moment. What is acknowledged
        meanwhile is acknowledged by the two others.
        """
        fenced = [node for node in self.nodes if node.up and not self._is_trusted(node)]
        others = [node for node in self.nodes if self._is_trusted(node) and not node.stopped]
        if len(fenced) != 1 or len(others) != 2 or self.world.now - self.last_loss < 2.5:
            return False
        victim, node = random.choice(others), fenced[0]

        def kill_both() -> None:
            is_fenced = node.up and not self._is_trusted(
                node
            )  # or two of three would lose what they acknowledged
            if is_fenced and all(self._is_trusted(other) for other in others):
                self.last_loss = self.world.now
                for each in (node, victim):
                    each.kill()
                    self._later(0.1, 3.0, each.start)

        if random.random() < 0.5:
            # The third one is cut off meanwhile.
            for process in self._living():
                third = next(other for other in others if other is not victim)
                self.network.cut(process, third.port)
                self._later(1.0, 2.0, lambda p=process, n=third: self.network.cuts.discard((p, n.port)))
        self._later(0.1, 0.9, kill_both)
        return True

    def _lose_a_disk(self) -> bool:
        if (node := self._victim()) is None:
            return False
        node.kill()
        if random.random() < 0.5:
            node.lose_disk()
        else:
            node.roll_back()
        self._later(0.1, 8.0, node.start)
        return True

    def _terminate_a_node(self) -> bool:
        node = random.choice(self.nodes)
        if not node.up or node.stopped:
            return False
        node.terminate()
        self._later(0.1, 5.0, node.start)
        return True

    def _stop_a_node(self) -> bool:
        node = random.choice(self.nodes)
        if not node.up or node.stopped:
            return False
        node.stop()
        self._later(0.2, 12.0, node.go_on)
        if random.random() < 0.3:
            node.take_snapshot()
        return True

    def _lose_what_one_had(self) -> bool:
        """Two nodes have what is written while the third is cut off, and one of them is killed."""
        if (victim := self._victim()) is None:
            return False
        other = random.choice([node for node in self.nodes if node is not victim])
        for process in self._living():
            self.network.cut(process, other.port)

        def kill() -> None:
            if victim.up and all(self._is_trusted(node) for node in self.nodes if node is not victim):
                self.last_loss = self.world.now
                victim.kill()
                self._later(0.02, 1.0, victim.start)
            for process in self.processes:
                self.network.cuts.discard((process, other.port))

        self._later(0.5, 2.0, kill)
        return True

    def _cut(self) -> bool:
        if not self._living():
            return False
        process, node = random.choice(self._living()), random.choice(self.nodes)
        self.network.cut(process, node.port)
        self._later(0.2, 8.0, lambda: self.network.cuts.discard((process, node.port)))
        return True

    def _cut_two(self) -> bool:
        """What a gateway has sent reaches one node only."""
        if not self._living():
            return False
        process, reached = random.choice(self._living()), random.choice(self.nodes)
        for node in self.nodes:
            if node is not reached:
                self.network.cut(process, node.port)
                self._later(0.1, 2.0, lambda port=node.port: self.network.cuts.discard((process, port)))
        return True

    def _die_in_the_middle(self) -> bool:
        """The same, and then it is killed, and the node that it reached stopped for a while."""
        if not self._living() or not all(node.up and not node.stopped for node in self.nodes):
            return False
        process, reached = random.choice(self._living()), random.choice(self.nodes)
        for node in self.nodes:
            if node is not reached:
                self.network.cut(process, node.port)

        def die() -> None:
            process.kill()
            self._later(0.0, 0.1, self.start_gateway)
            self._later(0.0, 0.004, reached.stop)
            self._later(3.0, 9.0, reached.go_on)

        self._later(0.0, 0.002, die)
        return True

    def _slow(self) -> bool:
        node = random.choice(self.nodes)
        self.network.slow[node.port] = random.choice((0.02, 0.2, 1.5))
        self._later(0.5, 5.0, lambda: self.network.slow.pop(node.port, None))
        return True

    def _pause_a_gateway(self) -> bool:
        if not self._living():
            return False
        random.choice(self._living()).paused_until = self.world.now + random.choice((0.3, 1.5, 6.0, 15.0))
        return True

    def _kill_a_gateway(self) -> bool:
        if not self._living():
            return False
        process = random.choice(self._living())
        process.kill()
        self._later(0.01, 1.0, self.start_gateway)
        return True

    def _step_a_clock(self) -> bool:
        random.choice(self.nodes).skew += random.uniform(-40, 40)
        return True

    def _take_a_snapshot(self) -> bool:
        random.choice(self.nodes).take_snapshot()
        return True

    def _empty_a_node(self) -> bool:
        """As an operator does after a purge."""
        if (node := self._victim()) is None:
            return False
        node.terminate()
        node.lose_disk()
        node.start()
        return True

    def _purge(self) -> bool:
        if not self._living():
            return False
        process = random.choice(self._living())

        def begin() -> None:
            self.tasks.append(process.loop.create_task(self.purge(process)))

        process.loop.call_soon(begin)
        return True

    async def purge(self, process: Process) -> bool:
        replicas = process.cluster.parts[0]
        try:
            await purge(replicas, replicas.units.clock() - self.plan.purge_age).run()
        except (NotNow, ProxyError):
            return False
        self.verdict.purges += 1
        return True

    # The judge.

    def _judge(self) -> None:
        verdict = self.verdict
        verdict.operations = len(self.operations)
        verdict.succeeded = sum(operation.known for operation in self.operations)
        for node in self.nodes:
            verdict.wrong += [f"one version with two values: {key!r}" for key in node.conflicts]
        values: dict[tuple[bytes, int], set[object]] = {}
        for node in self.nodes:
            for entry in node.entries.values():
                if entry.version > 0 and not entry.key.startswith(b"~sfss-"):
                    values.setdefault((entry.key, entry.version), set()).add((entry.flags, entry.value))
        verdict.wrong += [
            f"one version with two values: {key[0]!r}" for key, of in values.items() if len(of) > 1
        ]
        for process in self.processes:
            verdict.wrong += [f"an error in a callback: {error}" for error in process.loop.errors]
        for number in range(self.plan.keys):
            of_key = [o for o in self.operations if o.key == f"k{number}"]
            if not explain(of_key):
                verdict.wrong.append(f"k{number} is not linearizable")


def play(seed: int, plan: Plan | None = None) -> Verdict:
    history = History(seed, plan or Plan())
    verdict = history.play()
    verdict.history = history
    return verdict
