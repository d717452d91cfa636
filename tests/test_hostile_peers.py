"""What a peer says is checked: its mode, names and sizes; and contents that are changed on the way."""

import json
from hashlib import sha1, sha256

import pytest

from sfss.replication.changes import Change, decode, encode
from sfss.replication.clock import FINAL, Version, stamp_of
from sfss.replication.digests import Digests, digests_of
from sfss.replication.operations import Learn, Outcome
from sfss.replication.requests import Resends
from tests.cluster import Cluster, until
from tests.http import ask, request
from tests.programs import SfssNode
from tests.test_replica import NOW, OTHER, Home

PAIR = {"A": "B", "B": "A"}
EXACT = ("--names", "exact")
LIMIT = 1_000_000  # of Home
STAMP = stamp_of(NOW)


def change(path: str, content: bytes | None, stamp: int = STAMP, size: int | None = None) -> Change:
    digests = None if content is None else digests_of(content)
    return Change(
        path, Version(stamp, OTHER), len(content or b"") if size is None else size, digests, content
    )


@pytest.fixture(params=[False, True], ids=["exact", "generated"])
def home(request, tmp_path):
    home = Home(tmp_path, request.param)
    yield home
    home.replica.close()


def refusal(home: Home, change: Change) -> str:
    """Why a peer's change is not taken; "" if it is."""
    (outcome,) = home.replica.apply([Learn(change, None)])
    return "" if isinstance(outcome, Outcome) else str(outcome)


def test_a_delete_is_of_the_kind_of_this_node(home):
    final, plain = change("x", None, STAMP | FINAL), change("x", None)
    wrong, right = (plain, final) if home.immutable else (final, plain)
    assert "--names" in refusal(home, wrong)
    assert home.replica.catalog.get("x") is None
    assert refusal(home, right) == ""


@pytest.mark.parametrize("path", ["_status", "metrics", "_page/x", "healthz"])
def test_a_name_of_the_nodes_own(home, path):
    assert "cannot be the name" in refusal(home, change(path, b"x"))


def test_a_file_over_the_limit(home):
    assert refusal(home, change("x", bytes(LIMIT))) == ""
    assert "--max-file-size" in refusal(home, change("y", bytes(LIMIT + 1)))
    assert home.replica.catalog.get("y") is None


def test_a_peer_cannot_give_a_content_another_sha1(home):
    assert refusal(home, change("x", b"1")) == ""
    right = home.replica.catalog.get("x").digests
    lie = Digests(right.sha256, "f" * 40)
    assert refusal(home, change("x", b"1", STAMP + 1)._replace(digests=lie, content=None)) == ""
    assert home.replica.catalog.get("x").digests == right


# Over HTTP.


def exchange(node: SfssNode, kind: str, changes: list[Change], **fields):
    message = b"".join(
        encode(kind, changes, node=OTHER, process="p", names="exact", tells=[], left=0, **fields)
    )
    headers = {"Content-Type": "application/x-sfss-replication"}
    answer = ask(node.port, request("POST", "/_replication", message, headers))
    assert answer.status == 200, answer
    return decode(answer.body).fields


def test_pushes_and_offers_that_are_refused(tmp_path):
    node = SfssNode(tmp_path, *EXACT, "--max-file-size", 1000)
    bad = [
        change("burnt", None, STAMP | FINAL),
        change("large", bytes(1001)),
        change("_status", b"x"),
        change("damaged", b"x")._replace(content=b"y"),
    ]
    answer = exchange(node, "push", [*bad, change("good", b"x")])
    assert [bool(result) for result in answer["results"]] == [True] * 4 + [False]
    assert answer["damaged"] == [3]
    announced = [c._replace(content=None) for c in [*bad[:3], change("wanted", b"x")]]
    answer = exchange(node, "offer", announced)
    assert answer["wanted"] == [3]
    assert {number for number, _ in answer["failed"]} == {0, 1, 2}
    assert ask(node.port, request("PUT", "/burnt", b"1")).status == 201
    assert json.loads(ask(node.port, request("GET", "/_status")).body)["files"] == 2
    assert node.stop() == 0


# Changed on the way.


async def test_a_byte_that_changes_once_costs_half_a_second(tmp_path):
    """Not the pause of half a minute for what a peer cannot take; so a quorum does not fail by it, either."""
    content = bytes(range(256)) * 20
    async with Cluster(
        tmp_path, *EXACT, "--write-quorum", "2", "--request-timeout", "8", links=PAIR
    ) as cluster:
        await cluster.put("A", "before", b"1")
        cluster.wires["AB"].flip_in(content[:1000])
        answer = await cluster.ask("A", "PUT", "/x", content)
        assert answer.status == 201, answer
        assert await cluster.get("B", "x") == content
        printed = cluster.nodes["A"].printed()
        assert "contents arrived damaged; sending them again" in printed
        assert "refuses changes" not in printed


async def test_what_arrives_damaged_again_and_again_is_put_off(tmp_path):
    content = bytes(range(256)) * 20
    async with Cluster(tmp_path, *EXACT, links=PAIR) as cluster:
        await cluster.put("A", "before", b"1")
        await cluster.until_equal(told=True)
        cluster.wires["AB"].flip_in(content[:1000], times=5)
        await cluster.put("A", "x", content)
        await until(lambda: "a neighbour refuses changes" in cluster.nodes["A"].printed(), 40)


async def test_a_fetched_content_that_was_changed_is_fetched_again(tmp_path):
    """A node that catches up, over a wire that changes a byte."""
    content = bytes(range(256)) * 20
    async with Cluster(tmp_path, *EXACT, "--compare-interval", "600", links=PAIR) as cluster:
        await cluster.kill("B")
        await cluster.put("A", "x", content)
        for wire in cluster.wires.values():
            wire.flip_in(content[:1000])
        cluster.wires["AB"].cut()  # so that it comes by the comparison
        await cluster.start("B")
        await until(lambda: cluster.files("A") == cluster.files("B"), 15)
        assert await cluster.get("B", "x") == content


async def test_a_file_that_is_read_through_is_not_missing_because_a_byte_has_changed(tmp_path):
    content = bytes(range(256)) * 20
    async with Cluster(tmp_path, *EXACT, "--compare-interval", "600", links=PAIR) as cluster:
        await cluster.put("A", "x", content)
        await cluster.until_equal(told=True)
        (cluster.folder / "B" / "storage" / "x").write_bytes(b"rotten")
        cluster.wires["BA"].flip_in(content[:1000])
        assert await cluster.get("B", "x") == content
        (cluster.folder / "B" / "storage" / "x").write_bytes(b"rotten")
        cluster.wires["BA"].flip_in(content[:1000], times=3)
        assert (await cluster.ask("B", "GET", "/x")).status == 502
        cluster.wires["BA"].heal()
        assert await cluster.get("B", "x") == content


def test_pauses_before_it_is_sent_again():
    resends, version = Resends(), Version(1, OTHER)
    assert [resends.pause("x", version) for _ in range(5)] == [500_000, 1_000_000, 2_000_000, 4_000_000, None]
    assert resends.pause("x", version) == 500_000
    assert resends.pause("x", Version(2, OTHER)) == 500_000
    resends.arrived("x")
    assert resends.pause("x", Version(2, OTHER)) == 500_000


def test_digests_are_those_of_their_names():
    assert digests_of(b"x") == (sha256(b"x").hexdigest(), sha1(b"x").hexdigest())
