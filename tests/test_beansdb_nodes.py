"""What faults of real gobeansdb nodes do to a store without a proxy, and what a start refuses."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest

from sfss.beansdb.checks import check
from sfss.beansdb.route import Route
from sfss.errors import NoStoreAvailable, NotFound, StoreUnusable
from sfss.memcache.keys import memcache_key
from sfss.stores.beansdb import BeansdbStore
from tests import programs
from tests.beansdb import LIMITS, Nodes, plain_route, store_over, trusted, trusted_again


@pytest.fixture
async def store(nodes) -> AsyncIterator[BeansdbStore]:
    store = store_over(plain_route(nodes.ports))
    await store.start()
    await trusted(store)
    yield store
    await store.close()


async def test_a_killed_node_is_fenced_and_repaired_and_nothing_fails(nodes, store):
    contents = {f"a/{n}": b"%d" % n * 300 for n in range(200)}
    for path, content in contents.items():
        await store.put(path, content)
    nodes.kill(0)
    for n in range(100):
        await store.put(f"a/{n}", b"newer")
        assert (await store.get(f"a/{n + 100}")).content == contents[f"a/{n + 100}"]
    await store.delete("a/199")
    nodes.start(0)
    await trusted_again(store)
    # What it has lost and what it has missed is there, and what was deleted is not.
    for other in (1, 2):
        nodes.kill(other)
        nodes.start(other)
        await trusted_again(store)
    for n in range(199):
        assert (await store.get(f"a/{n}")).content == (b"newer" if n < 100 else contents[f"a/{n}"])
    with pytest.raises(NotFound):
        await store.get("a/199")


async def test_a_node_with_an_empty_disk_gets_everything(nodes, store):
    for n in range(300):
        await store.put(f"b/{n}", b"%d" % n * 2000)
    nodes.kill(1)
    nodes.start(1, empty=True)
    await trusted_again(store)
    client = nodes.client(1)
    for n in range(300):
        assert await client.get(memcache_key(f"b/{n}")) == b"%d" % n * 2000
    await client.close()


async def test_one_fenced_and_one_away_is_504_and_never_404(nodes, store):
    await store.put("c", b"here")
    nodes.kill(0)
    nodes.kill(1)
    nodes.start(0)
    for _ in range(3):
        for ask in (store.get, store.stat, store.delete):
            with pytest.raises(NoStoreAvailable, match="fenced.*cannot be reached|cannot be reached.*fenced"):
                await ask("c")
        with pytest.raises(NoStoreAvailable, match="Nothing was written|2 of 3"):
            await store.put("c", b"other")
        await asyncio.sleep(1.5)
    with pytest.raises(NoStoreAvailable):
        await store.ready()
    nodes.start(1)
    await trusted_again(store)
    assert (await store.get("c")).content == b"here"


async def test_files_of_earlier_releases(nodes):
    """Flags 0, small versions, native tombstones; not all nodes have the same."""
    clients = [nodes.client(number) for number in range(3)]
    for client in clients:
        for name in ("old", "differs", "overwritten", "deleted", "large"):
            await client.set(memcache_key(name), b"old " * (5000 if name == "large" else 1))
        await client.set(memcache_key("gone"), b"x")
        await client.delete(memcache_key("gone"))
    await clients[0].set(memcache_key("differs"), b"newer")
    await clients[1].set(memcache_key("one has deleted it"), b"1")
    await clients[1].set(memcache_key("one has deleted it"), b"2")
    await clients[2].set(memcache_key("one has deleted it"), b"1")
    await clients[1].delete(memcache_key("one has deleted it"))
    await clients[2].set(memcache_key("only one has it"), b"1" * 5000)
    await asyncio.sleep(2.5)  # (what lies in files, and not in memory, may lie there compressed)
    store = store_over(plain_route(nodes.ports))
    await store.start()
    await trusted(store)
    for _ in range(6):  # whichever nodes are asked
        assert (await store.get("old")).content == b"old "
        assert (await store.get("large")).content == b"old " * 5000
        assert (await store.get("differs")).content == b"newer"
        assert (await store.get("only one has it")).content == b"1" * 5000
        for path in ("gone", "one has deleted it"):
            with pytest.raises(NotFound):
                await store.get(path)
    for client in clients:
        assert await client.get(memcache_key("differs")) == b"newer"
        assert await client.get(memcache_key("only one has it")) == b"1" * 5000
    await store.put("overwritten", b"new")
    assert (await store.get("overwritten")).content == b"new"
    await store.delete("deleted")
    with pytest.raises(NotFound):
        await store.get("deleted")
    for path in ("one has deleted it", "gone"):
        await store.put(path, b"again")
        assert (await store.get(path)).content == b"again"
    for client in clients:
        await client.close()
    await store.close()


async def test_others_who_write_are_noticed(nodes, store, caplog):
    await store.put("j", b"x")
    for number in range(3):
        client = nodes.client(number)
        await client.set(memcache_key("j"), b"by a proxy")
        await client.close()
    assert (await store.get("j")).content == b"by a proxy"
    assert "somebody else writes" in caplog.text
    assert store._cluster.parts[0].foreign_writes > 0
    await store.put("j", b"by us")
    assert (await store.get("j")).content == b"by us"


async def test_other_clients_read_what_is_stored(nodes, store):
    await store.put("photo", b"\x00bytes\r\n")
    found = []
    for number in range(3):
        client = nodes.client(number)
        found.append(await client.get(memcache_key("photo")))
        await client.close()
    assert found.count(b"\x00bytes\r\n") >= 2


async def test_one_round_trip_to_read_and_two_to_write(store):
    def commands() -> int:
        return sum(
            latencies.count
            for node in store._cluster.nodes
            for name, latencies in node.endpoint_stats.latencies.items()
            if name in ("get", "look", "set")
        )

    await store.put("d", b"x" * 10_000)
    await asyncio.sleep(0.1)
    before = commands()
    for _ in range(100):
        await store.get("d")
    assert 200 <= commands() - before <= 230  # the value from one node, its version from another
    before = commands()
    for _ in range(100):
        await store.put("d", b"x" * 10_000)
    await asyncio.sleep(0.1)
    assert 900 <= commands() - before <= 960  # on each of three: a look, then a set and a look
    assert store._cluster.counts.settled == 0


async def test_a_stopped_node_delays_nobody_for_long(nodes, store):
    await store.put("e", b"x")
    nodes.running[0].send(signal.SIGSTOP)
    began = time.monotonic()
    for n in range(20):
        await store.put(f"e/{n}", b"x")
        assert (await store.get(f"e/{n}")).content == b"x"
    took = time.monotonic() - began
    nodes.running[0].send(signal.SIGCONT)
    assert took < 15  # (20 operation timeouts would be a minute)
    await trusted_again(store)
    assert (await store.get("e")).content == b"x"


async def check_of(route: Route, wall=time.time) -> None:
    addresses = {address: ("127.0.0.1", int(address.split(":")[1])) for address in route.addresses}
    await check(route, addresses, LIMITS, wall)


async def test_the_start_refuses_what_cannot_work(nodes, memcached, tmp_path):
    await check_of(plain_route(nodes.ports))
    with pytest.raises(StoreUnusable, match="no gobeansdb"):
        await check_of(plain_route([*nodes.ports[:2], memcached]))
    with pytest.raises(StoreUnusable, match="clock of this machine is .* ahead"):
        await check_of(plain_route(nodes.ports), lambda: time.time() + 3600)
    # A node that is not there is no reason not to start.
    await check_of(plain_route([*nodes.ports[:2], programs.free_port()]))
    # One that does not serve a bucket says STORED all the same.
    half = Nodes(
        tmp_path / "half", 'numbucket: 16\nmain:\n- addr: 127.0.0.1:1\n  buckets: ["0"]\nbackup: []\n', 1
    )
    with pytest.raises(StoreUnusable, match="does not keep all keys"):
        await check_of(plain_route(half.ports))
    half.stop()


async def test_other_members_are_refused(nodes, store):
    await store.put("f", b"x")
    with pytest.raises(StoreUnusable, match="belongs to other members"):
        await check_of(plain_route(nodes.ports[:2]))
    other = store_over(plain_route(nodes.ports[:2]))
    await other.start()
    with pytest.raises(NoStoreAvailable, match="other members"):
        await other.get("f")
    with pytest.raises(NoStoreAvailable, match="other members"):
        await other.put("f", b"y")
    await other.close()
    assert (await store.get("f")).content == b"x"


async def test_two_gateways_and_a_successor(nodes, store):
    other = store_over(plain_route(nodes.ports))
    await other.start()
    await trusted(other)
    writers = {each._cluster.parts[0].units.writer for each in (store, other)}
    assert len(writers) == 2
    for n in range(50):
        await store.put("g", b"%d" % n)
        assert (await other.get("g")).content == b"%d" % n
        await other.put("g", b"other %d" % n)
        assert (await store.get("g")).content == b"other %d" % n
    both = [each.put("h", b"%d" % n) for n in range(100) for each in (store, other)]
    await asyncio.gather(*both)
    assert (await store.get("h")).content == (await other.get("h")).content
    await other.close()
    assert (await store.get("g")).content == b"other 49"


async def test_a_file_that_looks_like_commands_is_a_file(nodes, store):
    """Over body_max a node reads the body as commands."""
    await store.put("victim", b"x")
    key = memcache_key("victim").decode()
    body = f"\r\ndelete {key}\r\n".encode() * 60_000
    await store.put("i", body[: 2 * 1024 * 1024])
    assert (await store.get("i")).content == body[: 2 * 1024 * 1024]
    assert (await store.get("victim")).content == b"x"


async def test_a_node_that_was_killed_in_the_middle_of_a_write_starts(nodes, store):
    for n in range(60):
        await store.put(f"t/{n}", b"%d" % n * 500)
    await asyncio.sleep(3)  # it is in their files
    nodes.kill(0)
    files = programs.gobeansdb_home(nodes.folder, nodes.ports[0]).glob("data/**/*.data")
    torn = 0
    for file in files:
        if (size := file.stat().st_size) > 256:
            torn += 1
            os.truncate(file, size - (100, 300)[torn % 2])
    assert torn > 3
    nodes.start(0)
    await trusted_again(store)
    client = nodes.client(0)
    for n in range(60):
        assert await client.get(memcache_key(f"t/{n}")) == b"%d" % n * 500
    await client.close()
