"""Many processes behind one port."""

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.http import RawClient, ask, request
from tests.programs import ROOT, Sfss, free_port


@pytest.fixture
def server(tmp_path):
    server = Sfss("--data", tmp_path / "data", "--workers", 2, "--no-access-log")
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.printed()


def put(path: str, content: bytes) -> bytes:
    return request("PUT", f"/file?path={path}", content)


def get(path: str) -> bytes:
    return request("GET", f"/file?path={path}")


def until(condition, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def worker_of(answer) -> str:
    return answer.headers["x-request-id"].partition("-")[0]


class Load:
    """Puts and gets in several threads until it is told to stop; every second on a new connection."""

    def __init__(self, server: Sfss, threads: int = 4):
        self.errors: list[str] = []
        self.requests = 0
        self.longest = 0.0
        self._server = server
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        client, turn = None, 0
        while not self._done.is_set():
            turn += 1
            content = os.urandom(1000)
            began = time.monotonic()
            try:
                if client is None or turn % 2:
                    if client is not None:
                        client.close()
                    client = RawClient(self._server.port)
                for data, status in ((put(f"load/{number}", content), 200), (get(f"load/{number}"), 200)):
                    answer = client.ask(data)
                    self.requests += 1
                    if answer.status != status:
                        self.errors.append(f"{answer.status} {answer.body[:200]}")
                    if answer.headers.get("connection") == "close":
                        client.close()
                        client = RawClient(self._server.port)
                if answer.body != content:
                    self.errors.append("other bytes")
            except (OSError, EOFError) as error:
                self.errors.append(f"{number}, request {turn}: {error!r}")
                if client is not None:
                    client.close()
                client = None
            self.longest = max(self.longest, time.monotonic() - began)
        if client is not None:
            client.close()


def test_all_serve_and_are_counted_as_one(server):
    seen = set()
    until(lambda: seen.add(worker_of(ask(server.port, get("none")))) or len(seen) == 2)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask(server.port, put(f"f{n}", b"x" * 100)), range(200)))
    assert {answer.status for answer in answers} == {200}
    assert len({worker_of(answer) for answer in answers}) == 2

    def counted() -> bool:
        status = json.loads(ask(server.port, request("GET", "/status?full=1")).body)
        (store,) = status["storages"].values()
        web = status["webserver"]
        assert (store["curr_items"], web["workers"], web["pid"]) == ("200", "2", str(server.pid))
        return (store["cmd_set"], web["requests_200"]) == ("200", web["requests_200"]) and int(
            web["requests_200"]
        ) >= 200

    until(counted, 3)


def test_what_one_wrote_the_other_reads_at_once(server):
    clients: dict[str, RawClient] = {}
    while len(clients) < 2:
        client = RawClient(server.port)
        worker = worker_of(client.ask(get("none")))
        if worker in clients:
            client.close()
        else:
            clients[worker] = client
    one, other = clients.values()
    for n in range(300):
        content = b"%d" % n
        assert one.ask(put("turns", content)).status == 200
        assert other.ask(get("turns")).body == content
        one, other = other, one
    # One writer at a time, also for a condition.
    etag = one.ask(get("turns")).headers["etag"]
    for client in (one, other):
        client.send(request("PUT", "/file?path=turns", b"mine", {"If-Match": etag}))
    assert sorted(client.answer().status for client in (one, other)) == [200, 412]
    for client in clients.values():
        client.close()


def test_conditional_creates_have_one_winner(server):
    def create(n: int) -> int:
        data = request("PUT", f"/file?path=new/{n // 8}", b"%d" % n, {"If-None-Match": "*"})
        return ask(server.port, data).status

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(create, range(400)))
    assert statuses.count(200) == 50 and statuses.count(412) == 350


def test_a_worker_that_dies_is_replaced_and_what_it_counted_stays(server):
    for n in range(50):
        ask(server.port, put(f"f{n}", b"x"))
    time.sleep(1)  # what was counted last is pinned
    victim = server.workers[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(server.workers) == 2 and victim not in server.workers)
    server.wait_for_line(f"ERROR worker ended worker={victim} signal=SIGKILL")
    until(lambda: ask(server.port, get("f1")).body == b"x")
    until(lambda: _requests(server, "PUT") >= 50, 3)
    time.sleep(1)
    assert _requests(server, "PUT") == 50


def _requests(server: Sfss, method: str) -> int:
    text = ask(server.port, request("GET", "/metrics")).body.decode()
    return sum(
        int(float(line.split()[-1]))
        for line in text.splitlines()
        if line.startswith("sfss_requests_total") and f'method="{method}"' in line
    )


def test_kill_9_of_workers_under_load_loses_nothing_acknowledged(server):
    acknowledged: dict[str, bytes] = {}
    done = threading.Event()

    def write(number: int) -> None:
        turn = 0
        client = None
        while not done.is_set():
            turn += 1
            path, content = f"w{number}/{turn % 50}", os.urandom(random.randrange(1, 20_000))
            try:
                client = client or RawClient(server.port)
                acknowledged.pop(path, None)
                if client.ask(put(path, content)).status == 200:
                    acknowledged[path] = content
            except (OSError, EOFError):  # it may have happened, or not
                if client is not None:
                    client.close()
                client = None
        if client is not None:
            client.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        time.sleep(0.7)
        until(lambda: server.workers)
        os.kill(random.choice(server.workers), signal.SIGKILL)
    done.set()
    for thread in threads:
        thread.join()
    until(lambda: len(server.workers) == 2)
    assert len(acknowledged) > 100
    for path, content in acknowledged.items():
        assert ask(server.port, get(path)).body == content


def test_a_reload_refuses_nobody(server, tmp_path):
    before = set(server.workers)
    with Load(server) as load:
        for n in range(3):
            time.sleep(0.5)
            server.send(signal.SIGHUP)
            until(lambda: server.printed().count("settings reloaded") == n + 1)
        time.sleep(0.5)
    assert load.errors == []
    assert load.requests > 200
    until(lambda: len(server.workers) == 2)
    assert not before & set(server.workers)


def test_one_worker_reloads_as_well(tmp_path):
    config = tmp_path / "sfss.toml"
    config.write_text("max_file_size = 10\nworkers = 1\n")
    server = Sfss("--data", tmp_path / "data", "--config", config)
    assert ask(server.port, put("a", b"x" * 11)).status == 413
    with Load(server, 2) as load:
        load.errors.clear()
        config.write_text("max_file_size = 2000\nworkers = 3\n")
        server.send(signal.SIGHUP)
        server.wait_for_line("settings reloaded workers=3")
        load.errors.clear()  # those of the small limit
        time.sleep(0.5)
        assert load.errors == []
    assert ask(server.port, put("a", b"x" * 11)).status == 200
    # What makes no sense changes nothing.
    config.write_text("max_file_size = -5\n")
    server.send(signal.SIGHUP)
    server.wait_for_line("the new settings cannot be used.*max_file_size is -5")
    assert ask(server.port, put("a", b"x" * 2001)).status == 413
    until(lambda: len(server.workers) == 3)
    config.write_text('workers = 1\nhost = "localhost"\n')
    server.send(signal.SIGHUP)
    server.wait_for_line("host and port change at the next start only")
    until(lambda: len(server.workers) == 1)
    assert server.stop() == 0


def test_a_worker_that_cannot_start_does_not_end_the_others(tmp_path):
    data = tmp_path / "data"
    server = Sfss("--data", data, "--workers", 2)
    file = data / "files.sqlite3"
    hidden = file.with_name("hidden")
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).rename(f"{hidden}{suffix}")
    file.write_bytes(b"this is no database" * 100)
    os.kill(server.workers[0], signal.SIGKILL)
    time.sleep(3)
    assert server.process.poll() is None
    assert ask(server.port, request("GET", "/healthz")).status == 200
    file.unlink()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{hidden}{suffix}").rename(file.with_name(file.name + suffix))
    until(lambda: len(server.workers) == 2)
    assert server.printed().count("a worker cannot start") <= 6
    assert server.stop() == 0


def test_a_reload_waits_for_no_writer(tmp_path):
    server = Sfss("--data", tmp_path, "--workers", 2, "--request-timeout", 8)
    other = sqlite3.connect(tmp_path / "files.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    server.send(signal.SIGHUP)
    server.wait_for_line("settings reloaded")
    assert time.monotonic() - began < 8
    assert ask(server.port, put("a", b"x")).status == 504  # it waits its time
    other.execute("ROLLBACK")
    other.close()
    assert ask(server.port, put("a", b"x")).status == 200
    assert server.stop() == 0


def test_settings_that_cannot_even_be_read_change_nothing(tmp_path):
    config = tmp_path / "sfss.toml"
    config.write_text("workers = 2\n")
    server = Sfss("--data", tmp_path / "data", "--config", config)
    for number, text in enumerate((f"port = {'9' * 5000}\n", "port = [\n", "write_token_file = ''\n")):
        config.write_text(text)
        server.send(signal.SIGHUP)
        until(lambda: server.printed().count("the new settings cannot be used") == number + 1)
    config.unlink()
    server.send(signal.SIGHUP)
    until(lambda: server.printed().count("the new settings cannot be used") == 4)
    assert ask(server.port, put("a", b"x")).status == 200
    assert server.stop() == 0
    assert "Traceback" not in server.printed()


def test_when_no_worker_can_start_at_all_it_says_so_and_ends(tmp_path):
    # The master may open the folder, and the workers have no descriptors left for it.
    script = (
        "import sys; from sfss.cli import gateway, main\n"
        "async def fails(settings, aggregate): raise OSError('nothing works')\n"
        "gateway._make_server = fails\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    for count in (1, 4):
        ended = subprocess.run(
            [sys.executable, "-c", script, "--port", "0", "--data", str(tmp_path), "--workers", str(count)],
            cwd=ROOT, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert ended.returncode == 1
        assert "nothing works" in ended.stderr and "listening" not in ended.stderr
        assert "During handling" not in ended.stderr


def test_variables_of_others_mean_nothing(tmp_path):
    environment = {"WEB_CONCURRENCY": "auto", "GUNICORN_PID": "1", "LISTEN_PID": "", "PATH": "/bin"}
    command = [sys.executable, "-m", "sfss", "--version"]
    assert subprocess.run(command, cwd=ROOT, env=environment, capture_output=True).returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "sfss", "--port", "0", "--data", str(tmp_path)],
        cwd=ROOT, env=environment, stderr=subprocess.PIPE,
    )  # fmt: skip
    lines = [process.stderr.readline() for _ in range(2)]
    assert b"workers=1 " in lines[1], lines
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_when_the_master_is_killed_the_workers_go(tmp_path):
    server = Sfss("--data", tmp_path, "--workers", 2)
    workers = server.workers
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 10)
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", server.port))
    server.kill()


def test_sigterm_while_it_starts(tmp_path):
    for delay in (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6):
        process = subprocess.Popen(
            [sys.executable, "-m", "sfss", "--port", "0", "--data", str(tmp_path), "--workers", "2"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        time.sleep(delay)
        process.terminate()
        _, printed = process.communicate(timeout=10)
        assert process.returncode in (0, -signal.SIGTERM), printed
        assert b"Traceback" not in printed, printed.decode()


def test_control_c_ends_all_in_the_friendly_way(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "sfss", "--port", "0", "--data", str(tmp_path), "--workers", "2"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    line = b""
    while b"listening" not in line:
        line = process.stderr.readline()
    port = int(line.split(b"url=http://127.0.0.1:")[1].split()[0])
    with RawClient(port) as client:
        client.send(put("slow", b"x" * 10)[:-5])
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        time.sleep(0.5)
        client.send(b"x" * 5)
        assert client.answer().status == 200
    _, printed = process.communicate(timeout=10)
    assert process.returncode == 0
    assert b"Traceback" not in printed and b"stopped" in printed


def test_a_socket_from_systemd(tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    script = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
        "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'};"
        "os.execv(sys.executable, [sys.executable, '-m', 'sfss', '--data', sys.argv[2]])"
    )
    for _ in range(2):  # between the two nobody is refused: the socket stays open
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(listener.fileno()), str(tmp_path)],
            cwd=ROOT,
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
        )
        assert ask(port, put("a", b"content")).status == 200
        line = b""
        while b"listening" not in line:
            line = process.stderr.readline()
        assert f"url=http://127.0.0.1:{port} ".encode() in line
        process.terminate()
        process.communicate(timeout=10)
        assert process.returncode == 0
    listener.close()


def test_every_core(tmp_path):
    server = Sfss("--data", tmp_path, "--workers", "auto", "--host", "localhost", "--port", free_port())
    assert len(server.workers) == len(os.sched_getaffinity(0))
    assert server.stop() == 0


def test_without_uvloop(tmp_path):
    script = "import sys; sys.modules['uvloop'] = None; from sfss.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "--port", "0", "--data", str(tmp_path), "--workers", "2"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        # (coverage has a SIGTERM handler of its own, which does not bear so many.)
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    line = b""
    while b"listening" not in line:
        line = process.stderr.readline()
    port = int(line.split(b"url=http://127.0.0.1:")[1].split()[0])
    content = os.urandom(1_500_000)
    assert ask(port, put("a", content)).status == 200
    for _ in range(5):
        assert ask(port, get("a")).body == content
    process.send_signal(signal.SIGHUP)
    while b"settings reloaded" not in line:
        line = process.stderr.readline()
    assert ask(port, get("a")).body == content
    worker = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[-1])
    with contextlib.suppress(ProcessLookupError):
        for _ in range(20_000):  # one is enough: none that comes later finds a loop half closed
            os.kill(worker, signal.SIGTERM)
            time.sleep(50e-6)
    process.terminate()
    _, printed = process.communicate(timeout=10)
    assert process.returncode == 0 and b"Traceback" not in printed
