"""The pool: failover, health, and honest errors, over fakes that misbehave on purpose."""

import asyncio
import logging
import random
import re
import signal
from contextlib import asynccontextmanager

import pytest

from sfss.errors import FileTooLarge, NoStoreAvailable, NotFound, StoreFull, StoreRefused
from sfss.memcache.endpoint import FIRST_PAUSE, Endpoint, Limits
from sfss.memcache.errors import ConnectionLost, ProxyDown, ProxyRefused
from sfss.web.app import PUBLISH_INTERVAL
from tests import programs
from tests.conftest import pool, until
from tests.contract import WriteFuture
from tests.fakes import FakeProxy, healthy, value
from tests.http import RawClient, ask, request

LIMITS = Limits(connections=2, connect_timeout=0.5, operation_timeout=0.5)


@pytest.fixture
async def make_pool():
    stores = []

    async def make(*ports, limits=LIMITS, request_timeout=4.0):
        store = pool(list(ports), limits, request_timeout)
        await store.start()
        stores.append(store)
        return store

    yield make
    for store in stores:
        await store.close()


def only_gets_fail(reply: bytes | None):
    """Healthy when it is probed; a real get is answered by *reply*, or by closing."""

    async def answer(command, writer):
        if command.startswith(b"get") and b"probe" not in command:
            writer.close() if reply is None else writer.write(reply)
        else:
            await healthy(command, writer)

    return answer


async def stalls(command, writer):
    await asyncio.sleep(60)


FAULTS = {
    "closes": only_gets_fail(None),
    "stalls": stalls,
    "garbage": only_gets_fail(b"\x00garbage\r\n"),
    "wrong key": only_gets_fail(b"VALUE other 0 1\r\nx\r\nEND\r\n"),
    "half a value": only_gets_fail(b"VALUE c29tZQ== 0 100\r\nhalf"),
    "refuses": only_gets_fail(b"SERVER_ERROR no\r\n"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_faulty_neighbour_costs_no_request(make_pool, fault):
    async with FakeProxy(fault) as bad, FakeProxy(healthy) as good:
        store = await make_pool(bad.port, good.port)
        files = await asyncio.gather(*(store.get("some") for _ in range(40)))
        assert all(file.content == b"c29tZQ==" for file in files)


async def test_a_dead_neighbour_costs_no_request(make_pool):
    async with FakeProxy(healthy) as good:
        store = await make_pool(programs.free_port(), good.port)
        for _ in range(20):
            await store.put("some", b"x")
            await store.get("some")
            await store.delete("some")


async def test_nobody_reachable_is_not_missing(make_pool):
    store = await make_pool(programs.free_port(), programs.free_port())
    for ask in (store.get("some"), store.put("some", b"x"), store.delete("some")):
        with pytest.raises(NoStoreAvailable):
            await ask


async def test_a_stall_everywhere_ends_by_the_deadline(make_pool):
    async with FakeProxy(stalls) as one, FakeProxy(stalls) as other:
        store = await make_pool(one.port, other.port, request_timeout=2.0)
        async with asyncio.timeout(4):
            with pytest.raises(NoStoreAvailable):
                await store.get("some")


@pytest.mark.parametrize(
    "reply, error",
    [
        (b"SERVER_ERROR write failed\r\n", StoreRefused),
        (b"SERVER_ERROR object too large for cache\r\n", FileTooLarge),
        (b"SERVER_ERROR out of memory storing object\r\n", StoreFull),
        (b"NOT_STORED\r\n", StoreRefused),
    ],
)
async def test_when_all_refuse_it_says_so(make_pool, reply, error):
    async def answer(command, writer):
        await (healthy(command, writer) if b"get" in command else _write(writer, reply))

    async with FakeProxy(answer) as one, FakeProxy(answer) as other:
        store = await make_pool(one.port, other.port)
        with pytest.raises(error) as raised:
            await store.put("some", b"x")
        assert type(raised.value) is error
        assert any(b"set" in c for c in one.commands) and any(b"set" in c for c in other.commands)
        assert (await store.get("some")).content == b"c29tZQ=="  # neither was taken out for it


async def _write(writer, reply):
    writer.write(reply)


async def test_refused_by_one_and_unreachable_the_other_is_refused(make_pool):
    async def answer(command, writer):
        await (healthy(command, writer) if b"get" in command else _write(writer, b"SERVER_ERROR\r\n"))

    async with FakeProxy(answer) as one:
        store = await make_pool(one.port, programs.free_port())
        with pytest.raises(StoreRefused):
            await store.put("some", b"x")


async def test_a_retried_delete_that_finds_nothing_has_succeeded(make_pool):
    deleted = []

    async def answer(command, writer):
        if command.startswith(b"delete"):
            if deleted:
                writer.write(b"NOT_FOUND\r\n")
            else:
                deleted.append(command)
                writer.close()  # it did it, and died before it said so
        else:
            await healthy(command, writer)

    async with FakeProxy(answer) as proxy:
        store = await make_pool(proxy.port)
        await store.delete("some")
        with pytest.raises(NotFound):
            await store.delete("some")


async def test_a_proxy_that_restarts_is_used_again_at_once(make_pool):
    """Its connections are lost, and a new one is opened: nothing fails."""
    async with FakeProxy(healthy) as proxy:
        store = await make_pool(proxy.port)
        await store.get("some")
        proxy.reset_connections()
        assert (await store.get("some")).content == b"c29tZQ=="


async def test_a_proxy_that_was_down_comes_back(make_pool, caplog):
    caplog.set_level(logging.INFO, "sfss.pool")
    memcached, port = programs.start_memcached()
    store = await make_pool(port)
    await store.put("some", b"x")
    memcached.kill()
    with pytest.raises(NoStoreAvailable):
        await store.get("some")
    memcached, _ = programs.start_memcached(port)
    await until(lambda: store._proxies[0].up)
    with pytest.raises(NotFound):  # it forgot everything: that is another answer than "down"
        await store.get("some")
    said = [record.getMessage() for record in caplog.records]
    assert said == ["proxy down", "proxy up"]
    memcached.stop()


async def test_a_stopped_proxy_is_taken_out_and_comes_back(make_pool):
    (one, port_1), (other, port_2) = programs.start_memcached(), programs.start_memcached()
    store = await make_pool(port_1, port_2)
    try:
        await asyncio.gather(*(store.put("some", b"x") for _ in range(20)))  # now both have it
        one.send(signal.SIGSTOP)
        for _ in range(20):
            assert (await store.get("some")).content == b"x"
        await until(lambda: [proxy.up for proxy in store._proxies] == [False, True])
        one.send(signal.SIGCONT)
        await until(lambda: store._proxies[0].up)
    finally:
        one.stop()
        other.stop()


async def test_requests_that_find_all_down_do_not_wait_for_the_next_pause(make_pool):
    memcached, port = programs.start_memcached()
    store = await make_pool(port)
    await store.put("some", b"x")
    memcached.kill()
    with pytest.raises(NoStoreAvailable):
        await store.get("some")
    await asyncio.sleep(4)  # by now the pause is several seconds
    memcached, _ = programs.start_memcached(port)
    async with asyncio.timeout(1.5):
        await store.put("some", b"x")
    memcached.stop()


async def test_many_requests_to_a_dead_pool_fail_fast_and_probe_little(make_pool):
    attempts = 0

    async def answer(command, writer):
        nonlocal attempts
        attempts += 1
        writer.close()

    async with FakeProxy(answer) as proxy:
        store = await make_pool(proxy.port)
        async with asyncio.timeout(10):
            for _ in range(5):
                results = await asyncio.gather(
                    *(store.get("some") for _ in range(200)), return_exceptions=True
                )
                assert all(isinstance(result, NoStoreAvailable) for result in results)
        assert attempts < 20


async def test_a_large_value_under_way_does_not_hold_up_small_ones(make_pool):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(command, writer):
        if b"bGFyZ2U=" in command:
            whole = value(command, b"x" * 2_000_000)
            writer.write(whole[:100_000])
            begun.set()
            await go_on.wait()
            writer.write(whole[100_000:])
        else:
            await healthy(command, writer)

    async with FakeProxy(answer) as proxy:
        store = await make_pool(proxy.port, limits=Limits(4, connect_timeout=1, operation_timeout=5))
        large = asyncio.ensure_future(store.get("large"))
        await begun.wait()
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2):
            await asyncio.gather(*(store.get("small") for _ in range(20)))
        assert not large.done()
        go_on.set()
        assert len((await large).content) == 2_000_000


async def test_connections_are_no_more_than_allowed(make_pool):
    async with FakeProxy(healthy) as proxy:
        store = await make_pool(proxy.port)
        for _ in range(5):
            await asyncio.gather(*(store.get("some") for _ in range(200)))
        # One more may be open for a moment while it is tested.
        assert proxy.connections <= LIMITS.connections + 1


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_first_try_that_fails_is_not_the_last(make_pool, fault):
    async with FakeProxy(fault) as bad, FakeProxy(healthy) as good:
        store = await make_pool(bad.port, good.port)
        for _ in range(10):
            future = asyncio.get_running_loop().create_future()
            if store.begin_get("some", future):
                assert (await future).content == b"c29tZQ=="
            written = WriteFuture()
            if store.begin_put("some", b"x", None, written):
                assert (await written.future).size == 1


async def test_a_first_try_ends_in_the_words_of_the_store(make_pool):
    async with FakeProxy(FAULTS["closes"]) as bad:
        store = await make_pool(bad.port, request_timeout=1.0)
        await store.put("some", b"x")
        future = asyncio.get_running_loop().create_future()
        assert store.begin_get("some", future)
        with pytest.raises(NoStoreAvailable):
            await future


async def test_work_is_spread_over_the_proxies(make_pool):
    async with FakeProxy(healthy) as a, FakeProxy(healthy) as b, FakeProxy(healthy) as c:
        store = await make_pool(a.port, b.port, c.port)
        for _ in range(30):
            await asyncio.gather(*(store.get("some") for _ in range(10)))
        assert min(len(proxy.commands) for proxy in (a, b, c)) > 50


async def test_what_failed_everywhere_goes_on_when_a_proxy_is_back(make_pool):
    """A restart of the only proxy in the middle of requests: they end well, late."""
    memcached, port = programs.start_memcached()
    store = await make_pool(port, request_timeout=8.0)
    await store.put("some", b"x")
    memcached.kill()

    async def again() -> programs.Program:
        await asyncio.sleep(0.3)
        return programs.start_memcached(port)[0]

    restart = asyncio.ensure_future(again())
    await asyncio.gather(*(store.put(f"f/{n}", b"y") for n in range(10)))
    assert (await store.get("f/3")).content == b"y"
    (await restart).stop()


async def test_one_slow_key_takes_no_proxy_out(make_pool, caplog):
    async def answer(command, writer):
        if b"c2xvdw==" in command:
            await asyncio.sleep(60)
        await healthy(command, writer)

    async with FakeProxy(answer) as one, FakeProxy(answer) as other:
        store = await make_pool(one.port, other.port, request_timeout=3.0)
        slow = asyncio.ensure_future(store.get("slow"))
        async with asyncio.timeout(5):
            while not slow.done():
                assert (await store.get("some")).content == b"c29tZQ=="
        with pytest.raises(NoStoreAvailable):
            await slow
        assert not caplog.records


async def test_one_key_that_costs_its_connection_takes_no_proxy_out(make_pool, caplog):
    async def answer(command, writer):
        if b"YmFk" in command:
            writer.close()
        else:
            await healthy(command, writer)

    async with FakeProxy(answer) as one, FakeProxy(answer) as other:
        store = await make_pool(one.port, other.port, request_timeout=1.0)
        for _ in range(3):
            bad = asyncio.ensure_future(store.get("bad"))
            while not bad.done():
                assert (await store.get("some")).content == b"c29tZQ=="
            with pytest.raises(NoStoreAvailable):
                await bad
        assert not caplog.records


async def test_a_proxy_at_its_limit_of_connections_goes_on_serving(make_pool, caplog):
    port = programs.free_port()
    command = ["-u", "nobody", "-l", "127.0.0.1", "-p", port, "-c", 20, "-t", 1, "-o", "maxconns_fast"]
    memcached = programs.Program([programs.find("memcached"), *command])
    await asyncio.to_thread(memcached.wait_for_port, port)
    store = await make_pool(port, limits=Limits(8, connect_timeout=1, operation_timeout=2))
    for _ in range(20):
        await asyncio.gather(*(store.put(f"f/{n}", b"x") for n in range(100)))
    assert not caplog.records
    memcached.stop()


async def test_a_connect_that_hangs_holds_up_nobody(make_pool):
    """The second connection is taken by the kernel and never answered."""
    connections = 0

    async def answer(command, writer):
        nonlocal connections
        if b"probe" in command:
            connections += 1
            if connections > 1:
                await asyncio.sleep(60)
        await healthy(command, writer)

    async with FakeProxy(answer) as proxy:
        store = await make_pool(proxy.port, limits=Limits(4, connect_timeout=2, operation_timeout=2))
        async with asyncio.timeout(1.5):
            for _ in range(5):
                await asyncio.gather(*(store.get("some") for _ in range(100)))


async def test_the_first_good_news_counts(make_pool):
    """A request that finds all down goes on when one is up, however long the test of another takes."""
    memcached, port = programs.start_memcached()
    async with FakeProxy(stalls) as silent:
        limits = Limits(2, connect_timeout=1.5, operation_timeout=0.5)
        store = await make_pool(port, silent.port, limits=limits, request_timeout=8.0)
        await until(lambda: not store._proxies[1].up)
        await store.put("some", b"x")
        memcached.kill()
        async with asyncio.timeout(4):  # long before its deadline
            with pytest.raises(NoStoreAvailable):
                await store.get("some")
        memcached, _ = programs.start_memcached(port)
        async with asyncio.timeout(2):
            await store.put("some", b"x")
    memcached.stop()


async def test_one_deadline_for_all_tries(make_pool):
    async with FakeProxy(only_gets_fail(b"VALUE c29tZQ== 0 9\r\n")) as proxy:
        store = await make_pool(
            proxy.port, limits=Limits(2, connect_timeout=1, operation_timeout=2),
            request_timeout=3.0,
        )  # fmt: skip
        future = asyncio.get_running_loop().create_future()
        started = asyncio.get_running_loop().time()
        assert store.begin_get("some", future)
        with pytest.raises(NoStoreAvailable):
            await future
        assert asyncio.get_running_loop().time() - started < 4.5


async def test_connections_stay_within_their_limit_through_every_check(make_pool):
    """A suspect proxy is checked on a connection of its own; it must not stay beside a full house."""

    async def answer(command, writer):
        if b"probe" in command:
            await asyncio.sleep(0.02)
        if b"probe" not in command and random.random() < 0.01:
            writer.write(b"garbage\r\n")
        else:
            await healthy(command, writer)

    async with FakeProxy(answer) as proxy:
        store = await make_pool(proxy.port)
        most = 0
        for _ in range(30):
            await asyncio.gather(*(store.get("some") for _ in range(30)), return_exceptions=True)
            most = max(most, len(store._proxies[0]._usable()))
        assert most <= LIMITS.connections


async def test_idle_proxies_that_die_are_noticed_without_a_request():
    programs_ = [programs.start_memcached() for _ in range(2)]
    store = pool([port for _, port in programs_])
    await store.start()
    await store.ready()
    programs_[0][0].kill()
    await until(lambda: not store._proxies[0].up, 5)
    await store.ready()
    programs_[1][0].kill()
    with pytest.raises(NoStoreAvailable):
        await store.ready()
    await until(lambda: not store._proxies[1].up, 5)
    await store.close()


# A write is tried again only while somebody waits for it, and never over a newer one.


class Stalling:
    """Has every file; the first set stalls until it is told to :meth:`drop` its connection."""

    def __init__(self):
        self.contents: dict[bytes, bytes] = {}
        self.stalled = asyncio.Event()
        self._dropped = asyncio.Event()

    async def __call__(self, command, writer):
        if not command.startswith((b"set", b"delete")) or self.stalled.is_set():
            await healthy(command, writer)
            return
        self.stalled.set()
        await self._dropped.wait()
        writer.transport.abort()

    def drop(self) -> None:
        self._dropped.set()


def writes(proxy: FakeProxy) -> list[bytes]:
    return [c for c in proxy.commands if c.startswith((b"set", b"delete"))]


@asynccontextmanager
async def stalled_write(make_pool, begin):
    """A write that has stalled at one of two proxies, which both are healthy but for that."""
    first, second = Stalling(), Stalling()
    async with FakeProxy(first) as one, FakeProxy(second) as other:
        store = await make_pool(one.port, other.port, limits=LIMITS._replace(operation_timeout=3.0))
        waiting = begin(store)
        await until(lambda: first.stalled.is_set() or second.stalled.is_set())
        slow, fast = (first, second) if first.stalled.is_set() else (second, first)
        fast.stalled.set()  # it answers all
        yield store, waiting, slow, [one, other]
        slow.drop()


WAYS = {
    "put": lambda store: asyncio.ensure_future(store.put("some", b"v1")),
    "delete": lambda store: asyncio.ensure_future(store.delete("some")),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_write_that_nobody_waits_for_is_not_tried_again(make_pool, way):
    async with stalled_write(make_pool, WAYS[way]) as (store, waiting, slow, proxies):
        waiting.cancel()
        slow.drop()
        await asyncio.sleep(0.2)
        assert sum(len(writes(proxy)) for proxy in proxies) == 1
        assert not store.writes._under_way


@pytest.mark.parametrize("waits", [True, False])
async def test_a_begun_write_is_tried_again_only_while_it_is_waited_for(make_pool, waits):
    written = WriteFuture()

    def begin(store):
        assert store.begin_put("some", b"v1", None, written)
        return written

    async with stalled_write(make_pool, begin) as (store, _, slow, proxies):
        written.waits = waits
        slow.drop()
        if waits:
            assert (await written.future).size == 2
        else:
            with pytest.raises(NoStoreAvailable):
                await written.future
        assert sum(len(writes(proxy)) for proxy in proxies) == 1 + waits
        assert not store.writes._under_way


@pytest.mark.parametrize("newer", ["put", "begin_put", "delete"])
@pytest.mark.parametrize("way", [*WAYS, "begin_put"])
async def test_a_write_is_not_tried_again_over_a_newer_one(make_pool, way, newer):
    written = WriteFuture()

    def begin(store):
        if way != "begin_put":
            return WAYS[way](store)
        assert store.begin_put("some", b"v1", None, written)
        return written.future

    async with stalled_write(make_pool, begin) as (store, waiting, slow, proxies):
        again = WriteFuture()
        if newer == "put":
            await store.put("some", b"v2")
        elif newer == "delete":
            await store.delete("some")
        elif store.begin_put("some", b"v2", None, again):
            await again.future
        slow.drop()
        with pytest.raises(NoStoreAvailable, match="newer write"):
            await waiting
        assert sum(len(writes(proxy)) for proxy in proxies) == 2
        # One of another file is none of its business.
        await store.put("another", b"x")
        assert not store.writes._under_way


async def test_a_write_of_another_file_does_not_keep_it_from_a_second_try(make_pool):
    async with stalled_write(make_pool, WAYS["put"]) as (store, waiting, slow, proxies):
        await store.put("another", b"x")
        slow.drop()
        assert (await waiting).size == 2


def figure(server, name: str) -> int:
    text = ask(server.port, request("GET", "/metrics")).body.decode()
    return int(re.search(rf"^{name} (\d+)", text, re.MULTILINE)[1])


@pytest.mark.parametrize("headers", [{}, {"X-Trace-Id": "1"}], ids=["plain", "not plain"])
@pytest.mark.parametrize("newer, how", [(True, "close"), (True, "reset"), (False, "reset")])
async def test_a_client_that_has_gone_undoes_nothing(headers, newer, how):
    """Through the server: v1 stalls, its client goes, v2 is acknowledged, the first proxy fails."""
    first, second = Stalling(), Stalling()
    async with FakeProxy(first) as one, FakeProxy(second) as other:
        server = await asyncio.to_thread(programs.Sfss, *programs.proxy_flags([one.port, other.port]))
        client = RawClient(server.port)
        client.send(request("PUT", "/file?path=some", b"v1", headers))
        await until(lambda: first.stalled.is_set() or second.stalled.is_set())
        slow, fast = (first, second) if first.stalled.is_set() else (second, first)
        fast.stalled.set()
        client.reset() if how == "reset" else client.close()
        if newer:
            answer = await asyncio.to_thread(ask, server.port, request("PUT", "/file?path=some", b"v2"))
            assert answer.status == 200
        await asyncio.sleep(0.3)  # for the server to notice
        slow.drop()
        await asyncio.sleep(0.4)
        sizes = [c.split()[-1] for proxy in (one, other) for c in writes(proxy)]
        assert len(sizes) == 1 + newer
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize("headers", [{}, {"X-Trace-Id": "1"}], ids=["plain", "not plain"])
async def test_what_a_client_that_has_gone_has_sent_takes_its_room_until_it_is_stored(headers):
    stalling = Stalling()
    async with FakeProxy(stalling) as proxy:
        server = await asyncio.to_thread(programs.Sfss, *programs.proxy_flags([proxy.port]))
        client = RawClient(server.port)
        client.send(request("PUT", "/file?path=some", bytes(200_000), headers))
        await until(stalling.stalled.is_set)
        client.reset()
        await asyncio.sleep(2 * PUBLISH_INTERVAL)  # it has noticed, and says so
        assert figure(server, "sfss_bytes_in_flight") >= 200_000
        stalling.drop()
        await until(lambda: figure(server, "sfss_bytes_in_flight") == 0)
        await asyncio.to_thread(server.stop)


async def test_a_conditional_write_whose_client_has_gone_still_stands_before_the_next():
    """A's set is under way when A goes. B, which has the same condition, is not told that it is the first."""
    contents: dict[bytes, bytes] = {}
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(command, writer):
        key = command.split()[1]
        if command.startswith(b"set"):
            begun.set()
            await go_on.wait()
            contents[key] = b"x" * int(command.split()[-1])
            writer.write(b"STORED\r\n")
        else:
            writer.write(value(command, contents[key]) if key in contents else b"END\r\n")

    async with FakeProxy(answer) as one, FakeProxy(answer) as other:
        flags = programs.proxy_flags([one.port, other.port])
        server = await asyncio.to_thread(programs.Sfss, *flags)
        put = request("PUT", "/file?path=some", b"A", {"If-None-Match": "*"})
        client = RawClient(server.port)
        client.send(put)
        await begun.wait()
        client.reset()
        await asyncio.sleep(2 * PUBLISH_INTERVAL)  # it has noticed, and says so
        second = asyncio.ensure_future(asyncio.to_thread(ask, server.port, put))
        await asyncio.sleep(0.2)
        assert not second.done()
        go_on.set()
        assert (await second).status == 412
        await asyncio.to_thread(server.stop)


async def test_a_store_that_refuses_writes_is_read_as_before(make_pool):
    """Many writes are refused all the time: reads, and the writes that are taken, go on."""

    async def answer(command, writer):
        if b"full" in command or b"ZnVsb" in command:
            writer.write(b"SERVER_ERROR out of memory storing object\r\n")
        else:
            await healthy(command, writer)

    async with FakeProxy(answer) as proxy:
        store = await make_pool(proxy.port)
        done = False

        async def refused(path: str):  # (its own: a newer write of the same file may take its place)
            while not done:
                with pytest.raises(StoreFull):
                    await store.put(path, b"x")

        writers = [asyncio.ensure_future(refused(f"full/{n}")) for n in range(16)]
        for n in range(100):
            assert (await store.get("some")).content == b"c29tZQ=="
            assert (await store.put(f"f/{n}", b"x")).size == 1
        done = True
        await asyncio.gather(*writers)
        assert store._proxies[0].up and not store._proxies[0].suspect


async def test_a_proxy_that_is_taken_out_has_no_connection_left():
    """What it has not read yet must not happen late, while the same goes another way."""

    silent = []

    async def answer(command, writer):
        if command.startswith(b"set full"):
            writer.write(b"SERVER_ERROR out of memory\r\n")
        elif command == b"get some":
            silent.append(writer)
        elif writer not in silent:
            await healthy(command, writer)

    async with FakeProxy(answer) as fake:
        proxy = Endpoint("127.0.0.1", fake.port, LIMITS)
        await proxy.probe()
        (used,) = proxy.connections
        refused = used.set(b"full", b"x", asyncio.get_running_loop().time() + 5)
        behind = used.get(b"some", asyncio.get_running_loop().time() + 5)
        with pytest.raises(ProxyRefused):
            await refused
        await proxy.probe()
        connections = proxy.connections
        assert [connection.usable for connection in connections] == [False, True]
        proxy._take_out(ProxyDown("for a test"))
        assert not any(connection.is_open for connection in connections)
        with pytest.raises(ConnectionLost):
            await behind
        assert proxy.connections == []
        await proxy.close()


async def test_after_a_success_the_pause_is_short_again():
    port = programs.free_port()
    proxy = Endpoint("127.0.0.1", port, LIMITS)
    for _ in range(4):
        await proxy.probe()
    assert proxy._open_pause > 4 * FIRST_PAUSE
    async with FakeProxy(healthy) as fake:
        proxy._port = fake.port
        await proxy.probe()
        assert proxy.up and proxy._open_pause == FIRST_PAUSE
        await proxy.close()
