"""Figures, the board that they are pinned on, and the panel that puts them together."""

import multiprocessing
import os
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfss.metrics.aggregate import GONE, Aggregate, retire
from sfss.metrics.families import (
    Family,
    Histogram,
    counter,
    from_document,
    gauge,
    merged,
    seconds,
    to_document,
)
from sfss.metrics.scoreboard import NOTE_BYTES, Scoreboard

AMOUNTS = st.lists(st.integers(0, 2**40))


def histogram(amounts) -> Histogram:
    made = Histogram()
    for amount in amounts:
        made.observe(amount)
    return made


@given(AMOUNTS, AMOUNTS)
def test_histograms_add_up(one, other):
    both = histogram(one) + histogram(other)
    assert both.buckets == histogram(one + other).buckets
    assert (both.count, both.total) == (len(one + other), sum(one + other))
    for power in range(3, 30):
        assert both.up_to(power) == sum(amount < 2**power for amount in one + other)


@given(st.lists(st.integers(0, 2**40), min_size=1), st.sampled_from([0.01, 0.5, 0.9, 1.0]))
def test_percentiles(amounts, share):
    amounts.sort()
    true = amounts[max(-(-len(amounts) * share // 1) - 1, 0).__int__()]
    assert true <= histogram(amounts).percentile(share) <= max(true * 1.13, true + 1)


def test_documents():
    families = [counter("a", "A", "x", "y"), gauge("b", "B", join="min"), seconds("c", "C", "z")]
    families[0].add(("1", "2"), 3)
    families[1].add((), 1.5)
    families[2].add(("p",), histogram([1, 1000]))
    (a, b, c) = from_document(to_document(families))
    assert (a, b) == tuple(families[:2])
    assert c.samples["p",].buckets == families[2].samples["p",].buckets
    assert c.samples["p",].total == 1001


@pytest.mark.parametrize("join, value", [("sum", 5), ("min", 2), ("max", 3)])
def test_gauges_are_joined_as_they_say(join, value):
    parts = []
    for number in (2, 3):
        family = gauge("g", "G", join=join)
        family.add((), number)
        parts.append([family])
    assert merged(parts)["g"].samples == {(): value}


# The board.


def test_notes():
    scoreboard = Scoreboard(places=3)
    assert scoreboard.read(1) == b""
    for note in (b"one", b"a longer one", b"x" * NOTE_BYTES, b"", b"short"):
        scoreboard.write(1, note)
        assert (scoreboard.read(0), scoreboard.read(1), scoreboard.read(2)) == (b"", note, b"")
    with pytest.raises(ValueError, match="there is room for"):
        scoreboard.write(1, b"x" * (NOTE_BYTES + 1))
    assert scoreboard.read(1) == b"short"


def test_no_reader_sees_half_a_note_and_a_kill_leaves_a_whole_one():
    scoreboard = Scoreboard(places=1)
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        writer = context.Process(target=_write_for_ever, args=(scoreboard,))
        writer.start()
        seen = set()
        until = time.monotonic() + 10
        reads = 0
        while (reads < 3000 or len(seen) < 3) and time.monotonic() < until:
            reads += 1
            note = scoreboard.read(0)
            assert len(set(note)) <= 1
            seen.add(note[:1])
        writer.kill()
        writer.join()
        assert len(seen) > 2
        assert len(set(scoreboard.read(0))) == 1


def _write_for_ever(scoreboard: Scoreboard) -> None:
    generator = random.Random(os.getpid())
    while True:
        scoreboard.write(0, bytes((generator.randrange(256),)) * generator.randrange(1, 20_000))


# The panel.


def source(number: int):
    def families() -> list[Family]:
        requests = counter("requests", "R", "route")
        requests.add(("/",), number)
        took = seconds("took", "T")
        took.add((), histogram([100] * number))
        alive = gauge("alive", "A")
        alive.add((), 1)
        return [requests, took, alive]

    return families


def worker(scoreboard: Scoreboard, place: int, number: int) -> Aggregate:
    aggregate = Aggregate(scoreboard, place)
    aggregate.add_source(source(number))
    aggregate.publish()
    return aggregate


def totals(aggregate: Aggregate) -> tuple[int, int, int]:
    figures = aggregate.figures()
    return (
        figures["requests"].samples["/",],
        figures["took"].samples[()].count,
        figures["alive"].samples[()],
    )


def test_what_all_workers_counted_and_what_outlives_them():
    scoreboard = Scoreboard(places=5)
    first = worker(scoreboard, 1, 10)
    worker(scoreboard, 2, 5)
    assert totals(first) == (15, 15, 2)
    retire(scoreboard, 2)
    assert totals(first) == (15, 15, 1)
    retire(scoreboard, 2)  # nothing is there any more
    assert totals(first) == (15, 15, 1)
    worker(scoreboard, 2, 7)
    assert totals(first) == (22, 22, 2)
    retire(scoreboard, 2)
    assert totals(first) == (22, 22, 1)


def test_a_kill_while_a_worker_is_retired_counts_it_once():
    scoreboard = Scoreboard(places=3)
    first = worker(scoreboard, 1, 10)
    worker(scoreboard, 2, 5)
    note = scoreboard.read(2)
    retire(scoreboard, 2)
    scoreboard.write(2, note)  # as it is between the two steps
    assert totals(first) == (15, 15, 1)


def test_places_are_used_again_for_ever():
    scoreboard = Scoreboard(places=3)
    aggregate = worker(scoreboard, 1, 0)
    for _ in range(1500):
        worker(scoreboard, 2, 1)
        retire(scoreboard, 2)
    assert totals(aggregate) == (1500, 1500, 1)
    assert len(scoreboard.read(GONE)) < 100_000
