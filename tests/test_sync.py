"""``sfss sync``, ``mirror``, ``get -r`` and ``rm -r``, between folders and servers of all kinds."""

import asyncio
import contextlib
import io
import json
import os
import pty
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfss.cli.main import main
from sfss.cli.progress import printable
from sfss.client import Client, Listed, Page, UnexpectedAnswer
from sfss.client.retries import Retries
from sfss.models import etag_of
from sfss.sync.engine import Sync
from sfss.sync.folder import Folder
from sfss.sync.places import Item
from sfss.sync.server import Server
from tests.conftest import cannot
from tests.objects.swift import Swift
from tests.programs import (
    ROOT,
    WITHOUT_PRIVILEGES,
    Program,
    Sfss,
    SfssNode,
    SfssObjects,
    SmallDisk,
    can_mount,
    free_port,
)
from tests.trees import KINDS, files_in, make, start


@pytest.fixture(params=KINDS)
def server(request, tmp_path):
    server = start(request.param, tmp_path / "server")
    yield server
    server.stop()


def sfss(*arguments: object, status: int = 0, begin=(), **variables: str) -> tuple[str, str]:
    """What the command says, to standard output and to standard error."""
    if begin:
        command = [*begin, sys.executable, "-m", "sfss", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
        code, out, errors = done.returncode, done.stdout, done.stderr
    else:  # in this process: a command begins ten times as fast
        told, complained = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(told),
            contextlib.redirect_stderr(complained),
        ):
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.StringIO())
            code = main(list(map(str, arguments)))
        out, errors = (_written(each) for each in (told, complained))
    assert code == status, (out, errors)
    return out, errors


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()


def files_at(server: Sfss, tmp_path: Path, prefix: str) -> dict[str, bytes]:
    """What is there, by the archive."""
    out = tmp_path / f"out{time.monotonic_ns()}"
    out.mkdir()
    where = "_archive" if isinstance(server, SfssNode) else "archive"
    command = f'set -o pipefail; curl -sf "{server.url}/{where}?prefix={prefix}/" | tar -x -C "{out}"'
    subprocess.run(["bash", "-c", command], check=True)
    return files_in(out / prefix) if (out / prefix).exists() else {}


#: In the order of paths a file may stand between a folder and its files.
TREE = {
    "a": b"1",
    "b-c": b"2",
    "b/c": b"3",
    "b/d/e": b"4",
    "b.txt": b"5",
    "b0": b"",
    "ä ö/ü+%#?.txt": "ß".encode(),
    "名": b"6",
    "large": random.Random(1).randbytes(1_900_000),
}


def test_there_and_back_and_only_what_differs(server, tmp_path):
    here = make(tmp_path / "here", TREE)
    url = f"{server.url}/some/where"
    assert sfss("sync", here, url)[0].startswith(f"sent {len(TREE)}, deleted 0, the same 0, failed 0; 1.9 MB")
    assert files_at(server, tmp_path, "some/where") == TREE
    assert sfss("sync", here, url)[0].startswith(f"sent 0, deleted 0, the same {len(TREE)}, failed 0")
    (here / "b/c").write_bytes(b"x")  # of the same size
    (here / "b0").write_bytes(b"longer")
    (here / "new").write_bytes(b"new")
    (here / "a").unlink()
    out, _ = sfss("sync", here, url, "--delete", "--dry-run")
    assert set(out.splitlines()[:-1]) == {"send b/c", "send b0", "send new", "delete a"}
    assert out.splitlines()[-1].startswith(f"to send 3, to delete 1, the same {len(TREE) - 3}, failed 0")
    assert files_at(server, tmp_path, "some/where") == TREE
    assert sfss("sync", here, url)[0].startswith("sent 3, deleted 0,")
    assert sfss("sync", here, url, "--delete")[0].startswith("sent 0, deleted 1,")
    assert files_at(server, tmp_path, "some/where") == files_in(here)

    back = make(tmp_path / "back", {"old": b"", "b/old/er": b"", "b0": b"other"})
    out, _ = sfss("sync", ":some/where/", back, "--delete", SFSS_URL=server.url)
    assert out.startswith(f"sent {len(TREE)}, deleted 2, the same 0, failed 0")
    assert files_in(back) == files_in(here) and not (back / "b/old").exists()
    (back / "b/.sfss-0123456789abcdef").write_bytes(b"of a kill")  # is no file of anybody
    assert sfss("sync", back, url, "--delete")[0].startswith("sent 0, deleted 0,")
    sfss("get", "-r", "--url", server.url, "some/where/b", "-o", tmp_path / "part")
    assert files_in(tmp_path / "part/some/where") == {
        path: content for path, content in files_in(here).items() if path.startswith("b/")
    }


def test_a_mirror_between_servers_of_different_kinds(tmp_path):
    here = make(tmp_path / "here", TREE)
    servers = [start(kind, tmp_path / kind) for kind in KINDS]
    urls = [f"{server.url}/{place}" for server, place in zip(servers, "xyz")]
    sfss("sync", here, urls[0])
    for source, target in zip(urls, [*urls[1:], f"{servers[0].url}/again"]):
        assert sfss("mirror", source, target)[0].startswith(f"sent {len(TREE)},")
        assert sfss("mirror", source, target, "--delete")[0].startswith(
            f"sent 0, deleted 0, the same {len(TREE)},"
        )
    assert files_at(servers[0], tmp_path, "again") == TREE
    assert "A mirror is of one server" in sfss("mirror", here, urls[0], status=1)[1]
    for server in servers:
        server.stop()


def test_beansdb_nodes_which_have_no_order(nodes, tmp_path):
    here = make(tmp_path / "here", TREE)
    server = Sfss(*nodes.flags())
    url = f"{server.url}/w"
    assert sfss("sync", here, url)[0].startswith(f"sent {len(TREE)},")
    (here / "a").unlink()
    (here / "b/c").write_bytes(b"x")
    out, _ = sfss("sync", here, url, "--delete")
    assert out.startswith(f"sent 1, deleted 1, the same {len(TREE) - 2},")
    sfss("sync", url, tmp_path / "back")
    assert files_in(tmp_path / "back") == files_in(here)
    assert sfss("sync", url, tmp_path / "back", "--delete")[0].startswith("sent 0, deleted 0,")
    server.stop()


def test_nothing_is_deleted_for_what_a_node_may_not_have_yet(tmp_path):
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    flags = ["--names", "exact", "--node"]
    first = SfssNode(tmp_path / "1", *flags, urls[1], port=ports[0])
    sfss("sync", make(tmp_path / "here", TREE), first.url)
    there = make(tmp_path / "there", {"more": b"1"})
    out, errors = sfss("sync", first.url, there, "--delete", status=1)
    assert urls[1] in errors and "not been compared" in errors and (there / "more").exists()
    sfss("sync", first.url, there)  # without it, all the same
    second = SfssNode(tmp_path / "2", *flags, urls[0], port=ports[1])
    deadline = time.monotonic() + 20
    while main(["sync", first.url, str(there), "--delete"]) != 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert files_in(there) == TREE
    first.stop()
    second.stop()


def test_a_node_that_gives_names_itself_and_a_store_that_cannot_list(memcached, tmp_path):
    here = make(tmp_path / "here", {"a": b"1"})
    node = SfssNode(tmp_path / "node")
    assert "a name of its own" in sfss("sync", here, node.url, status=1)[1]
    server = Sfss("--proxy", f"127.0.0.1:{memcached}")
    for command in (("sync", here, server.url), ("sync", server.url, here), ("ls", "--url", server.url)):
        assert "cannot say which files it has" in sfss(*command, status=1)[1]
    node.stop()
    server.stop()


def test_a_bucket_of_s3(tmp_path):
    """Its own server stands for S3: MD5s are what both sides know."""
    service = SfssObjects(tmp_path / "objects", "--max-file-size", 500_000)
    server = Sfss("--data", tmp_path / "files")
    aws = {
        "AWS_ACCESS_KEY_ID": "main:admin",
        "AWS_SECRET_ACCESS_KEY": service.key,
        "AWS_ENDPOINT_URL": service.url,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    here = make(tmp_path / "here", TREE)
    assert "no container 'bucket'" in sfss("sync", here, "s3://bucket/x", status=1, **aws)[1]
    swift = Swift(service)
    swift.ask("PUT", "bucket")
    for source, target in (
        (here, "s3://bucket/x"),
        ("s3://bucket/x", tmp_path / "back"),
        ("s3://bucket/x", f"{server.url}/y"),
        (f"{server.url}/y", "s3://bucket/z/"),
        ("s3://bucket/z", "s3://bucket/w"),
    ):
        assert sfss("sync", source, target, **aws)[0].startswith(
            f"sent {len(TREE)}, deleted 0, the same 0, failed 0"
        )
        assert sfss("sync", source, target, "--delete", **aws)[0].startswith(
            f"sent 0, deleted 0, the same {len(TREE)},"
        )
    assert files_in(tmp_path / "back") == TREE == files_at(server, tmp_path, "y")
    assert swift.ask("HEAD", "bucket/w/b.txt").headers["content-type"] == "text/plain"
    # One that is put in parts has no MD5; a folder that a console has made is none; some keys are no paths.
    parts = json.dumps([{"path": "bucket/w/b.txt"}] * 2).encode()
    assert swift.ask("PUT", "bucket/x/a", parts, query="multipart-manifest=put").status == 201
    swift.ask("PUT", "bucket/x/made/")
    swift.ask("PUT", "bucket/x/a//b", b"x")
    (here / "b/c").write_bytes(b"changed")
    out, errors = sfss("sync", "s3://bucket/x", here, "--delete", status=1, **aws)
    assert (
        out.startswith(f"sent 2, deleted 0, the same {len(TREE) - 2}, failed 1")
        and "cannot be the path" in errors
    )
    assert (here / "a").read_bytes() == swift.ask("GET", "bucket/x/a").body
    (here / "b/c").unlink()
    out, _ = sfss("sync", here, "s3://bucket/x", "--delete", status=1, **aws)
    assert out.startswith("sent 0, deleted 1,")
    assert swift.ask("GET", "bucket/x/b/c").status == 404 and swift.ask("GET", "bucket/x/a//b").status == 200
    wrong = {**aws, "AWS_SECRET_ACCESS_KEY": "wrong"}
    assert "signature" in sfss("sync", here, "s3://bucket/x", status=1, **wrong)[1]
    assert "s3://BUCKET/FOLDER" in sfss("sync", here, "s3://", status=1, **aws)[1]
    service.stop()
    assert sfss("sync", here, "s3://bucket/x", status=1, **aws)[1].count("\n") == 1
    server.stop()


paths = st.lists(st.sampled_from(["a", "b", "a-", "a.", "é", "0"]), min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=3), min_size=1, max_size=8).filter(
    lambda tree: (
        not any(
            f"{one}/" in f"{other}/" and one != other and other.startswith(f"{one}/")
            for one in tree
            for other in tree
        )
    )
)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    server = Sfss("--data", tmp_path_factory.mktemp("data"), "--no-access-log")
    yield server
    server.stop()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(trees, min_size=1, max_size=3))
def test_random_trees(embedded, tmp_path_factory, steps):
    """Each is synced over what the one before has left, there and back."""
    name = f"{time.monotonic_ns()}/"

    async def run() -> None:
        complaints: list[str] = []

        def complain(path: str, reason: str) -> None:
            complaints.append(f"{path}: {reason}")

        back = tmp_path_factory.mktemp("back")
        async with Client(embedded.url) as client:
            for tree in steps:
                complaints.clear()
                here = make(tmp_path_factory.mktemp("here"), tree)
                there = Server(client, name, complain)
                up = Sync(Folder(here, complain), there, delete=True, parallel=2, complain=complain)
                await up.run()
                down = Sync(
                    Server(client, name, complain),
                    Folder(back, complain),
                    delete=True,
                    parallel=2,
                    complain=complain,
                )
                await down.run()
                assert files_in(back) == tree or any("irectory" in each for each in complaints)
                if not complaints:
                    assert up.tally.sent + up.tally.same == len(tree)

    asyncio.run(run())


def test_a_server_that_is_away_for_a_while_costs_waiting(tmp_path):
    files = {f"{n % 7}/{n}": b"%d" % n * 500 for n in range(4000)}
    here = make(tmp_path / "here", files)
    port = free_port()
    server = Sfss("--port", port, "--data", tmp_path / "data")
    command = [sys.executable, "-m", "sfss", "sync", here, f"{server.url}/x", "--parallel", "1"]
    running = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    server.wait_for_line("POST target=/archive")
    for pid in server.family():
        os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    server = Sfss("--port", port, "--data", tmp_path / "data")
    out, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (0, b"") and out.startswith(b"sent 4000, "), (out, errors)
    assert files_at(server, tmp_path, "x") == files
    server.stop()


def test_a_server_that_stays_away_ends_it_with_one_line(tmp_path):
    files = {f"{n}": bytes(1000) + b"%d" % n for n in range(3000)}
    here = make(tmp_path / "here", files)
    server = Sfss("--data", tmp_path / "data")
    command = [sys.executable, "-m", "sfss", "sync", here, server.url, "--parallel", "2", "--retry-for", "1"]
    running = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    server.wait_for_line("POST target=/archive")
    server.kill()
    out, errors = running.communicate(timeout=60)
    assert running.returncode == 1 and errors.count(b"\n") == 1 and b"it goes on" in errors, errors
    server = Sfss("--data", tmp_path / "data")
    out = sfss("sync", here, server.url)[0]
    assert "failed 0" in out and not out.startswith("sent 3000,")  # what was sent already was not sent again
    assert sfss("sync", here, server.url)[0].startswith("sent 0, deleted 0, the same 3000,")
    nobody = f"http://127.0.0.1:{free_port()}"
    assert (
        sfss("sync", here, nobody, status=1)[1].count("\n") == 1
    )  # at once: perhaps it is the wrong address
    server.stop()


def test_a_download_that_is_killed_leaves_whole_files_only(tmp_path):
    files = {f"{n}": bytes([n % 256]) * 100_000 for n in range(300)}
    server = Sfss("--data", tmp_path / "data", "--no-access-log")
    sfss("sync", make(tmp_path / "here", files), server.url)
    back = tmp_path / "back"
    for _ in range(3):
        command = [sys.executable, "-m", "sfss", "sync", server.url, str(back)]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        before = len(list(back.glob("*")))
        while running.poll() is None and len(list(back.glob("[0-9]*"))) <= before + 5:
            time.sleep(0.01)
        running.kill()
        running.wait()
        found = files_in(back)
        assert all(files[path] == content for path, content in found.items() if not path.startswith(".sfss-"))
    sfss("sync", server.url, back)
    assert {path: c for path, c in files_in(back).items() if not path.startswith(".sfss-")} == files
    server.stop()


def test_failures_are_said_once_each_and_nothing_is_deleted_for_them(tmp_path):
    server = Sfss("--data", tmp_path / "data", "--max-file-size", 1000)
    here = make(tmp_path / "here", {"ok": b"1", "big": bytes(1001), "shut/in": b"2", "b\\s": b"3"})
    sfss("put", "--url", server.url, here / "ok", "--to", "x/shut")
    (here / "link").symlink_to(tmp_path)
    (here / os.fsdecode(b"\xff")).write_bytes(b"")
    (here / "shut").chmod(0)
    out, errors = sfss("sync", here, f"{server.url}/x", "--delete", status=1, begin=WITHOUT_PRIVILEGES)
    assert out.startswith("sent 1, deleted 0, the same 0, failed 6;")
    lines = errors.splitlines()
    assert len(lines) == 6 and [
        line for line in lines if line.startswith("sfss: big: A file may have at most 1000")
    ]
    assert [line for line in lines if line == "sfss: shut/: Permission denied"]
    assert [
        line for line in lines if line.startswith("sfss: shut/ok: was not deleted: not all of the source")
    ]
    (here / "shut").chmod(0o755)
    server.stop()


def test_a_full_server_ends_it_with_one_line_and_it_goes_on_when_there_is_room(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if not can_mount(folder):
        cannot("this machine does not let us mount a small disk")
    disk = SmallDisk(folder, 30)

    class Server(Sfss):
        command = (*disk.inside, *Sfss.command)

    files = {f"{n:02}": random.Random(n).randbytes(600_000) for n in range(20)}
    here = make(tmp_path / "here", files)
    (disk.outside / "filling").write_bytes(bytes(22_000_000))
    server = Server("--data", folder / "data")
    out, errors = sfss("sync", here, server.url, status=1)
    assert errors.startswith("sfss: The disk is full; ") and errors.count("\n") == 1, errors
    assert 0 < int(out.split()[1].rstrip(",")) < 20 and "failed 0" in out
    disk.make_room()
    assert "failed 0" in sfss("sync", here, server.url)[0]
    assert sfss("sync", server.url, tmp_path / "back")[0].startswith("sent 20,")
    assert files_in(tmp_path / "back") == files
    server.stop()
    disk.remove()


def test_a_damaged_file_does_not_keep_the_others_from_coming(tmp_path):
    server = Sfss("--data", tmp_path / "data")
    sfss("sync", make(tmp_path / "here", TREE), server.url)
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "files.sqlite3", timeout=10)) as database:
        database.execute("UPDATE files SET content = 'x' WHERE path = 'b/c'")
        database.commit()
    out, errors = sfss("sync", server.url, tmp_path / "back", "--retry-for", "0.3", status=1)
    assert out.startswith(f"sent {len(TREE) - 1}, deleted 0, the same 0, failed 1;")
    assert errors.startswith("sfss: b/c: ") and "damaged" in errors and errors.count("\n") == 1
    assert files_in(tmp_path / "back") == {path: content for path, content in TREE.items() if path != "b/c"}
    server.stop()


class Shown:
    """A place that has *files*, in no order; nobody can say anything about *unknown*."""

    digests_known = ("etag",)
    is_partly_hidden = False

    def __init__(self, files: dict[str, bytes], unknown=(), is_ordered=False):
        self.files, self._unknown, self.is_ordered = dict(files), set(unknown), is_ordered

    async def pages(self):
        yield []
        for path, content in list(self.files.items()):
            yield [Item(path, len(content))]

    async def find(self, paths):
        there = {path: Item(path, len(self.files[path])) for path in paths if path in self.files}
        return there | dict.fromkeys(self._unknown & set(paths))

    async def digests(self, items, kind):
        return {item.path: etag_of(self.files[item.path]) for item in items if item.path not in self._unknown}

    async def read(self, items):
        return {item.path: self.files[item.path] for item in items if item.path not in self._unknown}

    async def write(self, files):
        self.files |= files
        return {}

    async def delete(self, paths):
        for path in paths:
            del self.files[path]
        return {}

    async def finish(self):
        pass


async def test_of_what_nobody_can_say_nothing_is_deleted_and_nothing_is_the_same():
    complaints = []
    source = Shown({"a": b"1", "b": b"2", "c": b"3"}, unknown=["b", "d"])
    target = Shown({"a": b"1", "b": b"2", "c": b"x", "d": b"4", "e": b"5"})
    sync = Sync(source, target, delete=True, parallel=1, complain=lambda *what: complaints.append(what))
    await sync.run()
    assert target.files == {"a": b"1", "b": b"2", "c": b"3", "d": b"4"}
    assert (sync.tally.sent, sync.tally.same, sync.tally.deleted) == (1, 1, 1)
    # What is listed and does not come, though it is there, is a failure.
    target = Shown({})
    await Sync(source, target, delete=False, parallel=1, complain=lambda *what: complaints.append(what)).run()
    assert target.files == {"a": b"1", "c": b"3"}
    source = Shown({"a": b"1", "b": b"2"})
    source.read = source.digests = lambda *_: asyncio.sleep(0, {})
    await Sync(
        source, Shown({}), delete=False, parallel=1, complain=lambda *what: complaints.append(what)
    ).run()
    assert complaints == [("a", "could not be read"), ("b", "could not be read")]


async def test_a_server_that_does_not_list_what_it_says():
    def listing(*pages: Page) -> Server:
        left = list(pages)

        async def list_page(prefix, *, delimiter="", after=""):
            return left.pop(0) if len(left) > 1 else left[0]

        client = Client()
        client.list_page = list_page
        return Server(client, "p/", lambda *_: complaints.append(_))

    complaints: list = []
    for wrong in (
        [Page([Listed("p/a"), Listed("p/c"), Listed("p/b")], [], None, True)],
        [Page([Listed("p/b")], [], "x", True), Page([Listed("p/a")], [], None, True)],
        [Page([Listed("q/a")], [], None, False)],
    ):
        with pytest.raises(UnexpectedAnswer):
            async for _ in listing(*wrong).pages():
                continue
    server = listing(Page([Listed("p/../../etc/passwd"), Listed("p/a\0"), Listed("p/a")], [], None, False))
    assert [item.path async for page in server.pages() for item in page] == ["a"]
    assert len(complaints) == 2 and server.is_partly_hidden


def test_nothing_is_not_taken_for_an_order_to_delete_all(tmp_path):
    server = Sfss("--data", tmp_path / "data", "--no-access-log")
    here = make(tmp_path / "here", TREE)
    url = f"{server.url}/x"
    sfss("sync", here, url)
    (tmp_path / "empty").mkdir()
    for source, target in ((tmp_path / "empty", url), (f"{server.url}/nosuch", here)):
        assert "nothing in the source" in sfss("sync", source, target, "--delete", status=1)[1]
    assert files_at(server, tmp_path, "x") == files_in(here) == TREE
    for command in (("get", "-r", "nosuch", "-o", tmp_path / "out"), ("sync", ":nosuch", tmp_path / "out")):
        assert "no files in nosuch/" in sfss(*command, "--url", server.url, status=1)[1]
    hint = sfss("sync", f"{server.url}/file/x", tmp_path / "out", status=1)[1]
    assert "no files in file/x/" in hint and "without /file" in hint
    assert sfss("sync", f"{server.url}/", tmp_path / "all")[0].startswith(f"sent {len(TREE)},")
    sfss("put", next(f for f in here.rglob("*") if f.is_file()), "--to", "y", "--url", server.url)
    out, errors = sfss("rm", "-r", "y", "nosuch", "--yes", "--url", server.url, status=1)
    assert out.startswith("deleted 1, failed 1;") and "nosuch/: there are no files" in errors
    # A variable that is not set is no folder.
    for command in (
        ("sync", "", ":x"),
        ("sync", ":x", "", "--delete"),
        ("put", "-r", ""),
        ("get", "-r", "x", "-o", ""),
    ):
        assert "Name " in sfss(*command, "--url", server.url, status=1)[1]
    assert files_in(here) == TREE
    assert "/ is all of them" in sfss("rm", "-r", "", "--yes", "--url", server.url, status=1)[1]
    assert len(files_at(server, tmp_path, "x")) == len(TREE)
    server.stop()


def test_names_that_look_odd_and_links_on_the_way(tmp_path):
    server = Sfss("--data", tmp_path / "data", "--no-access-log")
    here = make(tmp_path / "here", {".sfss-settings": b"mine", "a/.hidden": b"1", "t/x": b"x"})
    assert sfss("sync", here, server.url, "--delete")[0].startswith("sent 3,")
    assert sfss("sync", here, server.url, "--delete")[0].startswith("sent 0, deleted 0, the same 3,")
    back, outside = tmp_path / "back", make(tmp_path / "outside", {"y": b"theirs"})
    back.mkdir()
    (back / "t").symlink_to(outside)
    out, errors = sfss("sync", server.url, back, status=1)
    assert out.startswith("sent 2, deleted 0, the same 0, failed 1;") and "t/x: " in errors
    assert files_in(outside) == {"y": b"theirs"}
    server.stop()


def test_what_is_no_file_in_a_target_is_not_of_those_that_are_copied(tmp_path):
    server = Sfss("--data", tmp_path / "data", "--no-access-log")
    here, back = make(tmp_path / "here", {"a": b"1"}), make(tmp_path / "back", {"b": b"2"})
    sfss("sync", here, server.url)
    os.mkfifo(back / "pipe")
    (back / "link").symlink_to(tmp_path)
    for run in ("sent 1, deleted 0, the same 0, failed 0", "sent 0, deleted 0, the same 1, failed 0"):
        assert sfss("sync", server.url, back)[0].startswith(run)
    assert sfss("get", "-r", "/", "-o", back, "--url", server.url)[0].startswith("fetched 0,")
    assert "pipe: " in sfss("sync", back, server.url, status=1)[1]  # there it is one that is not copied
    server.stop()


def test_a_folder_is_not_copied_into_itself(tmp_path):
    server = Sfss("--data", tmp_path / "data", "--no-access-log")
    here = make(tmp_path / "here", {"a": b"1", "in/b": b"2"})
    sfss("sync", here, f"{server.url}/x")
    for source, target in (
        (":x", ":x/sub"),
        (":x", f"{server.url}/x/sub/"),
        (":", ":x"),
        (here, here / "in"),
        ("s3://b/x", "s3://b/x/y"),
    ):
        errors = sfss("sync", source, target, "--url", server.url, status=1)[1]
        assert "each time there would be more" in errors and "begin again" not in errors
    assert sfss("sync", ":x", ":xy", "--url", server.url)[0].startswith("sent 2,")
    assert sfss("sync", ":x/in", ":x", "--url", server.url)[0].startswith("sent 1,")
    assert sfss("sync", here, here.with_name("hereafter"))[0].startswith("sent 2,")
    server.stop()


def test_who_is_no_sfss_is_not_taken_for_one(tmp_path):
    port = free_port()
    other = Program([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "-d", tmp_path, port])
    other.wait_for_port(port)
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "file").write_bytes(b"x")
    for words in (("ls",), ("put", tmp_path / "file"), ("rm", "x")):
        errors = sfss(*words, "--url", url, status=1)[1]
        assert url in errors and "is this its URL?" in errors
    other.kill()


def test_more_than_a_page_on_both_sides(tmp_path):
    server = Sfss("--data", tmp_path / "data", "--no-access-log")
    files = {f"{n % 3}/{n:04}": b"%d" % n for n in range(3500)}
    here = make(tmp_path / "here", files)
    assert sfss("sync", here, server.url)[0].startswith("sent 3500,")
    for n in (0, 999, 1000, 1001, 2500, 3499):
        (here / f"{n % 3}/{n:04}").unlink()
        make(here, {f"{n % 3}/{n:04}+": b"other"})
    make(here, {"1/1234": b"4321"})
    assert sfss("sync", here, server.url, "--delete")[0].startswith(
        "sent 7, deleted 6, the same 3493, failed 0"
    )
    assert sfss("sync", server.url, tmp_path / "back")[0].startswith("sent 3500,")
    assert files_in(tmp_path / "back") == files_in(here)
    server.stop()


def test_tokens_of_two_servers(tmp_path):
    one = Sfss("--data", tmp_path / "1", "--read-token", "r", "--write-token", "w")
    two = Sfss("--data", tmp_path / "2", "--write-token", "other", "--read-token", "third")
    here = make(tmp_path / "here", {"a": b"1"})
    sfss("sync", here, one.url, SFSS_TOKEN="w")
    assert "token" in sfss("mirror", one.url, two.url, status=1, SFSS_TOKEN="other")[1]
    assert sfss("mirror", one.url, two.url, SFSS_TOKEN="other", SFSS_SOURCE_TOKEN="r")[0].startswith(
        "sent 1,"
    )
    one.stop()
    two.stop()


def test_many_are_deleted_when_somebody_says_so(server, tmp_path):
    sfss("sync", make(tmp_path / "here", TREE), f"{server.url}/x")
    command = ("rm", "-r", "--url", server.url, "x/b")
    assert "say --yes" in sfss(*command, status=1)[1]
    for said, status, left in ((b"n\n", 1, 9), (b"y\n", 0, 7)):
        controller, terminal = pty.openpty()
        running = subprocess.Popen(
            [sys.executable, "-m", "sfss", *command],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.write(controller, said)
        _, errors = running.communicate(timeout=30)
        assert running.returncode == status and b"Delete all files in x/b/?" in errors
        os.close(controller)
        os.close(terminal)
        assert len(files_at(server, tmp_path, "x")) == left
    # Ctrl-C, in place of an answer.
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "sfss", *command], stdin=terminal, stderr=subprocess.PIPE
    ) as running:
        try:
            assert b"[y/N]" in os.read(running.stderr.fileno(), 1000)
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=30) == 130 and b"Traceback" not in running.stderr.read()
        finally:
            running.kill()
    os.close(controller)
    os.close(terminal)
    assert len(files_at(server, tmp_path, "x")) == 7
    assert sfss("rm", "-r", "--url", server.url, "x", "--yes")[0].startswith("deleted 7, failed 0")
    assert files_at(server, tmp_path, "x") == {}


def test_what_is_there(server, tmp_path):
    sfss("sync", make(tmp_path / "here", {"a/b.txt": b"123", "a/c/d": b"4", "a.txt": b"x"}), server.url)

    def said(*arguments: str, status: int = 0) -> str:
        return sfss(*arguments, "--url", server.url, status=status)[0 if status == 0 else 1]

    assert said("ls") == said("ls", "/") == "a/\na.txt\n"
    assert said("ls", "a") == said("ls", "a/") == "a/c/\na/b.txt\n"
    assert said("ls", "-r") == "a.txt\na/b.txt\na/c/d\n"
    assert said("ls", "a.txt") == "a.txt\n"
    assert "           3  " in said("ls", "-l", "a") and '"size": 3' in said("ls", "-r", "--json")
    assert "no file and no folder" in said("ls", "missing", status=1)
    assert said("cat", "a/b.txt", "a/c/d") == "1234"
    assert "size: 3" in said("stat", "a/b.txt") and '"type": "text/plain; charset=utf-8"' in said(
        "stat", "--json", "a/b.txt"
    )
    assert "no file 'missing'" in said("stat", "a.txt", "missing", status=1)
    assert said("du") == said("du", "/")
    lines = [line.split() for line in said("du").splitlines()]
    assert lines == [["4", "2", "a/"], ["5", "3", "."]]
    assert "no files" in said("du", "nothing", status=1)


def test_names_are_no_commands_for_a_terminal():
    assert printable("naïve/ü 日本.txt: gone") == "naïve/ü 日本.txt: gone"
    assert printable("a\nsfss: b\x1b[2J\u202e") == "a\\nsfss: b\\x1b[2J\\u202e"


def test_pauses():
    retries = Retries(3, None)
    first, _, third, none = [retries.next_pause() for _ in range(4)]
    assert 0.05 <= first <= 0.15 and 0.2 <= third <= 0.6 and none is None
    retries = Retries(0, 60.0)
    assert retries.next_pause({"Retry-After": "7"}) == 7.0
    assert retries.next_pause({"Retry-After": "a while"}) < 1.0
    assert Retries(0, 3.0).next_pause({"Retry-After": "3600"}) <= 3.0  # but not longer than is said
    assert Retries(0, 0.0).next_pause() is None
