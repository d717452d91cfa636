"""Which peers a change need not be relayed to: the one predicate, as a table."""

from types import SimpleNamespace

import pytest

from sfss.replication.relaying import leaves_to

A, B = "a" * 16, "b" * 16


def peer(node: str | None, *, up: bool | None = True, caught_up: bool = True, catching_up: bool = False):
    progress = {"fetched_files": 0} if catching_up else None
    return SimpleNamespace(node=node, up=up, caught_up=caught_up, catching_up=progress)


@pytest.mark.parametrize(
    "speaker, named, other, left",
    [
        (peer(A), {B}, peer(B), True),
        (peer(A), {A}, peer(B), False),  # it does not say so
        (peer(A), set(), peer(B), False),
        (peer(A, up=False), {B}, peer(B), False),  # its loss would not be noticed
        (peer(A, up=None), {B}, peer(B), False),
        (peer(A), {B}, peer(B, caught_up=False), False),  # it may lack anything
        (peer(A), {B}, peer(B, catching_up=True), False),  # it could not be compared with soon
        (peer(A), {B}, peer(None), False),  # which node it is, is not known yet
        (peer(A), {B}, peer(B, up=False), True),  # the speaker's queue has it, and it will be told
    ],
)
def test_leaves_to(speaker, named, other, left):
    assert leaves_to(speaker, named, other) is left
