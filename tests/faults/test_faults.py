"""The short form, for CI."""

import pytest

from tests.conftest import cannot, need
from tests.faults import scenes
from tests.faults.history import History, content_of, version_in
from tests.programs import can_mount

SHORT = {"requests": 10_000, "seed": 7, "quiet": 0.3}


@pytest.mark.parametrize("kind", ["twemproxy", "gobeansproxy", "gobeansdb", "embedded"])
async def test_what_was_acknowledged_stays_and_no_read_lies(kind, tmp_path):
    if kind == "embedded":
        if not can_mount(tmp_path):
            cannot("a mount namespace is needed: run as root, or allow user namespaces")
        scene = scenes.embedded
    elif kind == "twemproxy":
        need("memcached", "nutcracker")
        scene = scenes.over_twemproxies
    elif kind == "gobeansdb":
        need("gobeansdb")
        scene = scenes.over_nodes
    else:
        need("gobeansdb", "gobeansproxy")
        scene = scenes.over_beansdb
    async with scene() as stage:
        report = await scenes.play(stage, faults=len(stage.faults), **SHORT)
    print(f"\n{scene.__doc__}\n{report}")
    assert report.wrong == []
    assert report.faults >= len(stage.faults)


# The judge must be able to say no.


def history() -> History:
    made = History()
    file = made.file("a/b")
    file.acknowledged, file.tried = 3, 5
    file.deletes = {0, 2}
    file.begun = {version: float(version) for version in range(1, 6)}
    return made


@pytest.mark.parametrize(
    "acknowledged, status, content, complaint",
    [
        (3, 200, content_of("a/b", 3, 10), None),
        (3, 200, content_of("a/b", 5, 10), None),
        (2, 404, b"", None),
        (3, 200, content_of("a/b", 2, 10), "version 2, but 3 was acknowledged"),
        (3, 200, content_of("a/b", 6, 10), "version 6, but 3 was acknowledged (and 5 tried)"),
        (3, 404, b"", "404, but version 3 was acknowledged"),
        (3, 200, content_of("a/c", 3, 10), "bytes of no version"),
        (3, 200, content_of("a/b", 3, 10)[:-1], "bytes of no version"),
        (3, 200, content_of("a/b", 3, 10)[:-1] + b"?", "bytes of no version"),
        (3, 200, b"", "bytes of no version"),
    ],
    ids=range(10),  # the contents are others in each process
)
def test_the_judge(acknowledged, status, content, complaint):
    made = history()
    made.check_read(made.file("a/b"), acknowledged, status, content)
    assert [complaint in wrong for _, wrong, _ in made.wrong] == ([True] if complaint else [])


def test_what_a_stopped_proxy_held_back_is_told_apart():
    scene = scenes.Scene(None, {}, stops=frozenset(("SIGSTOP",)))
    periods = [(10.0, 13.0, "cut"), (100.0, 103.0, "SIGSTOP")]
    held = [begun for begun in (9.0, 11.0, 99.0, 99.95, 101.5, 102.5, 104.0)
            if scenes._was_held_back(periods, scene, begun)]  # fmt: skip
    assert held == [99.95, 101.5]


def test_no_two_contents_are_the_same():
    contents = {content_of(f"f{n}", version, 1000) for n in range(30) for version in range(30)}
    assert len(contents) == 900
    assert all(version_in("f1", content_of("f1", v, 100_000)) == v for v in range(100))
