"""Histories in which one node takes another one's place, under load and troubles."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from sfss.beansdb.move import Move
from sfss.beansdb.repair import NotNow
from sfss.memcache.errors import ProxyError
from tests.simulated.histories import History, Plan, Verdict, route_over
from tests.simulated.nodes import SimulatedNode
from tests.simulated.world import Process

MOVES = Plan(
    seconds=90.0, pause=0.2, keys=4, every=4.0,
    troubles=(
        "kill a node", "terminate a node", "stop a node", "cut", "cut", "cut two", "slow", "pause a gateway",
        "kill a gateway", "lose what one had", "lose a disk",
    ),
)  # fmt: skip


class Moving(History):
    """*settling*: seconds between the end of the node that leaves and the announcement. *waits*: for that end."""

    def __init__(self, seed: int, plan: Plan, settling: float = 8.0, waits: bool = True):
        super().__init__(seed, plan)
        self._settling = settling
        self._waits = waits
        self._old = self.route
        self._leaving = random.choice(self.nodes)
        self._joining = SimulatedNode(self.network, 4)
        self._new = route_over([n for n in self.nodes if n is not self._leaving] + [self._joining])
        self._left = self._announced = self.finished = False
        process = Process(self.world)
        process.network, process.name = self.network, "mover"
        self._mover = process
        self.network.processes = [*self.processes, process]
        self.processes = self.network.processes
        self._later(5.0, 20.0, lambda: process.loop.call_soon(self._begin_to_move))

    def _living(self) -> list[Process]:
        return [process for process in super()._living() if process is not self._mover]

    def start_gateway(self) -> None:
        if getattr(self, "_announced", False):
            self.route = random.choice((self._old, self._new))
        super().start_gateway()

    def _begin_to_move(self) -> None:
        self.tasks.append(self._mover.loop.create_task(self._move()))

    async def _move(self) -> None:
        old, new = self.cluster_of(self._mover, self._old), self.cluster_of(self._mover, self._new)
        await old.connect()
        await new.connect()
        move = Move(old.parts[0], new.parts[0])
        move.check()

        async def copy() -> None:
            async for _ in move.copy():
                pass

        await self._until_done(copy)
        members = [node for node in self.nodes if node is not self._leaving] + [self._joining]
        await self._until_done(lambda: move.prepare().run())
        if self._waits:
            await self._take_out(move, members)
        else:
            self.nodes = members
            await self._until_done(lambda: move.announce().run())
        self._announced = True
        await self._until_done(lambda: move.admit().run())
        # Every gateway is restarted, one after the other.
        for process in self._living():
            await asyncio.sleep(random.uniform(0.5, 4.0))
            if not process.dead:
                process.kill()
                self.route = self._new
                self.world.at(self.world.now, super().start_gateway)
        await asyncio.sleep(2.0)
        self._announced = False
        self.route = self._new
        for process in self._living():
            if process.cluster.route is not self._new:
                process.kill()
                self.world.at(self.world.now, super().start_gateway)
        await self._until_done(lambda: move.finish().run())
        for node in self.nodes:
            node.take_snapshot()  # a disk of before the move is foreign: a hand must empty it
        self.finished = True

    async def _take_out(self, move: Move, members: list[SimulatedNode]) -> None:
        """And announce the new members; if that cannot be, give it back, and begin again."""
        before = self.nodes
        while True:
            self.nodes = members
            self._restart(self._leaving, serves=False)
            while await move.still_there([]):
                await asyncio.sleep(0.3)
            await asyncio.sleep(self._settling)
            for _ in range(10):
                try:
                    await move.announce().run()
                    return
                except (NotNow, ProxyError):
                    await asyncio.sleep(0.5)
            self.verdict.given_back = True
            await self._cancel(move)
            self.nodes = before
            if not self._leaving.serves:
                self._restart(self._leaving, serves=True)
            await self._until_done(lambda: move.prepare().run())

    async def _cancel(self, move: Move) -> None:
        while True:
            try:
                await move.cancel()
                return
            except (NotNow, ProxyError):
                # If none that stays is trusted, the leaving one is needed first.
                if not self._leaving.serves:
                    self._restart(self._leaving, serves=True)
                await asyncio.sleep(3.0)

    async def _until_done(self, step: Callable[[], Awaitable[object]]) -> None:
        """An operator calls it again until it says that it is done, and does what it says."""
        while True:
            try:
                await step()
                return
            except NotNow as reason:
                if "must be emptied" in str(reason):
                    self._empty(str(reason))
            except ProxyError:
                pass
            await asyncio.sleep(0.5)

    def _empty(self, reason: str) -> None:
        """The node that a refusal names, if the others have everything."""
        for node in self.nodes:
            others = [other for other in self.nodes if other is not node]
            if reason.startswith(f"node:{node.port} ") and all(self._is_trusted(other) for other in others):
                if node.up:
                    node.terminate()
                node.lose_disk()
                node.start()

    def _restart(self, node: SimulatedNode, *, serves: bool) -> None:
        if node.up:
            node.terminate()
        node.serves = serves
        node.start()

    def play(self) -> Verdict:
        verdict = super().play()
        if not self.finished:
            verdict.wrong.append("the move did not end")
        verdict.moves = 1
        return verdict

    def _heal(self) -> None:
        # The move is to end first.
        super()._heal()
        self.world.run(lambda: self.finished, self.world.now + 120)
        super()._heal()


def play(seed: int, plan: Plan | None = None) -> Verdict:
    return Moving(seed, plan or MOVES).play()


def without_waiting(seed: int, plan: Plan | None = None) -> Verdict:
    """The node that leaves goes on answering."""
    return Moving(seed, plan or MOVES, waits=False).play()
