"""Connections between gateways and nodes: in order, late, cut."""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulated.nodes import SimulatedNode
    from tests.simulated.world import Process, World


class Network:
    """*latency*: seconds of one way, at least and at most."""

    def __init__(self, world: "World", latency: tuple[float, float] = (0.0001, 0.002)):
        self.world = world
        self.latency = latency
        self.keeps_index = False  # nodes start with index files that are longer than their data
        self.nodes: dict[int, SimulatedNode] = {}  # by port
        self.cuts: set[tuple[Process, int]] = set()
        self.slow: dict[int, float] = {}  # by port, seconds more

    def delay(self, port: int) -> float:
        random = self.world.random
        delay = random.uniform(*self.latency) + self.slow.get(port, 0.0) * random.random()
        return delay + (random.uniform(0.02, 0.4) if random.random() < 0.003 else 0.0)

    async def connect(self, process: "Process", make, port: int):
        loop = process.loop
        connected = loop.create_future()

        def arrive() -> None:
            node = self.nodes[port]
            if (process, port) in self.cuts or node.stopped:
                return  # a silence, which the client ends
            if not node.up:
                self.world.at(self.world.now, lambda: _fail(connected), process)
                return
            connection = SimulatedConnection(self, process, node)
            self.world.at(
                self.world.now + self.delay(port),
                lambda: connected.done() or connected.set_result(connection),
                process,
            )

        self.world.at(self.world.now + self.delay(port), arrive)
        connection = await connected
        protocol = make()
        connection.begin(protocol)
        return connection, protocol

    def cut(self, process: "Process", port: int) -> None:
        self.cuts.add((process, port))
        for connection in list(process.connections):
            if connection.node.port == port:
                connection.reset()

    def heal(self) -> None:
        self.cuts.clear()
        self.slow.clear()


def _fail(connected: asyncio.Future) -> None:
    if not connected.done():
        connected.set_exception(ConnectionRefusedError(111, "refused"))


class SimulatedConnection(asyncio.Transport):
    """Both ends. What a client has sent before it closes may still be executed, if the node has read it."""

    def __init__(self, network: Network, process: "Process", node: "SimulatedNode"):
        super().__init__()
        self.network = network
        self.world = network.world
        self.process = process
        self.node = node
        self.incarnation = node.incarnation
        self.open = True  # at the client's end
        self.protocol = None
        self._to_node = self._to_client = 0.0  # when the last piece arrives
        self.buffer = b""  # of the node
        process.connections.append(self)

    def begin(self, protocol) -> None:
        self.protocol = protocol
        protocol.connection_made(self)

    # The client's end.

    def write(self, data) -> None:
        if self.open:
            data = bytes(data)
            self._to_node = max(self._to_node, self.world.now + self.network.delay(self.node.port))
            self.world.at(self._to_node, lambda: self.node.receive(self, data))

    def writelines(self, pieces) -> None:
        self.write(b"".join(bytes(piece) for piece in pieces))

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name, default=None):
        return default

    def abort(self) -> None:
        if self.open:
            self.open = False
            self.world.at(self.world.now, lambda: self._lost(None), self.process)

    close = abort

    def is_closing(self) -> bool:
        return not self.open

    def _lost(self, error: Exception | None) -> None:
        if self in self.process.connections:
            self.process.connections.remove(self)
        if self.protocol is not None:
            protocol, self.protocol = self.protocol, None
            protocol.connection_lost(error)

    def client_died(self) -> None:
        self.open = False

    # The node's end, and the wire.

    @property
    def alive(self) -> bool:
        """Whether the node's process is the one that accepted it."""
        return self.node.up and self.node.incarnation == self.incarnation

    def reset(self) -> None:
        """The wire, or the node, has gone."""
        if self.open:
            self.open = False
            self.world.at(
                self.world.now, lambda: self._lost(ConnectionResetError(104, "reset")), self.process
            )

    def reply(self, data: bytes) -> None:
        if not self.open:
            return
        self._to_client = max(self._to_client, self.world.now + self.network.delay(self.node.port))
        self.world.at(self._to_client, lambda: self._arrive(data), self.process)

    def _arrive(self, data: bytes) -> None:
        if self.open and self.protocol is not None:
            self.protocol.data_received(data)
