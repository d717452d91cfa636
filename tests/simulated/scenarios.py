"""Histories that are told and not drawn: what chance makes too seldom."""

from collections.abc import Callable, Coroutine
from typing import Any

from tests.simulated.histories import History, Plan, Verdict
from tests.simulated.nodes import Entry, SimulatedNode
from tests.simulated.world import Process


class Story(History):
    """One gateway without clients, over nodes that are well."""

    def __init__(self, seed: int, plan: Plan | None = None):
        super().__init__(seed, plan or Plan(gateways=1, clients=0, writer_ids=1, skew=0.0))
        self.until(self._is_well, 60)

    @property
    def gateway(self) -> Process:
        return self._living()[0]

    def until(self, condition: Callable[[], bool], seconds: float) -> None:
        self.world.run(condition, self.world.now + seconds)

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What *coroutine* gives, in the gateway's process."""
        process, done = self.gateway, []

        async def run() -> None:
            done.append(await coroutine)

        process.loop.call_soon(lambda: process.loop.create_task(run()))
        self.until(lambda: bool(done), 30)
        return done[0]

    def put(self, key: str = "k0") -> None:
        """Begin to put it."""
        process = self.gateway

        def begin() -> None:
            self.tasks.append(process.loop.create_task(super(Story, self).put(process, key)))

        process.loop.call_soon(begin)

    def ask(self, key: str = "k0") -> None:
        """Begin to get it."""
        process = self.gateway

        def begin() -> None:
            self.tasks.append(process.loop.create_task(super(Story, self).get(process, key)))

        process.loop.call_soon(begin)

    def versions(self) -> list[Entry]:
        """What the nodes have of the key."""
        return [entry for node in self.nodes for entry in node.entries.values() if entry.key == b"k0"]

    def has_it(self, node: SimulatedNode) -> bool:
        return any(entry.key == b"k0" for entry in node.entries.values())

    def lose(self, node: SimulatedNode) -> None:
        """kill -9, and the write was not in its files."""
        node.kill()
        node.forget_last(b"k0")

    def end(self) -> Verdict:
        self._heal()
        self.ending = True
        self.until(lambda: False, 1.0)  # what has happened is noticed
        self.until(self._is_well, 100)
        for _ in range(4):
            self._read_all_back()
        self._judge()
        return self.verdict


def dies_in_the_middle(seed: int, plan: Plan | None = None) -> Verdict:
    """A process dies when one node of three has its write. Its successor has the same writer id, and writes the same key
    in the same minute, without having seen that.
    """
    story = Story(seed)
    reached, *others = story.nodes
    first = story.gateway
    story.put()
    story.until(lambda: story.has_it(reached), 5)
    for node in others:
        story.network.cut(first, node.port)
        node.forget_last(b"k0")
    first.kill()
    reached.stop()
    story.start_gateway()
    units = lambda: story.gateway.cluster.parts[0].units  # noqa: E731
    story.until(lambda: bool(story.gateway.cluster.parts) and units().writer >= 0, 60)
    story.put()
    story.until(lambda: all(story.has_it(node) for node in others), 5)
    return story.end()


def only_one_has_it(seed: int, plan: Plan | None = None) -> Verdict:
    """Two nodes have what was acknowledged, and one of them loses it, and comes back."""
    story = Story(seed)
    lost, other, away = story.nodes
    story.network.cut(story.gateway, away.port)
    story.until(lambda: False, 0.1)
    story.put()
    story.until(lambda: story.has_it(lost) and story.has_it(other), 5)
    story.until(lambda: False, 0.1)
    story.lose(lost)
    return story.end()


def only_one_has_what_is_newer(seed: int, plan: Plan | None = None) -> Verdict:
    """A write got to one node only, and is read."""
    story = Story(seed)
    story.put()
    story.until(lambda: all(story.has_it(node) for node in story.nodes), 5)
    story.until(lambda: False, 0.1)
    reached, *others = story.nodes
    before = [dict(node.entries) for node in others]
    story.put()
    story.until(lambda: len({entry.version for entry in story.versions()}) > 1, 5)
    for node, entries in zip(others, before):
        story.network.cut(story.gateway, node.port)
        node.entries = entries
    story.network.heal()
    for _ in range(40):
        story.ask()
        story.until(lambda: False, 0.05)
    return story.end()


def an_old_disk_comes_back(seed: int, plan: Plan | None = None) -> Verdict:
    """What was deleted was purged from all nodes, and then one has its disk of before the delete again."""
    story = Story(seed, Plan(gateways=1, clients=0, skew=0.0, seconds_per_unit=2, lag=2))
    story.put()
    story.until(lambda: all(story.has_it(node) for node in story.nodes), 5)
    story.until(lambda: False, 3.0)
    old = story.nodes[0]
    old.take_snapshot()
    story.do(story.delete(story.gateway, "k0"))
    story.until(lambda: False, 20.0)
    assert story.do(story.purge(story.gateway))
    for node in story.nodes:
        node.terminate()
        node.lose_disk()
        node.start()
        story.until(lambda: False, 1.0)
        story.until(story._is_well, 30)
    assert not any(story.has_it(node) for node in story.nodes)
    old.kill()
    old.roll_back()
    assert story.has_it(old)
    old.start()
    return story.end()


def a_repair_meets_writes(seed: int, plan: Plan | None = None) -> Verdict:
    """A node that was emptied after a purge has what is being written before the others have it, and is compared."""
    story = Story(seed, Plan(gateways=1, clients=0, keys=250, skew=0.0, seconds_per_unit=2, lag=2))
    story.until(lambda: False, 20.0)
    assert story.do(story.purge(story.gateway))
    emptied, *others = story.nodes
    emptied.terminate()
    emptied.lose_disk()
    emptied.start()
    for node in others:
        story.network.slow[node.port] = 0.3
    for number in range(250):
        story.put(f"k{number}")
        story.until(lambda: False, 0.02)
    return story.end()


def a_fenced_node_has_it(seed: int, plan: Plan | None = None) -> Verdict:
    """One node is fenced; what it has, and only one other one, was not acknowledged when both lose it."""
    story = Story(seed)
    fenced, other, away = story.nodes
    fenced.kill()
    fenced.start()
    story.until(lambda: False, 1.0)
    story.put()
    story.until(lambda: story.has_it(fenced) or story.has_it(away), 5)
    # It gets to one node more, and not to the third.
    story.network.cut(story.gateway, away.port)
    away.forget_last(b"k0")
    story.until(lambda: story.has_it(fenced) and story.has_it(other), 5)
    story.until(lambda: False, 0.1)
    story.lose(fenced)
    story.lose(other)
    return story.end()
