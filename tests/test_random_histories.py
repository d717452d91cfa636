"""Dozens of random histories with real processes (``test_convergence.py`` has thousands, simulated)."""

import asyncio
import itertools
from hashlib import sha1

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.cluster import Cluster

nodes = st.sampled_from("ABC")
paths = st.sampled_from(["a", "a/b", "c.jpg", "d"])
actions = st.one_of(
    st.tuples(st.just("put"), nodes, paths, st.integers(0, 9)),
    st.tuples(st.just("put"), nodes, paths, st.integers(0, 9)),
    st.tuples(st.just("put"), nodes, paths, st.integers(0, 9)),
    st.tuples(st.just("delete"), nodes, paths),
    st.tuples(st.just("part"), st.sampled_from([("A", "BC"), ("AB", "C"), ("AC", "B"), ("A", "B", "C")])),
    st.tuples(st.just("heal")),
    st.tuples(st.just("kill"), nodes),
    st.tuples(st.just("start"), nodes),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.1, 0.3])),
)


class Story:
    """One history in *cluster*, with names of its own; what clients were told."""

    def __init__(self, cluster: Cluster, prefix: str):
        self._cluster = cluster
        self._prefix = prefix
        self._last: dict[str, str | None] = {}  # SHA-1 of what was acknowledged last
        self._possible: dict[str, set[str | None]] = {}
        self._unsure: set[str] = set()

    async def play(self, action: tuple) -> None:
        cluster = self._cluster
        match action:
            case ("put", name, path, number):
                content = f"{path} {number}".encode() * (number * 200)
                await self._change(name, "PUT", path, content, sha1(content).hexdigest())
            case ("delete", name, path):
                await self._change(name, "DELETE", path, b"", None)
            case ("part", groups):
                cluster.heal()
                cluster.part(*groups)
            case ("heal",):
                cluster.heal()
            case ("kill", name):
                await cluster.kill(name)
            case ("start", name):
                await self._start(name)
            case ("wait", seconds):
                await asyncio.sleep(seconds)

    async def _start(self, name: str) -> None:
        if self._cluster.nodes[name].process.poll() is not None:
            await self._cluster.start(name)

    async def _change(self, name: str, method: str, path: str, content: bytes, digest: str | None) -> None:
        path = f"{self._prefix}/{path}"
        self._possible.setdefault(path, {None}).add(digest)
        try:
            answer = await self._cluster.ask(name, method, f"/{path}", content)
        except (OSError, EOFError):
            self._unsure.add(path)  # it may have happened
            return
        assert answer.status in (201, 204, 404), answer
        # All clocks are the same here, so what is acknowledged later is newer.
        self._last[path] = digest
        await asyncio.sleep(0.002)

    async def end(self) -> None:
        self._cluster.heal()
        for name in "ABC":
            await self._start(name)
        await self._cluster.until_roots_are_equal(60)
        for path, digest in self._last.items():
            for name in "ABC":
                content = await self._cluster.get(name, path)
                found = None if content is None else sha1(content).hexdigest()
                assert found in self._possible[path], path
                assert found == digest or path in self._unsure, path


def test_random_histories(tmp_path):
    numbers = itertools.count()

    with asyncio.Runner() as runner:
        cluster = Cluster(tmp_path, "--names", "exact", "--no-access-log", "--compare-interval", 1)
        runner.run(cluster.__aenter__())

        @settings(
            max_examples=24, deadline=None, phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.lists(actions, min_size=8, max_size=25))
        def play(history):
            async def run() -> None:
                story = Story(cluster, f"s{next(numbers)}")
                for action in history:
                    await story.play(action)
                await story.end()

            runner.run(run())

        try:
            play()
        finally:
            runner.run(cluster.__aexit__())
