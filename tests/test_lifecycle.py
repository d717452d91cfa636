"""Start, stop, kill -9, a full disk, slow clients: the real server as a process."""

import contextlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sfss.disk.shared_database import SharedDatabase
from sfss.errors import StoreUnusable
from sfss.stores.sqlite import SCHEMA
from tests.conftest import cannot
from tests.http import RawClient, ask, request
from tests.programs import ROOT, Program, Sfss, can_mount, start_on_a_small_disk


def put(path: str, content: bytes) -> bytes:
    return request("PUT", f"/file?path={path}", content)


def get(path: str) -> bytes:
    return request("GET", f"/file?path={path}")


def test_one_line_says_where_what_and_where_the_data_is(tmp_path):
    server = Sfss("--data", tmp_path / "here")
    line = server.wait_for_line("listening.*")[0]
    assert f"url=http://127.0.0.1:{server.port}" in line
    assert f'store="sqlite {tmp_path}/here/files.sqlite3"' in line
    assert server.stop() == 0
    assert [word for word in ("stopping", "stopped") if word in line] == []


@pytest.mark.parametrize(
    "flags, code, complaint",
    [
        (["--port", "70000"], 2, "command line: port is 70000"),
        (["--proxy", "nowhere"], 2, "'nowhere' is not an address"),
        (["--config", "/nowhere.toml"], 2, "/nowhere.toml: cannot be read"),
        (["--data", "/proc/sfss"], 1, "Cannot make the folder /proc/sfss"),
        (["--nonsense"], 2, "there is no flag --nonsense"),
        (["--port", "0", "put", "file"], 2, "--port: that is for the server"),
        (["--config", "file", "status"], 2, "--config: that is for the server"),
        (["--host", "a..b"], 1, "Cannot listen on a..b:8255"),
    ],
)
def test_what_keeps_it_from_starting_is_said(flags, code, complaint):
    command = [sys.executable, "-m", "sfss", *flags]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert ended.returncode == code
    assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "sfss", "--data", tmp_path, "--port", str(port)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 1
    assert "Cannot listen" in ended.stderr and "in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_store_that_cannot_be_written_is_said():
    with tempfile.TemporaryDirectory(prefix="sfss-test-") as folder:
        os.chmod(folder, 0o777)
        file = Path(folder, "files.sqlite3")
        SharedDatabase(file, SCHEMA, 10.0, 2**20).prepare()
        file.chmod(0o444)
        # In a process of its own, as a user who is not root: to root nothing is forbidden.
        context = multiprocessing.get_context("fork")
        said = context.SimpleQueue()
        process = context.Process(target=_create_as_nobody, args=(file, said))
        process.start()
        process.join()
        assert said.get() == f"{file} cannot be written by this user."


def _create_as_nobody(file: Path, said) -> None:
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        SharedDatabase(file, SCHEMA, 10.0, 2**20).prepare()
    except StoreUnusable as error:
        said.put(str(error))
    else:
        said.put("nothing")


# A stop.


def test_sigterm_cuts_nothing_off(tmp_path):
    server = Sfss("--data", tmp_path)
    content = random.Random(1).randbytes(200_000)
    body = put("slow", content)
    with RawClient(server.port) as slow, RawClient(server.port) as idle:
        assert idle.ask(put("idle", b"x")).status == 200
        slow.send(body[:100_000])
        time.sleep(0.2)
        server.send(signal.SIGTERM)
        server.wait_for_line("stopping")
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            RawClient(server.port)
        assert idle.closed_by_server()
        slow.send(body[100_000:])
        answer = slow.answer()
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert slow.closed_by_server()
    assert server.stop() == 0  # (which does not wait for as long as the drain may take)
    server = Sfss("--data", tmp_path)
    assert ask(server.port, get("slow")).body == content
    server.stop()


def test_sigterm_under_load_fails_no_request(tmp_path):
    """Not one: each connection is told that it is the last answer; then a new one is refused."""
    server = Sfss("--data", tmp_path, "--no-access-log")
    answered, ended = [], []

    def load(n: int) -> None:
        with RawClient(server.port) as client:
            for count in range(1_000_000):
                answer = client.ask(put(f"load/{n}/{count}", b"x" * 1000))
                assert answer.status == 200
                answered.append(f"load/{n}/{count}")
                if "connection" not in answer.headers:
                    answer = client.ask(get(f"load/{n}/{count}"))
                    assert answer.body == b"x" * 1000
                if "connection" in answer.headers:
                    ended.append(answer.headers["connection"])
                    return

    with ThreadPoolExecutor(16) as pool:
        loads = [pool.submit(load, n) for n in range(16)]
        time.sleep(1)
        assert server.stop() == 0
        for outcome in loads:
            outcome.result()
    assert ended == ["close"] * 16
    server = Sfss("--data", tmp_path, "--no-access-log")
    with RawClient(server.port) as client:
        for path in answered:
            assert client.ask(get(path)).status == 200
    server.stop()


def test_sigterm_cuts_no_download_off(tmp_path):
    """Of an answer that is handed to the transport, but that the client has not taken yet."""
    server = Sfss("--data", tmp_path, "--max-file-size", 30_000_000)
    content = random.Random(1).randbytes(25_000_000)
    assert ask(server.port, put("large", content)).status == 200
    with RawClient(server.port) as slow:
        slow.send(get("large"))
        time.sleep(0.3)
        server.send(signal.SIGTERM)
        time.sleep(2)
        assert slow.answer().body == content
    assert server.stop() == 0


def test_clients_that_do_not_read_are_cut_off_and_cost_little(tmp_path):
    server = Sfss("--data", tmp_path, "--send-timeout", 2, "--keepalive-timeout", 1)
    assert ask(server.port, put("large", random.Random(1).randbytes(2_000_000))).status == 200
    before = server.resident_mb()
    clients = []
    for n in range(50):
        client = RawClient(server.port)
        client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(get("large") * 2 if n % 2 else get("large"))
        time.sleep(0.005)
        client.send(get("large") * 3)
        clients.append(client)
    time.sleep(1)
    assert server.resident_mb() - before < 50 * 4.5
    deadline = time.monotonic() + 15
    while open_sockets(server.workers[0]) > 20 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert open_sockets(server.workers[0]) <= 20
    for client in clients:
        client.close()
    server.stop()


def test_a_steady_reader_is_not_cut_off_for_what_it_once_left(tmp_path):
    """It leaves a little unread until the keep-alive check looks, and then reads without a pause."""
    server = Sfss(
        *("--data", tmp_path, "--max-file-size", 30_000_000),
        *("--send-timeout", 2, "--keepalive-timeout", 1),
    )
    content = random.Random(1).randbytes(25_000_000)
    assert ask(server.port, put("large", content)).status == 200
    assert ask(server.port, put("some", content[:4_300_000])).status == 200
    with RawClient(server.port) as client:
        client.send(get("some"))
        time.sleep(1.5)  # what the kernel does not take stays in the server's buffer
        assert client.answer().status == 200
        client.send(get("large"))
        received = 0
        client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:  # slowly, but without a pause
            received += len(client._socket.recv(20_000))
            time.sleep(0.01)
        while received < len(content):
            data = client._socket.recv(1 << 18)
            assert data, f"cut off after {received} bytes"
            received += len(data)
    server.stop()


def test_a_half_closed_client_is_let_go_after_its_answer(tmp_path):
    server = Sfss("--data", tmp_path, "--max-file-size", 30_000_000)
    content = random.Random(1).randbytes(25_000_000)
    assert ask(server.port, put("large", content)).status == 200
    for asked in (
        request("GET", "/file?path=large", headers={"Range": "bytes=0-"}),
        get("large"),
        get("large") + b"GET /file?pa",
    ):
        with RawClient(server.port) as client:
            client.send(asked)
            time.sleep(0.3)
            client.says_no_more()
            assert client.answer().body == content
            assert client.closed_by_server()  # (long before it would be, for being idle)
    server.stop()


def open_sockets(pid: int) -> int:
    links = (os.path.join(f"/proc/{pid}/fd", name) for name in os.listdir(f"/proc/{pid}/fd"))
    count = 0
    for link in links:
        with contextlib.suppress(FileNotFoundError):  # it was closed just now
            count += os.readlink(link).startswith("socket:")
    return count


def test_a_request_that_never_ends_does_not_keep_it_from_stopping(tmp_path):
    server = Sfss("--data", tmp_path, "--drain-timeout", 1)
    with RawClient(server.port) as client:
        client.send(put("never", b"x" * 1000)[:-10])
        time.sleep(0.2)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started > 0.9


# A kill.


def kill_under_load(folder, seconds: float, acknowledged: dict[str, bytes], run: int) -> None:
    """Load a server, kill -9 it; every acknowledged write goes into *acknowledged*."""
    server = Sfss("--data", folder, "--no-access-log")

    def load(n: int) -> None:
        generator = random.Random(run * 100 + n)
        try:
            with RawClient(server.port) as client:
                while True:
                    # Some are new, some replace; of sizes from one page to many.
                    path = f"{n}/{generator.randrange(50)}"
                    content = generator.randbytes(generator.choice([10, 3000, 60_000, 500_000]))
                    under_way[n] = (path, content)
                    assert client.ask(put(path, content)).status == 200
                    acknowledged[path] = content
                    del under_way[n]
        except (EOFError, OSError):
            return  # killed

    under_way: dict[int, tuple[str, bytes]] = {}
    with ThreadPoolExecutor(16) as pool:
        for n in range(16):
            pool.submit(load, n)
        time.sleep(seconds)
        server.kill()

    server = Sfss("--data", folder, "--no-access-log")
    maybe = dict(under_way.values())
    with RawClient(server.port) as client:
        for path in acknowledged.keys() | maybe.keys():
            answer = client.ask(get(path))
            allowed = [acknowledged.get(path), maybe.get(path)]
            found = answer.body if answer.status == 200 else None
            assert answer.status in (200, 404)
            assert found in allowed, f"{path}: {len(answer.body)} bytes, status {answer.status}"
            assert found is not None or path not in acknowledged, f"{path} is lost"
            if found is not None:
                acknowledged[path] = found  # this one counts from now on
    server.kill()  # and that kill finds it idle


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    acknowledged: dict[str, bytes] = {}
    for run in range(12):
        kill_under_load(tmp_path, random.uniform(0.05, 0.5), acknowledged, run)
    assert len(acknowledged) > 100


def test_kill_9_while_it_starts(tmp_path):
    """Whatever is left of the first moments, the next start goes on with it."""
    for delay in [0.0, 0.05, *(0.1 + n * 0.01 for n in range(12))]:
        folder = tmp_path / f"{delay:.2f}"
        server = Program([sys.executable, "-m", "sfss", "--port", 0, "--data", folder])
        time.sleep(delay)
        server.kill()
        server = Sfss("--data", folder)
        assert ask(server.port, put("a", b"x")).status == 200
        server.kill()


# A full disk.


@pytest.fixture
def small_disk(tmp_path):
    """A server whose data is on a file system of 12 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not can_mount(folder):
        cannot("a mount namespace is needed: run as root, or allow user namespaces")
    server = start_on_a_small_disk(folder, 12, "--data", folder)
    yield server
    server.stop()


def test_a_full_disk_is_507_and_reads_go_on(small_disk):
    content = random.Random(1).randbytes(1_000_000)
    kept = []
    with RawClient(small_disk.port) as client:
        for n in range(40):
            answer = client.ask(put(f"f/{n}", content))
            assert answer.status in (200, 507), answer
            if answer.status == 200:
                kept.append(n)
            else:
                assert b"full" in answer.body
        assert 2 <= len(kept) < 20
        assert "store cannot write" in small_disk.printed()
        for n in range(40):
            answer = client.ask(get(f"f/{n}"))
            assert (answer.status, answer.body == content) == ((200, True) if n in kept else (404, False))
        assert ask(small_disk.port, request("GET", "/status")).status == 200
        # It can be emptied, and then takes files again.
        for n in kept:
            assert client.ask(request("DELETE", f"/file?path=f/{n}")).status == 204
        assert client.ask(put("f/new", content)).status == 200
        assert "store can write again" in small_disk.printed()


# Many clients at once.


def test_many_idle_and_slow_clients_are_no_trouble(tmp_path):
    """1,000 idle connections and 200 uploads of a byte a second; the slow ones get a 408."""
    server = Sfss("--data", tmp_path, "--upload-timeout", 3)
    idle, slow = [], []
    try:
        assert ask(server.port, put("a", b"x" * 10_000)).status == 200
        for _ in range(1000):
            client = RawClient(server.port)
            idle.append(client)
        for client in idle[::10]:
            assert client.ask(get("a")).status == 200
        for n in range(200):
            client = RawClient(server.port)
            client.send(put(f"slow/{n}", b"x" * 100)[:-90])
            slow.append(client)
        deadline = time.monotonic() + 2
        next_byte = 0.0
        served = 0
        with RawClient(server.port) as client:
            while time.monotonic() < deadline:
                assert client.ask(get("a")).status == 200
                assert client.ask(put("b", b"y")).status == 200
                served += 2
                if time.monotonic() >= next_byte:
                    next_byte = time.monotonic() + 0.5
                    for other in slow:
                        other.send(b"x")
        assert served > 100
        for client in slow:
            assert client.answer().status == 408
        for client in idle[:50]:
            assert client.ask(get("a")).status == 200
    finally:
        for client in [*idle, *slow]:
            client.close()
        server.stop()


@pytest.mark.parametrize("kind", ["embedded", "memcached"])
def test_memory_stays_bounded(request, tmp_path, kind):
    """64 uploads and 64 downloads of 2 MB at once stay under 400 MB, idle is under 80 MB."""
    if kind == "embedded":
        server = Sfss("--data", tmp_path, "--no-access-log")
    else:
        port = request.getfixturevalue("memcached")
        server = Sfss("--proxy", f"127.0.0.1:{port}", "--no-access-log")
    idle = server.resident_mb()
    content = random.Random(1).randbytes(2 * 1024 * 1024)
    for n in range(64):
        assert ask(server.port, put(f"big/{n}", content)).status == 200
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.003):
            peak = max(peak, server.resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        # All at once for certain: no upload is whole, and no download is read, before all are there.
        uploads = [RawClient(server.port, timeout=60) for _ in range(64)]
        downloads = [RawClient(server.port, timeout=60) for _ in range(64)]
        for n, client in enumerate(downloads):
            client.send(get(f"big/{n}"))
        for n, client in enumerate(uploads):
            client.send(put(f"new/{n}", content)[:-1])
        for client in uploads:
            client.send(content[-1:])
        with ThreadPoolExecutor(16) as pool:
            assert {answer.status for answer in pool.map(RawClient.answer, uploads)} == {200}
            assert all(pool.map(lambda client: client.answer().body == content, downloads))
        for client in [*uploads, *downloads]:
            client.close()
    done.set()
    watcher.join()
    server.stop()
    print(f"resident: idle {idle:.0f} MB, at the most {peak:.0f} MB")
    assert idle < 80, idle
    assert peak < 400, peak


def test_no_mix_ups(each_store):
    """Many clients read and write many files at once; no answer carries another file's bytes.

    (The first release of this service, on one shared connection, gave the wrong file for 839 of
    1,200 such reads.)
    """
    server = Sfss(*each_store, "--connections", 2, "--no-access-log")

    def content(path: str, version: int) -> bytes:
        seed = f"{path} {version} "
        return (seed * (1 + random.Random(path).randrange(3000))).encode()

    def work(n: int) -> int:
        generator = random.Random(n)
        checked = 0
        with RawClient(server.port) as client:
            versions: dict[str, int] = {}
            for _ in range(60):
                path = f"mix/{n}/{generator.randrange(10)}"
                if path not in versions or generator.random() < 0.3:
                    versions[path] = versions.get(path, 0) + 1
                    assert client.ask(put(path, content(path, versions[path]))).status == 200
                answer = client.ask(get(path))
                assert answer.status == 200
                assert answer.body == content(path, versions[path])
                checked += 1
                shared = client.ask(get("mix/shared"))
                assert shared.body == b"shared" * 1000
        return checked

    try:
        assert ask(server.port, put("mix/shared", b"shared" * 1000)).status == 200
        with ThreadPoolExecutor(40) as pool:
            assert sum(pool.map(work, range(40))) == 40 * 60
    finally:
        server.stop()
