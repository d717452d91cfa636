"""Real nodes, that lose their networks, their processes, their disks and their clocks."""

import asyncio
import random
import shutil
import signal

import pytest

from tests.cluster import Cluster, until
from tests.listening import listening
from tests.programs import KilledNode
from tests.simulation import STEPS

EXACT = ("--names", "exact")
LINE = {"A": "B", "B": "AC", "C": "B"}


async def test_every_file_comes_to_every_node(tmp_path):
    async with Cluster(tmp_path) as cluster:
        contents = {f"f/{n}.jpg": random.Random(n).randbytes(n * 997) for n in range(30)}
        names = {}
        for number, (path, content) in enumerate(contents.items()):
            names[await cluster.put("ABC"[number % 3], path, content)] = content
        files = await cluster.until_equal(told=True)
        assert files.keys() == names.keys()
        for path, content in names.items():
            for name in "ABC":
                assert await cluster.get(name, path) == content
        gone = list(names)[:10]
        for path in gone:
            assert await cluster.delete("B", path) == 200
        assert (await cluster.until_equal()).keys() == names.keys() - set(gone)
        for path in gone:
            answer = await cluster.ask("C", "PUT", f"/{path}", names[path])
            assert answer.status == 409


async def test_exact_names_replace(tmp_path):
    async with Cluster(tmp_path, *EXACT) as cluster:
        assert (await cluster.ask("A", "PUT", "/a/x.jpg", b"1")).status == 201
        await cluster.until_equal()
        assert (await cluster.ask("B", "PUT", "/a/x.jpg", b"2")).status == 204
        await cluster.until_equal()
        assert [await cluster.get(name, "a/x.jpg") for name in "ABC"] == [b"2"] * 3
        assert (await cluster.ask("C", "DELETE", "/a/x.jpg")).status == 204
        assert await cluster.until_equal() == {}
        assert (await cluster.ask("A", "DELETE", "/a/x.jpg")).status == 404
        assert (await cluster.ask("A", "PUT", "/a/x.jpg", b"3")).status == 201
        await cluster.until_equal()
        assert await cluster.get("C", "a/x.jpg") == b"3"


async def test_a_node_that_was_down_gets_what_it_missed(tmp_path):
    async with Cluster(tmp_path, *EXACT) as cluster:
        await cluster.put("A", "kept", b"1")
        await cluster.put("A", "deleted", b"2")
        await cluster.until_equal()
        await cluster.kill("C")
        await cluster.put("A", "new", b"3")
        await cluster.put("B", "kept", b"4")
        await cluster.delete("B", "deleted")
        await until(lambda: cluster.files("A") == cluster.files("B"))
        await cluster.start("C")
        assert (await cluster.until_equal()).keys() == {"kept", "new"}
        assert await cluster.get("C", "kept") == b"4"


async def test_changes_go_around_a_wire_that_is_cut(tmp_path):
    async with Cluster(tmp_path, *EXACT) as cluster:
        cluster.wires["AC"].cut()
        cluster.wires["CA"].cut()
        await cluster.put("A", "x", b"1")
        await until(lambda: "x" in cluster.files("C"))
        await cluster.delete("C", "x")
        await until(lambda: not cluster.files("A"))
        cluster.heal()
        await cluster.until_equal()


async def test_a_line(tmp_path):
    async with Cluster(tmp_path, *EXACT, links=LINE) as cluster:
        await cluster.put("A", "x", b"1")
        await cluster.put("C", "y", b"2")
        assert (await cluster.until_equal()).keys() == {"x", "y"}
        await cluster.delete("C", "x")
        assert (await cluster.until_equal()).keys() == {"y"}


@pytest.mark.parametrize("groups", [("A", "BC"), ("AB", "C"), ("A", "B", "C")], ids="/".join)
async def test_partitions(tmp_path, groups):
    async with Cluster(tmp_path, *EXACT) as cluster:
        for number in range(10):
            await cluster.put("A", f"f/{number}", b"before")
        await cluster.until_equal()
        cluster.part(*groups)
        last = {}
        for number in range(10):
            for name in random.Random(number).sample("ABC", 3):
                await cluster.put(name, f"f/{number}", f"{name} {number}".encode())
                await asyncio.sleep(0.002)  # milliseconds are what a clock can tell apart
                last[f"f/{number}"] = f"{name} {number}".encode()
            await cluster.put("ABC"[number % 3], f"new/{number}", b"%d" % number)
        cluster.heal()
        files = await cluster.until_equal()
        assert len(files) == 20
        for path, content in last.items():
            assert [await cluster.get(name, path) for name in "ABC"] == [content] * 3


@pytest.mark.parametrize("step", STEPS)
async def test_killed_between_any_two_steps(tmp_path, step):
    """What is acknowledged is there; what is not is there everywhere, or nowhere."""
    async with Cluster(tmp_path, *EXACT) as cluster:
        await cluster.put("A", "replaced", b"before")
        await cluster.put("A", "deleted", b"before")
        await cluster.until_equal()
        for number, (method, path, body) in enumerate(
            [("PUT", "new", b"1"), ("PUT", "replaced", b"after"), ("DELETE", "deleted", b"")]
        ):
            await asyncio.to_thread(cluster.nodes["A"].stop)
            victim = await cluster.start("A", kind=_killed_at(step, 1))
            with pytest.raises((EOFError, ConnectionResetError)):
                await cluster.ask("A", method, f"/{path}", body)
            assert await asyncio.to_thread(victim.process.wait, 10) == -signal.SIGKILL
            await cluster.start("A")
            has_happened = step != "written"
            await cluster.until_equal()
            for name in "ABC":
                content = await cluster.get(name, path)
                assert content == ((body or None) if has_happened else _before(path))


def _before(path: str) -> bytes | None:
    return None if path == "new" else b"before"


def _killed_at(step: str, number: int):
    def start(home, *flags, port):
        return KilledNode(home, step, number, *flags, port=port)

    return start


@pytest.mark.parametrize("step", STEPS)
async def test_a_receiver_killed_between_any_two_steps(tmp_path, step):
    async with Cluster(tmp_path, *EXACT, links={"A": "B", "B": "A"}) as cluster:
        await asyncio.to_thread(cluster.nodes["B"].stop)
        victim = await cluster.start("B", kind=_killed_at(step, 1))
        for number in range(20):
            await cluster.put("A", f"f/{number}", b"%d" % number * 1000)
            await asyncio.sleep(0.01)
        assert await asyncio.to_thread(victim.process.wait, 15) == -signal.SIGKILL
        await cluster.start("B")
        assert len(await cluster.until_equal()) == 20


async def test_kills_at_random_under_load_lose_nothing(tmp_path):
    async with Cluster(tmp_path, *EXACT) as cluster:
        acknowledged = {}
        done = asyncio.Event()

        async def write(worker: int) -> None:
            number = 0
            while not done.is_set():
                path, content = f"w{worker}/{number}", b"%d %d" % (worker, number) * 200
                try:
                    await cluster.put("ABC"[number % 3], path, content)
                except (OSError, EOFError, AssertionError):
                    await asyncio.sleep(0.05)
                else:
                    acknowledged[path] = content
                number += 1

        writers = [asyncio.create_task(write(worker)) for worker in range(6)]
        for number in range(6):
            await asyncio.sleep(0.7)
            name = "ABC"[number % 3]
            await cluster.kill(name)
            await asyncio.sleep(0.2)
            await cluster.start(name)
        done.set()
        await asyncio.gather(*writers)
        files = await cluster.until_equal()
        assert len(acknowledged) > 100
        assert acknowledged.keys() <= files.keys()
        for path in random.Random(1).sample(sorted(acknowledged), 50):
            assert await cluster.get("B", path) == acknowledged[path]


async def test_a_node_that_lost_its_disks_gets_all_again(tmp_path):
    async with Cluster(tmp_path, *EXACT) as cluster:
        for number in range(60):
            await cluster.put("ABC"[number % 3], f"f/{number}", b"%d" % number * 500)
        before = await cluster.until_equal()
        await cluster.kill("B")
        shutil.rmtree(tmp_path / "B")
        await cluster.delete("A", "f/7")
        await cluster.start("B")
        files = await cluster.until_equal()
        assert files == {path: digest for path, digest in before.items() if path != "f/7"}
        assert "compared with a neighbour" in cluster.nodes["B"].printed()


@pytest.mark.parametrize("lost", ["storage", "queue"])
async def test_one_of_the_folders_is_lost(tmp_path, lost):
    async with Cluster(tmp_path, *EXACT) as cluster:
        for number in range(30):
            await cluster.put("A", f"f/{number}", b"%d" % number * 500)
        before = await cluster.until_equal()
        await asyncio.to_thread(cluster.nodes["B"].stop)
        shutil.rmtree(tmp_path / "B" / lost)
        if lost == "storage":
            with pytest.raises(RuntimeError, match="Is its disk mounted"):
                await cluster.start("B")
        await cluster.start("B", "--new-storage")
        assert await cluster.until_equal() == before
        for number in range(30):
            assert await cluster.get("B", f"f/{number}") == b"%d" % number * 500


async def test_bytes_that_change_on_the_wire_change_nothing(tmp_path):
    async with Cluster(tmp_path, *EXACT) as cluster:
        for wire in cluster.wires.values():
            wire.flip(0.3)
        contents = {f"f/{n}": random.Random(n).randbytes(20_000) for n in range(30)}
        for number, (path, content) in enumerate(contents.items()):
            await cluster.put("ABC"[number % 3], path, content)
        await asyncio.sleep(1)
        for wire in cluster.wires.values():
            wire.flip(0.02)
        await asyncio.sleep(1)
        cluster.heal()
        await cluster.until_equal()
        for path, content in contents.items():
            for name in "ABC":
                assert await cluster.get(name, path) == content


async def test_bytes_that_change_on_disk_are_healed(tmp_path):
    async with Cluster(tmp_path, *EXACT) as cluster:
        for path in ("rotten", "cut off", "missing", "good"):
            await cluster.put("A", path.replace(" ", "-"), path.encode() * 100)
        before = await cluster.until_equal()
        storage = tmp_path / "A" / "storage"

        def spoil() -> None:
            (storage / "rotten").write_bytes(b"Rotten" + b"rotten" * 99)
            (storage / "cut-off").write_bytes(b"cut")
            (storage / "missing").unlink()

        spoil()
        # Whoever reads them gets what they were,
        assert await cluster.get("A", "rotten") == b"rotten" * 100
        assert await cluster.get("A", "missing") == b"missing" * 100
        assert cluster.files("A").keys() == before.keys()
        spoil()
        # and a verification finds those that nobody reads.
        assert (await cluster.ask("A", "POST", "/_verify")).status == 202

        async def verified() -> bool:
            return not (await cluster.status("A"))["verification"]["running"]

        await until(verified)
        progress = (await cluster.status("A"))["verification"]
        assert (progress["checked"], progress["damaged"], progress["healed"]) == (4, 3, 3)
        assert cluster.files("A") == before


async def test_rot_is_not_passed_on(tmp_path):
    async with Cluster(tmp_path, *EXACT, links={"A": "B", "B": "A"}) as cluster:
        await cluster.kill("B")
        await cluster.put("A", "x", b"content" * 100)
        await asyncio.to_thread(cluster.nodes["A"].stop)
        (tmp_path / "A/storage/x").write_bytes(b"Content" + b"content" * 99)
        await cluster.start("A")
        await cluster.start("B")
        await cluster.put("A", "y", b"goes on")
        await until(lambda: "y" in cluster.files("B"))
        assert "x" not in cluster.files("B")
        assert (await cluster.ask("A", "GET", "/x")).status == 502
        assert "a file is damaged on disk" in cluster.nodes["A"].printed()


async def test_damage_that_nobody_could_heal_is_healed_later(tmp_path):
    """The node has been started again meanwhile, and remembers nothing of it."""
    async with Cluster(tmp_path, *EXACT, links={"A": "B", "B": "A"}) as cluster:
        content = b"content" * 100
        await cluster.put("A", "x", content)
        await cluster.until_equal(told=True)
        await cluster.kill("B")
        file = tmp_path / "A/storage/x"
        file.write_bytes(b"C" + content[1:])
        assert (await cluster.ask("A", "GET", "/x")).status == 502
        await asyncio.to_thread(cluster.nodes["A"].stop)
        await cluster.start("A")
        assert (await cluster.ask("A", "GET", "/x")).status == 502
        await cluster.start("B")

        async def served() -> bool:
            answer = await cluster.ask("A", "GET", "/x")
            assert answer.status in (200, 502)
            return answer.status == 200

        await until(served, 60)
        await until(lambda: file.read_bytes() == content)


@pytest.mark.parametrize("trouble", ["500", "nothing", "slow"])
async def test_a_neighbour_in_trouble(tmp_path, trouble):
    async with Cluster(tmp_path, *EXACT) as cluster:
        await cluster.put("A", "before", b"0")
        await cluster.until_equal()
        for wire in (cluster.wires["AC"], cluster.wires["BC"]):
            if trouble == "500":
                wire.answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif trouble == "nothing":
                wire.swallow()
            else:
                wire.throttle(20_000)
        for number in range(20):
            await cluster.put("A", f"f/{number}", b"%d" % number * 1000)
        await until(lambda: cluster.files("A") == cluster.files("B"))
        cluster.heal()
        await cluster.until_equal(seconds=60)


async def all_trusted(cluster: Cluster) -> None:
    """Wait until each node knows that the others tell one another themselves."""

    async def trusted() -> bool:
        found = [(await cluster.status(name))["neighbours"].values() for name in cluster.links]
        return all(len(about["tells"]) == 2 for peers in found for about in peers)

    await until(trusted)


async def test_what_a_node_tells_all_others_is_passed_on_by_none(tmp_path):
    async with Cluster(tmp_path) as cluster:
        await all_trusted(cluster)
        for number in range(50):
            await cluster.put("A", f"{number}", b"%d" % number)
        await cluster.until_equal(told=True)
        await asyncio.sleep(2.0)  # by now they would have passed it on
        told = {}
        for name in "ABC":
            metrics = (await cluster.ask(name, "GET", "/metrics")).body.decode()
            lines = [line for line in metrics.splitlines() if 'event="told"' in line]
            told[name] = [float(line.split()[-1]) for line in lines]
        assert told == {"A": [50, 50], "B": [0, 0], "C": [0, 0]}


RARELY = ("--compare-interval", 600)  # too late for the tests that follow


async def put_and_told_to_b_only(cluster: Cluster, how: str = "swallow") -> str:
    """A has told B that it tells C, and does not get to it."""
    if how == "refuse":
        cluster.wires["AC"].answer(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    else:
        getattr(cluster.wires["AC"], how)()
    path = await cluster.put("A", "x", b"1")
    await until(lambda: path in cluster.files("B"))
    return path


@pytest.mark.parametrize("how", ["cut", "swallow", "refuse"])
@pytest.mark.parametrize("dies", [False, True])
async def test_what_a_node_can_not_tell_another_comes_by_a_third(tmp_path, how, dies):
    async with Cluster(tmp_path, *RARELY) as cluster:
        await all_trusted(cluster)
        path = await put_and_told_to_b_only(cluster, how)
        if dies:
            await cluster.kill("A")
        await until(lambda: path in cluster.files("C"), 60)


async def test_a_node_that_can_tell_nobody_any_more_is_asked(tmp_path):
    async with Cluster(tmp_path, *RARELY) as cluster:
        await all_trusted(cluster)
        path = await put_and_told_to_b_only(cluster)
        cluster.wires["AB"].cut()
        cluster.wires["AC"].cut()
        await until(lambda: path in cluster.files("C"), 60)


async def test_a_node_that_cannot_be_reached_is_not_relied_upon(tmp_path):
    async with Cluster(tmp_path, *RARELY) as cluster:
        await all_trusted(cluster)
        cluster.wires["BA"].cut()
        cluster.wires["CA"].cut()

        async def gone() -> bool:
            found = [(await cluster.status(name))["neighbours"].values() for name in "BC"]
            return all(sorted(n["up"] for n in peers) == [False, True] for peers in found)

        await until(gone, 60)
        path = await put_and_told_to_b_only(cluster)
        await cluster.kill("A")
        await until(lambda: path in cluster.files("C"), 60)


@pytest.mark.parametrize("which", ["dead node", "retired node"])
async def test_what_a_node_was_telling_when_it_was_removed_is_not_lost(tmp_path, which):
    links = {"A": "BC", "B": "AC", "C": "AB"}
    async with Cluster(tmp_path, *RARELY, links=links) as cluster:

        def named(name: str, others: str) -> None:
            urls = (f'"{cluster.url(name, other)}"' for other in others)
            (tmp_path / f"{name}.toml").write_text(f"node = [{', '.join(urls)}]")

        changed = "BC" if which == "dead node" else "A"
        for name in changed:
            await asyncio.to_thread(cluster.nodes[name].stop)
            named(name, links[name])
            cluster.links = {**links, name: ""}  # they stand in the file
            await cluster.start(name, "--config", tmp_path / f"{name}.toml")
        cluster.links = links
        await all_trusted(cluster)
        path = await put_and_told_to_b_only(cluster)
        if which == "dead node":
            await cluster.kill("A")
        for name in changed:
            named(name, "BC".replace(name, "") if which == "dead node" else "")
            cluster.nodes[name].send(signal.SIGHUP)
        await until(lambda: path in cluster.files("C"), 60)


async def test_a_neighbour_that_dies_is_seen_to_be_away_though_nobody_writes(tmp_path):
    async with Cluster(tmp_path, *RARELY) as cluster:
        await cluster.put("A", "x", b"1")
        await cluster.until_equal(told=True)

        async def up() -> list[bool | None]:
            return [about["up"] for about in (await cluster.status("A"))["neighbours"].values()]

        async def all_up() -> bool:
            return await up() == [True, True]

        async def one_is_away() -> bool:
            return sorted(await up()) == [False, True]

        await until(all_up)
        await cluster.kill("C")
        await until(one_is_away, 40)  # (and not when the two are compared again)
        await cluster.start("C")
        await until(all_up, 40)


async def test_neighbours_come_and_go_with_sighup(tmp_path):
    config = tmp_path / "node.toml"
    async with Cluster(tmp_path, *EXACT, links={"A": "", "B": "A", "C": "AB"}) as cluster:
        await asyncio.to_thread(cluster.nodes["A"].stop)
        config.write_text("")
        await cluster.start("A", "--config", config)
        await cluster.put("A", "x", b"1")
        assert (await cluster.status("A"))["queues"] == {}
        url = f"http://127.0.0.1:{cluster.ports['B']}"
        config.write_text(f'node = ["{url}"]')
        cluster.nodes["A"].send(signal.SIGHUP)
        await until(lambda: "x" in cluster.files("B"))

        async def named() -> bool:
            return list((await cluster.status("A"))["queues"]) == [url]

        await until(named)
        config.write_text('node = ["not a url"]')
        cluster.nodes["A"].send(signal.SIGHUP)
        await asyncio.to_thread(cluster.nodes["A"].wait_for_line, "cannot be used")
        assert await named()
        config.write_text("")
        cluster.nodes["A"].send(signal.SIGHUP)

        async def alone() -> bool:
            return (await cluster.status("A"))["queues"] == {}

        await until(alone)
        await cluster.put("A", "y", b"2")
        assert await cluster.get("A", "y") == b"2"


async def test_reading_through(tmp_path):
    async with Cluster(tmp_path, *EXACT, "--catch-up-rate", "1000") as cluster:
        for number in range(50):
            await cluster.put("A", f"f/{number}", random.Random(number).randbytes(20_000))
        await cluster.until_equal()
        await cluster.kill("C")
        shutil.rmtree(tmp_path / "C")
        await cluster.start("C")  # 1 MB is to come, at 1,000 bytes a second
        for number in range(0, 50, 7):
            content = random.Random(number).randbytes(20_000)
            assert await cluster.get("C", f"f/{number}") == content
        assert await cluster.get("C", "f/none") is None
        await asyncio.to_thread(cluster.nodes["C"].stop)
        await cluster.kill("A")
        await cluster.start("A", "--no-read-through")
        assert await cluster.get("A", "none") is None


async def test_write_quorum(tmp_path):
    flags = (*EXACT, "--write-quorum", 2, "--request-timeout", 2)
    async with Cluster(tmp_path, *flags) as cluster:
        answer = await cluster.ask("A", "PUT", "/x", b"1")
        assert answer.status == 201
        assert sum("x" in cluster.files(name) for name in "ABC") >= 2
        await cluster.kill("B")
        assert (await cluster.ask("A", "PUT", "/y", b"2")).status == 201
        assert "y" in cluster.files("C")
        await cluster.kill("C")
        answer = await cluster.ask("A", "PUT", "/z", b"3")
        assert answer.status == 504
        assert b"is kept" in answer.body
        answer = await cluster.ask("A", "DELETE", "/x")
        assert answer.status == 504
        for name in "BC":
            await cluster.start(name)
        files = await cluster.until_equal()
        assert files.keys() == {"y", "z"}


async def test_a_quorum_is_of_different_nodes_that_have_the_file(tmp_path):
    flags = ("--write-quorum", 2, "--request-timeout", 1)
    links = {"A": "AB", "B": "A"}  # A is its own neighbour, too
    async with Cluster(tmp_path, *flags, links=links) as cluster:
        name = await cluster.put("A", "x.txt", b"1")
        await cluster.until_equal(told=True)
        assert (await cluster.ask("A", "PUT", f"/{name}", b"1")).status == 302
        await cluster.kill("B")
        shutil.rmtree(tmp_path / "B")
        assert (await cluster.ask("A", "PUT", "/y.txt", b"2")).status == 504
        assert (await cluster.ask("A", "PUT", f"/{name}", b"1")).status == 504
        await cluster.start("B")
        await cluster.until_equal()


async def test_a_neighbour_with_two_urls_is_one_node(tmp_path):
    async with Cluster(tmp_path, "--request-timeout", 1, links={"A": "B", "B": "A"}) as cluster:
        await asyncio.to_thread(cluster.nodes["A"].stop)
        other = f"http://localhost:{cluster.ports['B']}"
        await cluster.start("A", "--node", other, "--write-quorum", 3)
        assert (await cluster.ask("A", "PUT", "/x", b"1")).status == 504
        assert len(await cluster.until_equal()) == 1


async def test_a_copied_node_is_found_out(tmp_path):
    async with Cluster(tmp_path, *EXACT, links={"A": "B", "B": "A"}) as cluster:
        await cluster.put("A", "x", b"1")
        await cluster.until_equal()
        for name in "AB":
            await asyncio.to_thread(cluster.nodes[name].stop)
        shutil.rmtree(tmp_path / "B")
        shutil.copytree(tmp_path / "A", tmp_path / "B")
        for name in "AB":
            await cluster.start(name)
        await cluster.put("A", "y", b"2")
        await asyncio.to_thread(cluster.nodes["A"].wait_for_line, "Two nodes have the same id")
        assert (await cluster.status("A"))["queues"][cluster.url("A", "B")]["length"] > 0
        await asyncio.to_thread(cluster.nodes["B"].stop)
        shutil.rmtree(tmp_path / "B" / "queue")  # as the message says
        await cluster.start("B")
        assert (await cluster.until_equal()).keys() == {"x", "y"}


async def test_a_verification_ends_though_its_neighbour_goes(tmp_path):
    config = tmp_path / "node.toml"
    config.write_text('node = ["http://127.0.0.1:9"]')
    async with Cluster(tmp_path, *EXACT, links={"A": ""}) as cluster:
        await asyncio.to_thread(cluster.nodes["A"].stop)
        await cluster.start("A", "--config", config)
        assert (await cluster.ask("A", "POST", "/_verify")).status == 202
        config.write_text("")
        cluster.nodes["A"].send(signal.SIGHUP)

        async def ended() -> bool:
            return not (await cluster.status("A"))["verification"]["running"]

        await until(ended)


async def test_through_a_proxy(tmp_path):
    """--proxy, as cockatiel's own tests use it."""
    seen = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.split(b"\r\n")[0])
        target = head.split()[1]
        port = int(target.split(b"/")[2].rpartition(b":")[2])
        onward_reader, onward = await asyncio.open_connection("127.0.0.1", port)
        onward.write(head.replace(b"http://" + target.split(b"/")[2], b"", 1))

        async def pump(source, sink):
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(pump(reader, onward), pump(onward_reader, writer))
        finally:
            onward.transport.abort()

    async with listening(serve) as proxy:
        options = (*EXACT, "--proxy", f"http://127.0.0.1:{proxy}")
        async with Cluster(tmp_path, *options, links={"A": "B", "B": "A"}) as cluster:
            await cluster.put("A", "x", b"1")
            await cluster.until_equal()
            assert any(line.startswith(b"POST http://127.0.0.1:") for line in seen)


async def test_a_node_that_is_its_own_neighbour(tmp_path):
    async with Cluster(tmp_path, *EXACT, links={"A": "AB", "B": "AB"}) as cluster:
        await cluster.put("A", "x", b"1")
        await cluster.put("B", "y", b"2")
        assert (await cluster.until_equal()).keys() == {"x", "y"}
        assert "one of the neighbours is this node" in cluster.nodes["A"].printed()


async def test_nodes_that_differ_in_their_names_leave_each_other_alone(tmp_path):
    async with Cluster(tmp_path, links={"A": "B", "B": ""}) as cluster:
        await asyncio.to_thread(cluster.nodes["A"].stop)
        await cluster.start("A", *EXACT)
        await cluster.put("A", "x", b"1")
        await asyncio.to_thread(cluster.nodes["A"].wait_for_line, "--names generated, the other")
        assert cluster.files("B") == {}
