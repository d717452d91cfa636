"""Histories that are told and not drawn: what chance makes too seldom."""

from tests.simulated.histories import History, Plan, Verdict


def dies_in_the_middle(seed: int, plan: Plan | None = None) -> Verdict:
    """A process dies when one node of three has its write. Its successor has the same writer id, and writes the same key
    in the same minute, without having seen that.
    """
    history = History(seed, Plan(gateways=1, clients=0, writer_ids=1, skew=0.0))
    world, network = history.world, history.network
    reached, *others = history.nodes
    world.run(history._is_well, 60)
    first = history._living()[0]
    first.loop.call_soon(lambda: first.loop.create_task(history.put(first, "k0")))
    world.run(lambda: _value(reached) is not None, world.now + 5)
    for node in others:
        network.cut(first, node.port)
        node.forget_last(b"k0")
    first.kill()
    reached.stop()
    history.start_gateway()
    second = history._living()[0]
    world.run(
        lambda: bool(second.cluster.parts) and second.cluster.parts[0].units.writer >= 0, world.now + 60
    )
    second.loop.call_soon(lambda: second.loop.create_task(history.put(second, "k0")))
    world.run(lambda: _value(others[0]) is not None and _value(others[1]) is not None, world.now + 5)
    history._heal()
    history.ending = True
    world.run(lambda: False, world.now + 1)
    history._read_all_back()
    history._judge()
    return history.verdict


def _value(node) -> bytes | None:
    return next((entry.value for entry in node.entries.values() if entry.key == b"k0"), None)
