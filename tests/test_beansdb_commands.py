"""``sfss beansdb`` over real nodes, and a gateway over them from start to end."""

import asyncio
import json
import os
from functools import partial

import pytest

from sfss.beansdb.repair import Busy, NotNow
from sfss.cli import beansdb
from tests.beansdb import run
from tests.conftest import until
from tests.http import ask, request
from tests.programs import Sfss


def is_ready(server: Sfss) -> bool:
    return ask(server.port, request("GET", "/readyz")).status == 200


async def test_a_cluster_from_its_start_to_a_lost_disk(nodes, tmp_path):
    status = run("beansdb", "status", *nodes.flags())
    assert status.returncode == 1 and status.stdout.count("fenced") == 3
    server = Sfss(*nodes.flags(), "--workers", 2)
    try:
        await until(lambda: is_ready(server), 20)
        content = os.urandom(100_000)
        await until(lambda: ask(server.port, request("PUT", "/file?path=a/b", content)).status == 200, 20)
        assert ask(server.port, request("GET", "/file?path=a/b")).body == content
        for n in range(50):
            assert ask(server.port, request("PUT", f"/file?path=c/{n}", b"%d" % n)).status == 200
        assert ask(server.port, request("PUT", "/file?path=" + "x" * 300, b"long")).status == 200
        assert ask(server.port, request("DELETE", "/file?path=c/49")).status == 204

        status = json.loads(run("beansdb", "status", "--json", *nodes.flags()).stdout)
        assert [node["state"] for node in status] == ["trusted"] * 3
        # (Two nodes have a write when it is acknowledged, the third one a moment later.)
        alike = "0 keys are not alike on all nodes\n"
        await until(lambda: run("beansdb", "verify", *nodes.flags()).stdout == alike, 20)
        listed = run("beansdb", "ls", *nodes.flags())
        assert sorted(listed.stdout.split()) == sorted(["a/b", *(f"c/{n}" for n in range(49))])
        assert "1 files have paths that are too long" in listed.stderr
        sizes = [
            json.loads(line) for line in run("beansdb", "ls", "--json", *nodes.flags()).stdout.splitlines()
        ]
        assert {"a/b": 100_000, "c/7": 1}.items() <= {file["path"]: file["size"] for file in sizes}.items()
        full = json.loads(ask(server.port, request("GET", "/status?full=1")).body)
        assert [node["sfss_state"] for node in full["storages"].values()] == ["trusted"] * 3

        # A gateway is not needed to bring a node back.
        server.stop()
        nodes.kill(2)
        nodes.start(2, empty=True)
        verified = run("beansdb", "verify", *nodes.flags())
        assert verified.returncode == 1 and "sfss beansdb repair" in verified.stdout
        await until(lambda: run("beansdb", "repair", *nodes.flags()).returncode == 0, 20)
        assert run("beansdb", "verify", *nodes.flags()).returncode == 0
        assert run("beansdb", "status", *nodes.flags()).returncode == 0
    finally:
        server.stop()


async def test_repairs_wait_for_each_other(nodes):
    """One process at a time repairs: what another one is at passes, and is no failure."""
    await until(lambda: run("beansdb", "repair", *nodes.flags()).returncode == 0, 20)
    repair = partial(asyncio.to_thread, run, "beansdb", "repair", *nodes.flags())
    done = await asyncio.gather(*(repair() for _ in range(3)))
    assert [each.returncode for each in done] == [0] * 3, [each.stderr for each in done]


async def test_what_passes_is_waited_for(monkeypatch):
    monkeypatch.setattr(beansdb, "PAUSE", 0.0)
    monkeypatch.setattr(beansdb, "PATIENCE", 0.2)
    tries = iter([Busy(), Busy(), None, NotNow("too few can be asked")])

    async def step() -> str:
        if (error := next(tries, Busy())) is not None:
            raise error
        return "done"

    assert await beansdb.patiently(step) == "done"
    with pytest.raises(NotNow, match="too few"):  # which is said at once
        await beansdb.patiently(step)
    with pytest.raises(Busy):  # and that after a while
        await beansdb.patiently(step)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["beansdb", "status"], "no Beansdb node is named"),
        (["--beansdb", "a:1", "--proxy", "b:2"], "proxy and beansdb: files are kept in one of them"),
        (["--beansdb", "a:1", "--beansdb", "a:1"], "named twice"),
        (["--beansdb", "a:1", "--beansdb-copies", "3"], "has 1 nodes, and beansdb_copies is 3"),
        (["--beansdb", "a:1", "--beansdb-quorum", "2"], "has 1 nodes, and the quorum is 2"),
        (
            [*(f for n in range(4) for f in ("--beansdb", f"a{n}:1")), "--beansdb-quorum", "2"],
            "a quorum of 2 is no majority",
        ),
        (["--beansdb", "a:1", "--max-file-size", "9000000"], "must not be over beansdb_body_big"),
        (["--beansdb-route", "/no/such/file"], "No such file"),
    ],
)
def test_what_cannot_be_is_refused(arguments, complaint):
    done = run(*arguments)
    assert done.returncode == 2 and complaint in done.stderr, done


@pytest.mark.parametrize(
    "route, complaint",
    [
        ("", "no table"),
        ("numbucket: 17\nmain: []\n", "numbucket is 17"),
        ("numbucket: 16\nmain: []\n", "no node under main"),
        ("numbucket: 1\nmain:\n- addr: a\n  buckets: ['0']\n", "not an address"),
        ("numbucket: 16\nmain:\n- addr: a:1\n  buckets: ['0']\n", "bucket 1 has no node"),
        ("numbucket: 1\nmain:\n- addr: a:1\n  buckets: ['1']\n", "has the bucket 1, and numbucket is 1"),
        ("numbucket: 1\nmain:\n- addr: a:1\n  buckets: [x]\n", "must be hexadecimal"),
        ("numbucket: 1\nmain:\n- addr: a:1\n", "no list of buckets"),
        ("main: [", "no YAML"),
    ],
)
def test_a_route_that_makes_no_sense_is_refused(tmp_path, route, complaint):
    file = tmp_path / "route.yaml"
    file.write_text(route)
    done = run("--beansdb-route", file)
    assert done.returncode == 2 and complaint in done.stderr, done


def test_the_start_refuses_what_is_no_gobeansdb(memcached):
    done = run("--beansdb", f"127.0.0.1:{memcached}", "--port", 0)
    assert done.returncode == 1 and "it is no gobeansdb" in done.stderr, done
