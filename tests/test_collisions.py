"""Two contents with one SHA-1 are two contents, everywhere: no node keeps one for the other."""

import asyncio
from hashlib import sha1

import pytest

from sfss.models import etag_of
from sfss.replication.changes import Change
from sfss.replication.clock import Version
from sfss.replication.digests import Digests, digests_of
from sfss.replication.entries import Entry
from sfss.replication.operations import Adopt
from sfss.replication.resolve import is_newer
from tests import shattered
from tests.cluster import Cluster
from tests.http import ask, request
from tests.programs import SfssNode
from tests.shattered import SHA1, A, B
from tests.simulation import World

PAIR = {"A": "B", "B": "A"}
EXACT = ("--names", "exact")


async def test_a_colliding_content_replaces_the_other_on_every_node(tmp_path):
    async with Cluster(tmp_path, *EXACT, links=PAIR) as cluster:
        assert (await cluster.ask("A", "PUT", "/x.pdf", A)).status == 201
        await cluster.until_equal(told=True)
        answer = await cluster.ask("A", "PUT", "/x.pdf", B)
        assert (answer.status, answer.headers["x-content-sha1"]) == (204, SHA1)
        await cluster.until_roots_are_equal()
        for name in "AB":
            answer = await cluster.ask(name, "GET", "/x.pdf")
            assert (answer.body, answer.headers["x-content-sha1"]) == (B, SHA1)


async def test_a_quorum_has_the_colliding_content_on_its_disks(tmp_path):
    async with Cluster(tmp_path, *EXACT, "--write-quorum", "2", links=PAIR) as cluster:
        for content in (A, B):
            assert (await cluster.ask("A", "PUT", "/x", content)).status in (201, 204)
            assert [await cluster.get(name, "x") for name in "AB"] == [content] * 2


async def test_rot_is_not_healed_with_the_other_content(tmp_path):
    """A has rotted into B, of all things; the healthy node has A."""
    async with Cluster(tmp_path, *EXACT, links=PAIR) as cluster:
        await cluster.put("A", "x", A)
        await cluster.until_equal(told=True)
        (cluster.folder / "B" / "storage" / "x").write_bytes(B)
        assert await cluster.get("B", "x") == A
        assert (cluster.folder / "B" / "storage" / "x").read_bytes() == A


async def test_verify_finds_the_other_content(tmp_path):
    async with Cluster(tmp_path, *EXACT, links=PAIR) as cluster:
        await cluster.put("A", "x", A)
        await cluster.until_equal(told=True)
        (cluster.folder / "B" / "storage" / "x").write_bytes(B)
        await cluster.ask("B", "POST", "/_verify")
        while (scrub := (await cluster.status("B"))["verification"])["running"]:
            await asyncio.sleep(0.05)
        assert (scrub["damaged"], scrub["healed"]) == (1, 1)
        assert await cluster.get("B", "x") == A


@pytest.mark.parametrize("slow", [False, True])
def test_a_generated_name_never_serves_the_other_content(tmp_path, slow):
    node = SfssNode(tmp_path)
    headers = {"X-Content-SHA1": SHA1} if slow else {}

    def put(name: str, content: bytes):
        return ask(node.port, request("PUT", name, content, headers))

    first = put("/x.pdf", A)
    assert first.status == 201
    name = first.headers["location"]
    other = put("/x.pdf", B)
    assert other.status == 201 and other.headers["location"] != name
    # By the very name that belongs to A's content.
    third = put(name, B)
    assert third.status == 201 and third.headers["location"] not in (name, other.headers["location"])
    assert put(name, A).status == 302
    for location, content in ((name, A), (other.headers["location"], B), (third.headers["location"], B)):
        answer = ask(node.port, request("GET", location))
        assert (answer.body, answer.headers["x-content-sha1"]) == (content, SHA1)
    assert node.stop() == 0


@pytest.fixture
def world():
    world = World(PAIR)
    yield world
    world.close()


def test_found_files_that_collide_become_one(world):
    """Each node finds another content in its folder, by the same name."""
    for name, content in (("A", A), ("B", B)):
        folder = world.nodes[name].replica.folder
        folder.place(folder.write_temporary(content, sync=False), "x")
        world.nodes[name].apply(Adopt("x"))
    world.settle()
    world.check()


def test_versions_that_are_the_same_do_not_make_contents_the_same(world):
    """What an enemy can do who makes the first 64 bits of two SHA-256 alike, and lays both into folders."""
    version = Version(0, "0" * 16)
    for name, content in (("A", A), ("B", B)):
        replica = world.nodes[name].replica
        replica.folder.place(replica.folder.write_temporary(content, sync=False), "x")
        change = Change("x", version, len(content), digests_of(content))
        with replica.catalog.snapshot():
            replica._do([replica._step(None, change, etag_of(content), Adopt("x"), None)], [])
    roots = {node.replica.catalog.tree.root() for node in world.nodes.values()}
    assert len(roots) == 2
    world.settle()
    world.check()


def test_one_order_for_one_version():
    version = Version(5, "0" * 16)
    one = Change("x", version, 1, Digests("0" * 64, "0" * 40))
    other = Change("x", version, 1, Digests("f" * 64, "0" * 40))
    deleted = Change("x", version, 0, None)
    entries = [_entry(change) for change in (one, other, deleted)]
    assert [is_newer(other, entry) for entry in entries] == [True, False, False]
    assert [is_newer(one, entry) for entry in entries] == [False, False, False]
    assert is_newer(one, None)


def _entry(change: Change) -> Entry:
    return Entry(change.path, change.version, change.size, change.digests, "", 0)


def test_the_pair_is_what_it_is_said_to_be():
    assert sha1(shattered.A + b"tail").hexdigest() == sha1(shattered.B + b"tail").hexdigest()
