"""The protocol over Beansdb nodes, in a simulated world: random histories are linearizable, and without any one of its
rules they are not.
"""

import logging
import os
import subprocess
import sys

import pytest

from sfss.compiled import PURE_VARIABLE
from tests.programs import ROOT
from tests.simulated.histories import Plan, play
from tests.simulated.linearizable import FOREVER, Operation, explain

MUTANTS = [
    "no_fence", "fence_by_time", "marks_copied", "untrusted_acknowledge", "untrusted_read", "read_from_one",
    "next_version", "no_writer", "no_floor", "no_reservation", "claims_not_compared", "retry_above", "native_delete",
    "new_version_for_write_back", "no_write_back", "mark_before_compared", "old_disks_not_buried", "purge_of_what_is_new",
    "leaving_node_answers", "index_kept",
]  # fmt: skip


def simulate(*arguments: object) -> tuple[int, str]:
    """In a process of its own, at full speed: the exit code, and what it printed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != PURE_VARIABLE and not name.startswith("COVERAGE")
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulated", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("seed", [100_000])
def test_histories_are_linearizable(seed):
    code, printed = simulate("--histories", 70, "--seed", seed)
    assert code == 0, printed
    assert "70 histories" in printed


@pytest.mark.parametrize("plan, histories", [("purges", 10), ("moves", 15)])
def test_histories_with_purges_and_moves_are_linearizable(plan, histories):
    code, printed = simulate("--plan", plan, "--histories", histories, "--seed", 400_000)
    assert code == 0, printed
    assert f"{histories} histories" in printed


def test_a_few_in_this_process():
    logging.disable(logging.CRITICAL)
    try:
        verdicts = [play(seed, Plan(seconds=30.0)) for seed in range(12)]
    finally:
        logging.disable(logging.NOTSET)
    assert [verdict.wrong for verdict in verdicts if verdict.wrong] == []
    assert sum(verdict.succeeded for verdict in verdicts) > 1000
    assert sum(verdict.troubles for verdict in verdicts) > 40


@pytest.mark.parametrize("mutant", MUTANTS)
def test_without_a_rule_it_is_seen(mutant):
    code, printed = simulate("--mutant", mutant, "--histories", 200)
    assert code == 1 and "1 wrong" in printed, printed


def test_every_rule_is_tried():
    code, printed = simulate("--mutant", "none")
    assert code == 1
    known = sorted(printed.rpartition("one of ")[2].strip().split(", "))
    assert known == sorted(MUTANTS), printed


def put(value, begin, end=FOREVER):
    return Operation("put", "k", value, begin, end, known=end < FOREVER)


def delete(begin, end=FOREVER):
    return Operation("delete", "k", None, begin, end, known=end < FOREVER)


def get(value, begin, end):
    return Operation("get", "k", value, begin, end, known=True)


@pytest.mark.parametrize(
    "operations, is_right",
    [
        ([put(1, 0, 1), get(1, 2, 3)], True),
        ([put(1, 0, 1), get(None, 2, 3)], False),
        ([put(1, 0, 5), get(None, 2, 3), get(1, 2, 6)], True),
        ([put(1, 0, 5), get(1, 1, 2), get(None, 3, 4)], False),
        ([put(1, 0, 1), put(2, 2), get(1, 3, 4), get(2, 5, 6)], True),
        ([put(1, 0, 1), put(2, 2), get(2, 3, 4), get(1, 5, 6)], False),
        ([put(1, 0, 1), delete(2), get(None, 3, 4)], True),
        ([put(1, 0, 1), delete(2), get(None, 3, 4), get(1, 5, 6)], False),
        ([put(1, 0, 1), put(2, 2, 3), get(1, 4, 5)], False),
        ([put(1, 0, 1), delete(2, 3), get(1, 4, 5)], False),
        ([put(1, 0, 3), put(2, 0, 3), get(1, 4, 5), get(2, 6, 7)], False),
    ],
)
def test_the_judge(operations, is_right):
    assert explain(operations) is is_right
