"""Purging tombstones, and moving to other nodes, over real gobeansdb nodes."""

import asyncio
import os
import time

import pytest

from sfss.beansdb.hashing import hash_text, key_hash
from sfss.beansdb.move import Move, changed
from sfss.beansdb.purge import purge
from sfss.beansdb.repair import NotNow
from sfss.beansdb.report import compare
from sfss.beansdb.route import RouteError, read_route, route_of
from sfss.cli import beansdb_move
from sfss.cli.beansdb import cluster_of
from sfss.cli.beansdb_move import Destination
from sfss.config.gateway import Settings
from sfss.errors import NotFound, SettingsError
from sfss.memcache.keys import memcache_key
from tests import programs
from tests.beansdb import Nodes, plain_route, run, store_over, trusted, trusted_again
from tests.conftest import need, until
from tests.http import ask, request
from tests.programs import Sfss

DAY = 24 * 3600


async def test_old_tombstones_go_when_each_node_was_emptied(nodes):
    """And what an old disk has of before comes back as little as what was deleted."""
    old_days = store_over(plain_route(nodes.ports), wall=lambda: time.time() - 30 * DAY)
    await old_days.start()
    await trusted(old_days)
    for n in range(40):
        await old_days.put(f"p/{n}", b"%d" % n * 100)
    await asyncio.sleep(3)
    nodes.running[0].stop()  # a backup is made
    nodes.keep_disk(0)
    nodes.start(0)
    await trusted_again(old_days)
    for n in range(20):
        await old_days.delete(f"p/{n}")
    await old_days.close()

    store = store_over(plain_route(nodes.ports))
    await store.start()
    await trusted(store)
    try:
        await store.put("p/new", b"new")
        await store.delete("p/new")
        replicas = store._cluster.parts[0]
        horizon = replicas.units.clock() - 7 * 24 * 60
        paths = ["p/new", *(f"p/{n}" for n in range(40))]
        ours = {hash_text(key_hash(memcache_key(path))).decode() for path in paths}
        await purge(replicas, horizon).run()
        for number in range(3):
            nodes.kill(number)
            nodes.start(number, empty=True)
            await trusted_again(store)
            assert replicas.horizon in (0, horizon)
            found = {each.hashed async for each in compare(replicas, lambda share: None)}
            assert not found & ours  # (registers of writer ids may differ for a moment)
        for number in range(3):
            assert await nodes.has(number, "p/new")  # it is too young
            assert not any([await nodes.has(number, f"p/{n}") for n in range(20)])
            assert all([await nodes.has(number, f"p/{n}") for n in range(20, 40)])

        nodes.kill(0)
        nodes.bring_back_disk(0)
        nodes.start(0)
        await trusted_again(store)
        for _ in range(3):
            for n in range(20):
                with pytest.raises(NotFound):
                    await store.get(f"p/{n}")
            for n in range(20, 40):
                assert (await store.get(f"p/{n}")).content == b"%d" % n * 100
        await store.put("p/1", b"again")
        assert (await store.get("p/1")).content == b"again"
    finally:
        await store.close()


async def test_a_purge_wants_all_nodes(nodes):
    flags = nodes.flags()
    done = run("beansdb", "purge", *flags)
    assert done.returncode == 1 and "all nodes must be trusted" in done.stderr, done
    done = run("beansdb", "purge", *flags, "--older-than", 6)
    assert done.returncode == 2 and "too few" in done.stderr, done
    store = store_over(plain_route(nodes.ports))
    await store.start()
    await trusted(store)
    await store.close()
    done = run("beansdb", "purge", *flags)
    assert done.returncode == 0 and "more than 30 days ago" in done.stdout, done


async def test_one_node_takes_another_ones_place_while_files_are_written(nodes, monkeypatch, capsys):
    monkeypatch.setattr(beansdb_move, "SETTLING", 1.0)
    ports = nodes.ports
    new_ports = [*ports[1:], programs.free_port()]
    new_routes = programs.routes(new_ports, programs.free_port())
    nodes.add(new_ports[2], new_routes)
    old_flags, new_flags = nodes.flags(ports), nodes.flags(new_ports)
    settings = Settings(beansdb=tuple(old_flags[1::2]))
    then = Destination(tuple(new_flags[1::2]), "")
    gateway = Sfss(*old_flags)
    written: dict[str, bytes] = {}
    port = gateway.port

    def is_well() -> bool:
        return ask(port, request("GET", "/readyz")).status == 200

    async def put(count: int) -> None:
        for _ in range(count):
            path, content = f"m/{len(written)}", os.urandom(500)
            answer = await asyncio.to_thread(ask, port, request("PUT", f"/file?path={path}", content))
            assert answer.status == 200, answer.body
            written[path] = content

    try:
        await until(is_well, 20)
        await until(lambda: ask(port, request("PUT", "/file?path=m/x", b"x")).status == 200, 20)
        await put(50)
        # A stranger does not join with what it has.
        client = nodes.client(3)
        await client.set(b"stranger", b"x")
        assert await beansdb_move.move(settings, then) == 1
        assert "empty it first" in capsys.readouterr().err
        await client.close()
        nodes.kill(3)
        nodes.start(3, empty=True)

        moving = asyncio.create_task(beansdb_move.move(settings, then))
        told = ""
        while "Now take" not in told:
            await put(1)
            told += capsys.readouterr().out
            assert not moving.done(), moving.result()
        assert f"all keys from 127.0.0.1:{ports[0]}" in told
        await put(20)
        nodes.running[0].stop()
        nodes.use_route(0, new_routes)
        nodes.start(0)
        while not moving.done():
            await put(1)
        told = capsys.readouterr()
        assert moving.result() == 0, told
        assert "with --finish" in told.out
        await put(20)
        other = Destination((*new_flags[1:4:2], f"127.0.0.1:{programs.free_port()}"), "")
        assert await beansdb_move.move(settings, other) == 1  # not before this one is finished
        capsys.readouterr()
        assert await beansdb_move.move(settings, then) == 0  # it does no harm to call it again

        # A gateway with the new route beside the old one.
        second = Sfss(*new_flags)
        try:
            await until(lambda: ask(second.port, request("GET", "/readyz")).status == 200, 20)
            await put(10)
            for path, content in written.items():
                assert ask(second.port, request("GET", f"/file?path={path}")).body == content
            gateway.stop()
            port = second.port
            nodes.kill(1)  # one of those that stayed; the new one has everything
            await until(is_well, 20)
            for path, content in written.items():
                assert ask(port, request("GET", f"/file?path={path}")).body == content
            await put(10)
            nodes.start(1)
            await until(lambda: run("beansdb", "status", *new_flags).returncode == 0, 20)
            assert await beansdb_move.move(settings, then._replace(finish=True)) == 0
            assert "Done." in capsys.readouterr().out
            refused = run(*old_flags, "--port", 0)
            assert refused.returncode == 1 and "belongs to other members" in refused.stderr, refused
            await until(lambda: run("beansdb", "verify", *new_flags).returncode == 0, 30)
            for path, content in written.items():
                assert ask(port, request("GET", f"/file?path={path}")).body == content
        finally:
            second.stop()
    finally:
        gateway.stop()


async def test_a_node_is_added_and_another_one_stopped_for_good(nodes, monkeypatch, capsys):
    """From three to four, and back to three, by hand's word."""
    monkeypatch.setattr(beansdb_move, "SETTLING", 0.5)
    store = store_over(plain_route(nodes.ports))
    await store.start()
    await trusted(store)
    for n in range(30):
        await store.put(f"a/{n}", b"%d" % n)
    await store.close()
    four = [*nodes.ports, programs.free_port()]
    nodes.add(four[3], programs.routes(four, programs.free_port()))
    three = four[1:]

    async def go(source: list[int], target: list[int], *left: str) -> int:
        settings = Settings(beansdb=tuple(nodes.flags(source)[1::2]))
        then = Destination(tuple(nodes.flags(target)[1::2]), "", left)
        return await beansdb_move.move(settings, then) or await beansdb_move.move(
            settings, then._replace(finish=True)
        )

    assert await go(nodes.ports[:3], four) == 0, capsys.readouterr()
    nodes.kill(0)
    assert await go(four, three, f"127.0.0.1:{four[0]}") == 0, capsys.readouterr()
    store = store_over(plain_route(three))
    await store.start()
    await trusted(store)
    for n in range(30):
        assert (await store.get(f"a/{n}")).content == b"%d" % n
    await store.close()
    assert await nodes.has(3, "a/7")


def route_of_buckets(ports: list[int], where: dict[int, list[int]]) -> str:
    lines = ""
    for port in ports:
        buckets = ", ".join(f'"{bucket:x}"' for bucket in range(16) if port in where[bucket])
        lines += f"- addr: 127.0.0.1:{port}\n  buckets: [{buckets}]\n"
    return f'numbucket: 16\nmain:\n{lines}backup:\n- "127.0.0.1:1"\n'


async def test_buckets_move_between_nodes_that_have_others(tmp_path, monkeypatch, capsys):
    need("gobeansdb")
    monkeypatch.setattr(beansdb_move, "SETTLING", 1.0)
    ports = [programs.free_port() for _ in range(4)]
    before = {b: [ports[(b + n) % 4] for n in range(3)] for b in range(16)}
    after = dict(before)
    # Two of its buckets go from the first node to the fourth.
    moved = (0, 4)
    for b in moved:
        after[b] = ports[1:]
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(route_of_buckets(ports, before))
    new.write_text(route_of_buckets(ports, after))
    joined = {b: sorted({*before[b], *after[b]}) for b in range(16)}
    nodes = Nodes(tmp_path, count=0)
    for port in ports:
        joins = any(port in after[b] and port not in before[b] for b in moved)
        nodes.add(port, route_of_buckets(ports, joined if joins else before))
    gateway = Sfss("--beansdb-route", old)
    written: dict[str, bytes] = {}

    async def put(count):
        for _ in range(count):
            path, content = f"r/{len(written)}", os.urandom(300)
            answer = await asyncio.to_thread(ask, gateway.port, request("PUT", f"/file?path={path}", content))
            assert answer.status == 200, answer.body
            written[path] = content

    try:
        await until(lambda: ask(gateway.port, request("GET", "/readyz")).status == 200, 30)
        await until(lambda: ask(gateway.port, request("PUT", "/file?path=x", b"x")).status == 200, 20)
        await asyncio.sleep(2)
        await put(200)
        settings = Settings(beansdb_route=str(old))
        then = Destination((), str(new))
        moving = asyncio.create_task(beansdb_move.move(settings, then))
        done, told = set(), ""
        while not moving.done():
            said = capsys.readouterr()
            told += said.out + said.err
            for number, port in enumerate(ports):
                if f"from 127.0.0.1:{port}: out of main" in told and port not in done:
                    done.add(port)
                    nodes.running[number].stop()
                    nodes.use_route(number, route_of_buckets(ports, after))
                    nodes.start(number)
            await put(1)
        out = capsys.readouterr()
        assert moving.result() == 0, (
            told,
            out,
            [line for line in gateway.printed().splitlines() if "beansdb" in line or "repair" in line],
        )
        assert done == {ports[0]}, told
        await put(50)
        second = Sfss("--beansdb-route", new)
        await until(lambda: ask(second.port, request("GET", "/readyz")).status == 200, 30)
        gateway.stop()
        gateway = second
        await put(50)
        assert await beansdb_move.move(settings, then._replace(finish=True)) == 0, capsys.readouterr()
        for path, content in written.items():
            assert ask(gateway.port, request("GET", f"/file?path={path}")).body == content
        # (The third copy of what the old gateway wrote last may be missing: it was stopped.)
        assert run("beansdb", "repair", "--beansdb-route", new).returncode == 0
        assert run("beansdb", "verify", "--beansdb-route", new).returncode == 0
        refused = run("--beansdb-route", old, "--port", 0)
        assert refused.returncode == 1, refused
    finally:
        gateway.stop()
        nodes.stop()


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ("abc", "ade", "1 of its nodes stay"),
        ("ab", "a", "1 of its nodes stay"),
        ("abc", "abcde", "too many nodes join at once"),
        ("a", "b", "0 of its nodes stay"),
        ("abcde", "abcfg", "would leave: one node after the other"),
    ],
)
async def test_what_is_too_much_at_once_is_refused(old, new, complaint):
    names = [tuple(f"127.0.0.1:{ord(letter)}" for letter in letters) for letters in (old, new)]
    with pytest.raises(SettingsError, match=complaint):
        await beansdb_move.move(Settings(beansdb=names[0]), Destination(names[1], ""))


async def test_where_to_move_must_be_said(capsys):
    settings = Settings(beansdb=("127.0.0.1:1",))
    with pytest.raises(SettingsError, match="say where to"):
        await beansdb_move.move(settings, Destination((), ""))
    assert await beansdb_move.move(settings, Destination(("127.0.0.1:1",), "")) == 0
    assert "nothing to move" in capsys.readouterr().out
    sixteen = read_route("numbucket: 1\nmain:\n- addr: a:1\n  buckets: ['0']\n")
    assert changed(sixteen, route_of(("a:1",))) == []
    with pytest.raises(RouteError, match="must be alike"):
        changed(
            sixteen,
            read_route(
                "numbucket: 16\nmain:\n- addr: a:1\n  buckets: ["
                + ", ".join(f"'{digit:x}'" for digit in range(16))
                + "]\n"
            ),
        )


async def test_a_node_leaves_only_when_all_are_trusted(nodes):
    settings = Settings(beansdb=tuple(nodes.flags()[1::2]))
    old = cluster_of(settings)
    new = cluster_of(Settings(beansdb=settings.beansdb[1:]))
    await asyncio.gather(old.connect(), new.connect())
    try:
        move = Move(old.parts[0], new.parts[0])
        move.check()
        assert len(await move.not_trusted()) == 2  # those that stay
        assert await move.still_there([]) == [settings.beansdb[0]]
        assert await move.still_there([settings.beansdb[0]]) == []
        for step in (move.prepare, move.announce):
            with pytest.raises(NotNow, match="must be trusted"):
                await step().run()
        with pytest.raises(NotNow, match="none of the nodes that stay is trusted"):
            await move.cancel()
        assert not await move.is_announced()
    finally:
        await asyncio.gather(old.close(), new.close())


def test_keys_of_these_tests_are_those_of_files():
    assert memcache_key("p/1") == b"cC8x"
