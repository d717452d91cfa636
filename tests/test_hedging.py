"""Reads that are sent to a second proxy."""

import asyncio
import signal
import time
from contextlib import suppress

import pytest

from sfss.errors import NoStoreAvailable
from sfss.memcache.endpoint import Limits
from sfss.memcache.endpoint_stats import EndpointStats
from sfss.stores.hedging import Hedges
from sfss.stores.pool import ProxyStore
from tests.conftest import LIMITS, pool, until
from tests.contract import WriteFuture
from tests.fakes import FakeProxy, healthy
from tests.programs import start_memcached, start_nutcracker


def outcomes(store: ProxyStore) -> dict[str, int]:
    (family,) = store.hedges.families()
    return {outcome: number for (outcome,), number in family.samples.items()}


class Slow:
    """Answers as a healthy proxy does, but a get of a file only after *delay* seconds."""

    def __init__(self, delay: float):
        self.delay = delay
        self.asked = 0

    async def __call__(self, command, writer):
        if command.startswith(b"get ") and len(command) < 12:  # the test of a proxy has a long key
            self.asked += 1
            await asyncio.sleep(self.delay)
        await healthy(command, writer)


async def test_the_second_proxy_answers_for_a_slow_one():
    slow, quick = Slow(30.0), Slow(0.0)  # longer than a read may take
    async with FakeProxy(slow) as one, FakeProxy(quick) as other:
        store = pool([one.port, other.port])
        await store.start()
        for n in range(10):
            await store.get(f"f{n}")
        assert slow.asked > 0
        assert outcomes(store)["won"] == slow.asked
        assert outcomes(store)["wasted"] == outcomes(store)["denied"] == 0
        await store.close()


async def test_it_can_be_switched_off():
    async with FakeProxy(Slow(0.3)) as one, FakeProxy(Slow(0.3)) as other:
        store = pool_without_hedges([one.port, other.port])
        await store.start()
        await asyncio.gather(*(store.get(f"f{n}") for n in range(4)))
        assert set(outcomes(store).values()) == {0}
        await store.close()


def pool_without_hedges(ports: list[int]) -> ProxyStore:
    return ProxyStore(
        [("127.0.0.1", port) for port in ports], limits=LIMITS, request_timeout=8.0, hedge_share=0.0
    )


async def test_the_first_one_may_win_all_the_same():
    async with FakeProxy(Slow(0.15)) as one, FakeProxy(Slow(0.15)) as other:
        store = pool([one.port, other.port])
        await store.start()
        store._proxies[0].endpoint_stats.slow_get = store._proxies[1].endpoint_stats.slow_get = 0.001
        assert (await store.get("f1")).content
        assert outcomes(store)["wasted"] == 1
        await asyncio.sleep(0.3)  # the second answer comes, and is nobody's
        assert (await store.get("f2")).content
        await store.close()


async def test_when_both_fail_the_others_are_tried_and_then_it_is_said():
    both_are_asked = asyncio.Barrier(2)

    async def drops(command, writer):
        if command.startswith(b"get ") and len(command) < 12:
            with suppress(asyncio.BrokenBarrierError):  # those that are asked again are alone
                await both_are_asked.wait()
            writer.transport.abort()
            await both_are_asked.abort()
        else:
            await healthy(command, writer)

    async with FakeProxy(drops) as one, FakeProxy(drops) as other:
        store = pool([one.port, other.port], request_timeout=2.0)
        await store.start()
        with pytest.raises(NoStoreAvailable):
            await store.get("f1")
        assert outcomes(store)["failed"] >= 1
        await store.close()


async def test_what_can_be_saved_up_has_a_limit():
    """After a million quick reads a stall of all does not double the load."""

    class Read:
        sent = 0

        def hedge(self) -> bool:
            Read.sent += 1
            return True

        def deny(self) -> None: ...

    hedges = Hedges(0.05, 1.0, lambda now: ([Read() for _ in range(1000)], False))
    loop = asyncio.get_running_loop()
    for _ in range(1_000_000):
        hedges._looking = True  # as while the next look is planned
        hedges.note_read(loop)
    hedges._looking = False
    hedges.note_read(loop)
    await until(lambda: Read.sent > 0)
    assert Read.sent <= 101


async def test_writes_are_never_hedged():
    async def slow_set(command, writer):
        if command.startswith(b"set"):
            await asyncio.sleep(0.3)
        await healthy(command, writer)

    async with FakeProxy(slow_set) as one, FakeProxy(slow_set) as other:
        store = pool([one.port, other.port])
        await store.start()
        done = WriteFuture()
        assert store.begin_put("f1", b"x", None, done)
        await done.future
        await store.put("f2", b"x")
        sets = [c for c in one.commands + other.commands if c.startswith(b"set")]
        assert len(sets) == 2
        await store.close()


async def test_never_more_than_the_share():
    async with FakeProxy(Slow(0.03)) as one, FakeProxy(Slow(0.03)) as other:
        store = ProxyStore(
            [("127.0.0.1", one.port), ("127.0.0.1", other.port)],
            limits=Limits(30, 1.0, 3.0),
            request_timeout=8.0,
            hedge_share=0.1,
        )
        await store.start()
        store.hedges._budget = 0.0
        for _ in range(20):
            for proxy in store._proxies:
                proxy.endpoint_stats.slow_get = 0.001  # it believes that all of them are slow
            await asyncio.gather(*(store.get(f"f{n}") for n in range(10)))
        counts = outcomes(store)
        assert 0 < counts["won"] + counts["wasted"] <= 20
        assert counts["denied"] > 50
        await store.close()


def test_the_estimate_follows_the_latencies():
    endpoint_stats = EndpointStats()
    for n in range(4000):
        endpoint_stats.replied("get", 0.1 if n % 50 == 0 else 0.001)
        endpoint_stats.replied("set", 5.0)
    assert 0.0009 < endpoint_stats.slow_get < 0.003
    for n in range(4000):
        endpoint_stats.replied("get", 0.1 if n % 5 == 0 else 0.001)
    assert 0.05 < endpoint_stats.slow_get < 0.2
    hedges = Hedges(0.05, 1.0, lambda now: ([], False))
    assert (hedges.delay(0.0), hedges.delay(0.1), hedges.delay(9.0)) == (0.005, pytest.approx(0.3), 1.0)


# Real proxies.


async def test_a_stopped_proxy_costs_no_read_and_is_heard_when_it_goes_on(twemproxies, tmp_path, monkeypatch):
    monkeypatch.setattr("sfss.memcache.endpoint.FIRST_PAUSE", 60.0)  # it is not tested again
    memcached, port = start_memcached()
    programs = [start_nutcracker(tmp_path, [port]) for _ in range(3)]
    # A read that waited for the stopped one as long as that may take would fail.
    store = pool([port for _, port in programs], request_timeout=0.9 * LIMITS.operation_timeout)
    await store.start()
    for n in range(50):
        await store.put(f"f{n}", b"%d" % n)
    stopped = programs[0][0]

    async def read_for(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for n in range(50):
                assert (await store.get(f"f{n}")).content == b"%d" % n

    readers = [asyncio.create_task(read_for(4.0)) for _ in range(8)]
    await asyncio.sleep(1.0)
    stopped.send(signal.SIGSTOP)
    await until(lambda: not store._proxies[0].up)
    await asyncio.sleep(1.0)
    stopped.send(signal.SIGCONT)
    await until(lambda: store._proxies[0].up)
    await asyncio.gather(*readers)
    assert outcomes(store)["won"] >= 1
    await store.close()
    for program, _ in programs:
        program.stop()
    memcached.stop()
