"""Histories that are told and not drawn: what chance makes too seldom."""

from collections.abc import Callable

from tests.simulated.histories import History, Plan, Verdict
from tests.simulated.nodes import SimulatedNode
from tests.simulated.world import Process


class Story(History):
    """One gateway without clients, over nodes that are well."""

    def __init__(self, seed: int):
        super().__init__(seed, Plan(gateways=1, clients=0, writer_ids=1, skew=0.0))
        self.until(self._is_well, 60)

    @property
    def gateway(self) -> Process:
        return self._living()[0]

    def until(self, condition: Callable[[], bool], seconds: float) -> None:
        self.world.run(condition, self.world.now + seconds)

    def put(self, *_) -> None:  # begins one
        process = self.gateway
        process.loop.call_soon(lambda: process.loop.create_task(super(Story, self).put(process, "k0")))

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
