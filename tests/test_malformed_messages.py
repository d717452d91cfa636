"""Messages and answers of a peer that are not what they should be: refused, with what is wrong with them."""

import pytest

from sfss.replication import requests
from sfss.replication.changes import BadMessage, Message
from sfss.replication.replica import Replica
from sfss.replication.resolve import Rules
from sfss.replication.responses import Answers, tells

OTHER = "f" * 16


@pytest.fixture
def answers(tmp_path):
    replica = Replica(
        tmp_path / "storage",
        tmp_path / "queue",
        peers=(),
        wall=lambda: 1_750_000_000.0,
        now=lambda: 1,
        rules=Rules(immutable=False, max_file_size=1000),
    )
    yield Answers(replica)
    replica.close()


def message(kind: str, **fields) -> Message:
    return Message(kind, {"node": OTHER, "process": "p", "names": "exact", **fields}, [])


@pytest.mark.parametrize(
    "asked, wrong",
    [
        (message("nonsense"), "no message"),
        (Message("tree", {"names": "exact"}, []), "which node speaks"),
        (Message("tree", {"node": "short", "names": "exact"}, []), "which node speaks"),
        (Message("tree", {"node": OTHER, "names": "generated"}, []), "--names"),
        (message("tree"), "malformed"),
        (message("tree", branches=[256], root=0), "no such branch"),
        (message("tree", branches=["0"], root=0), "no such branch"),
        (message("tree", branches=[0] * 300, root=0), "no such branch"),
        (message("list"), "malformed"),
        (message("list", leaves=[65536]), "no such leaf"),
        (message("list", leaves=[None]), "no such leaf"),
        (message("list", leaves=[0] * 5000), "not so many leaves"),
        (message("fetch"), "malformed"),
        (message("fetch", paths=["../x"]), "no such path"),
        (message("fetch", paths=[7]), "no such path"),
    ],
)
def test_what_a_peer_asks_is_checked(answers, asked, wrong):
    with pytest.raises(BadMessage, match=wrong):
        operations, finish = answers.prepare(asked, None)
        finish([])


def test_the_same_node_in_another_life_is_a_copy(answers):
    node = answers._replica.node
    with pytest.raises(BadMessage, match="copied"):
        answers.prepare(Message("tree", {"node": node, "process": "other", "names": "exact"}, []), None)
    # (In this life it talks to itself, and will see.)
    itself = {"node": node, "process": answers._replica.process, "names": "exact"}
    operations, finish = answers.prepare(Message("tree", itself, []), None)
    assert operations == [] and finish([])


@pytest.mark.parametrize("named", [None, "abc", [1], [None, "a"]])
def test_the_nodes_that_it_tells_are_a_list_of_names(named):
    with pytest.raises(BadMessage, match="which nodes are told"):
        tells(message("tree", tells=named))


@pytest.mark.parametrize("value", [None, "7", -1, 1.5, True, [1]])
def test_a_number_is_one(value):
    with pytest.raises(BadMessage, match="no number"):
        requests._number(message("answer", mark=value), "mark")


@pytest.mark.parametrize("values", [None, 7, [3], [-1], ["0"], [True]])
def test_numbers_are_those_of_changes(values):
    with pytest.raises(BadMessage, match="no list"):
        requests._numbers(message("answer", wanted=values), "wanted", 3)


@pytest.mark.parametrize("rows", [None, 7, [1], [[1]], [[3, "why"]], [["0", "why"]]])
def test_failures_name_changes(rows):
    with pytest.raises(BadMessage, match="'failed'"):
        requests._failures(message("answer", failed=rows), 3)
    assert requests._failures(message("answer", failed=[[2, "w" * 900]]), 3) == {2: "w" * 500}
