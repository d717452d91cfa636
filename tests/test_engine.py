"""What the HTTP engine promises beyond framing: room, time limits, TLS, and the way to the application."""

import asyncio
import contextlib
import http.client
import os
import random
import re
import resource
import signal
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web

from sfss.http.exchange import Exchange
from sfss.http.handler import Handler
from sfss.http.messages import Response
from sfss.http.server import Limits, Server
from sfss.runtime.sockets import refuse_newcomers
from sfss.web.bridge import Bridge
from sfss.web.request_ids import RequestIds
from tests.http import RawClient, ask, form, request
from tests.programs import Program, Sfss, SfssNode
from tests.test_admission import figure, until_idle
from tests.test_auth import make_certificate

MB = 1_000_000


@contextlib.contextmanager
def peak_of(server: Sfss):
    """A list whose one number is the most MB that the worker took meanwhile."""
    peak, done = [server.resident_mb()], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], server.resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield peak
    done.set()
    watcher.join()


def crowd(count: int, port: int, data: bytes, *, small_buffer: bool = False) -> list[RawClient]:
    clients = []
    for _ in range(count):
        client = RawClient(port, timeout=30)
        if small_buffer:
            client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with contextlib.suppress(OSError):
            client.send(data)
        clients.append(client)
    return clients


@pytest.mark.parametrize("kind", ["embedded", "memcached"])
def test_what_the_limit_says_is_what_the_process_takes(kind, request_of_memcached, tmp_path):
    """Readers that do not read and uploads that do not come, many more than there is room for."""
    limit = 128 * MB
    flags = ["--max-bytes-in-flight", limit, "--admission-timeout", 0.3, "--no-access-log", "--data-cache", 0]
    where = ("--data", tmp_path) if kind == "embedded" else ("--proxy", f"127.0.0.1:{request_of_memcached}")
    server = Sfss(*where, *flags)
    content = os.urandom(2 * MB)
    assert ask(server.port, request("PUT", "/file?path=f", content)).status == 200
    assert ask(server.port, request("GET", "/file?path=f")).body == content
    idle = server.resident_mb()
    with peak_of(server) as peak:
        readers = crowd(240, server.port, request("GET", "/file?path=f"), small_buffer=True)
        uploads = crowd(150, server.port, request("PUT", "/file?path=u", content)[:-10])
        time.sleep(3)
        assert figure(server, "sfss_bytes_in_flight") <= limit * 1.02  # one always fits
    assert peak[0] - idle < limit / MB * 1.25, f"{peak[0] - idle:.0f} MB"
    for client in readers + uploads:
        client.close()
    until_idle(server)
    server.stop()
    assert "Traceback" not in server.printed()


@pytest.fixture
def request_of_memcached(request, kind):
    return request.getfixturevalue("memcached") if kind == "memcached" else None


def test_uploads_that_are_announced_and_do_not_come_stop_no_write(tmp_path):
    server = Sfss("--data", tmp_path, "--no-access-log", "--max-bytes-in-flight", 16 * MB)
    announced = request("PUT", "/file?path=never", headers={"Content-Length": "2000000"})
    silent = crowd(100, server.port, announced)
    slow = crowd(20, server.port, announced + b"x")
    # What has come of these is more: each had room for all of it, but only while it came.
    slow += crowd(3, server.port, announced + b"x" * 100_000)
    time.sleep(1.3)
    content = os.urandom(2 * MB)
    with RawClient(server.port) as client:
        for n in range(10):
            assert client.ask(request("PUT", f"/file?path=f{n}", content)).status == 200
            assert client.ask(request("GET", f"/file?path=f{n}")).body == content
    assert figure(server, "sfss_admission_refusals_total") == 0
    for client in silent + slow:
        client.close()
    until_idle(server)
    server.stop()


def test_clients_of_a_node_do_not_stop_replication(tmp_path):
    """Neither uploads that do not come, nor readers that do not read."""
    first = SfssNode(tmp_path / "1", "--names", "exact", "--max-bytes-in-flight", 16 * MB)
    second = SfssNode(
        tmp_path / "2", "--names", "exact", "--max-bytes-in-flight", 16 * MB,
        "--node", f"http://127.0.0.1:{first.port}", "--compare-interval", 1,
    )  # fmt: skip
    content = os.urandom(2 * MB)
    assert ask(first.port, request("PUT", "/large", content)).status == 201
    crowds = crowd(50, first.port, request("GET", "/large"), small_buffer=True)
    crowds += crowd(50, first.port, request("PUT", "/never", content)[:-10])
    time.sleep(0.5)
    assert ask(second.port, request("PUT", "/told", b"content")).status == 201
    deadline = time.monotonic() + 10
    while not re.search(rb'"length": 0', ask(second.port, request("GET", "/_status")).body):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for client in crowds:
        client.close()
    deadline = time.monotonic() + 10
    while ask(first.port, request("GET", "/told")).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.stop()
    second.stop()


def test_readers_that_take_nothing_make_room_for_those_who_wait(tmp_path):
    server = Sfss(
        "--data", tmp_path, "--no-access-log", "--max-bytes-in-flight", 16 * MB, "--admission-timeout", 8,
    )  # fmt: skip
    content = os.urandom(2 * MB)
    assert ask(server.port, request("PUT", "/file?path=f", content)).status == 200
    stalled = crowd(20, server.port, request("GET", "/file?path=f"), small_buffer=True)
    time.sleep(0.3)
    began = time.monotonic()
    for _ in range(3):
        assert ask(server.port, request("GET", "/file?path=f")).body == content
    assert time.monotonic() - began < 60  # long before --send-timeout would have cut them off
    for client in stalled:
        client.close()
    until_idle(server)
    server.stop()


def test_a_slow_upload_gets_its_408_and_a_fast_one_its_answer(tmp_path):
    server = Sfss("--data", tmp_path, "--upload-timeout", 2, "--no-access-log")
    with RawClient(server.port) as slow, RawClient(server.port) as fast:
        data = request("PUT", "/file?path=slow", b"x" * 100_000)
        slow.send(data[:1000])
        for n in range(10):
            assert fast.ask(request("PUT", f"/file?path=f{n}", b"y" * 100_000)).status == 200
        with contextlib.suppress(OSError):
            for _ in range(30):
                slow.send(b"x")
                time.sleep(0.1)
        assert slow.answer().status == 408
    until_idle(server)
    server.stop()


def test_forms_in_tiny_pieces_take_no_more_than_their_bytes(tmp_path):
    """Each piece by itself would take 28 times what it holds."""
    server = Sfss("--data", tmp_path, "--no-access-log")
    body, headers = form(os.urandom(1 * MB))
    head = "POST /files?path=f HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    pieces = (body[start : start + 2] for start in range(0, len(body), 2))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert ask(server.port, request("PUT", "/file?path=warm", body)).status == 200
    idle = server.resident_mb()
    with peak_of(server) as peak, RawClient(server.port, timeout=60) as client:
        assert client.ask(head.encode() + chunks).status == 201
    assert peak[0] - idle < 15, peak[0] - idle
    server.stop()


def test_a_client_that_leaves_behind_half_of_a_pipelined_upload_keeps_nothing(tmp_path):
    server = Sfss("--data", tmp_path, "--upload-timeout", 600)
    client = RawClient(server.port)
    client.send(request("PUT", "/file?path=a", b"x") + request("PUT", "/file?path=b", b"y" * 100_000)[:-10])
    client.says_no_more()
    assert client.answer().status == 200
    assert client.answer().status == 400
    client.close()
    until_idle(server)
    assert figure(server, "sfss_requests_in_flight") == 1  # the question itself
    server.stop()


def test_a_refusal_is_seen_by_who_is_still_sending(tmp_path):
    """A connection that is closed with unread bytes resets, and the answer is lost."""
    server = Sfss("--data", tmp_path)
    for _ in range(5):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.putrequest("PUT", "/file?path=a", skip_host=True)
        connection.putheader("Content-Length", str(10 * MB))
        connection.endheaders()
        connection.send(bytes(10 * MB))  # (which would fail, and many clients stop there)
        answer = connection.getresponse()
        assert answer.status == 400 and b"Host" in answer.read()
        connection.close()
    server.stop()


def test_what_was_not_invited_is_no_request(tmp_path):
    """Whether the body comes behind a refused expectation is the client's choice: the connection ends."""
    server = Sfss("--data", tmp_path)
    with RawClient(server.port) as client:
        answer = client.ask(
            request("PUT", "/file?path=a", headers={"Content-Length": "60", "Expect": "200-ok"})
        )
        assert (answer.status, answer.headers["connection"]) == (417, "close")
        assert client.closed_by_server()
    server.stop()


@pytest.mark.parametrize("family, host", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_newcomers_are_refused_and_nobody_else(family, host):
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        place = listener.getsockname()
        early = socket.create_connection(place[:2], timeout=5)  # and nobody has accepted it yet
        assert refuse_newcomers([listener])
        with socket.socket(family) as late, pytest.raises(TimeoutError):
            late.settimeout(0.3)
            late.connect(place)
        early.sendall(b"asked")
        accepted, _ = listener.accept()
        assert accepted.recv(10) == b"asked"
        accepted.sendall(b"answered")
        assert early.recv(10) == b"answered"
        accepted.close()
        early.close()
    with socket.socket(family) as later, pytest.raises(ConnectionRefusedError):
        later.settimeout(5)
        later.connect(place)


def test_a_stop_loses_nobody_who_has_connected(tmp_path):
    """Not even those whom the server has not accepted yet."""
    server = Sfss("--data", tmp_path, "--no-access-log", "--workers", 2)
    lost: list[str] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            try:
                client = RawClient(server.port)
            except ConnectionRefusedError:
                return
            except OSError as error:
                lost.append(repr(error))
                return
            with client:
                try:
                    assert client.ask(request("GET", "/healthz")).status == 200
                except (OSError, EOFError) as error:
                    lost.append(repr(error))
                    return

    threads = [threading.Thread(target=load) for _ in range(24)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    server.send(signal.SIGTERM)
    for thread in threads:
        thread.join()
    done.set()
    assert server.stop() == 0
    assert lost == []


def test_a_worker_does_not_outlive_a_master_that_is_killed_at_once(tmp_path):
    for delay in (0.15, 0.2, 0.25, 0.3, 0.35):
        program = Program([sys.executable, "-m", "sfss", "--port", 0, "--data", tmp_path, "--workers", 2])
        time.sleep(delay)
        os.kill(program.pid, signal.SIGKILL)
        program.process.wait()
        group = str(tmp_path)
        deadline = time.monotonic() + 10
        while left := processes_with(group):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)


def processes_with(argument: str) -> list[str]:
    """The ids of the processes that were started with *argument*."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def test_systemd_is_told_when_it_serves_and_when_it_ends(tmp_path, monkeypatch):
    """sd_notify(3), for Type=notify."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        server = Sfss("--data", tmp_path / "data")
        assert listener.recv(100) == b"READY=1"
        assert server.stop() == 0
        assert listener.recv(100) == b"STOPPING=1"


def test_a_worker_that_hangs_is_replaced(tmp_path):
    script = (
        "import sys; from sfss.runtime import master; master.HANG_TIMEOUT = 3.0;"
        "from sfss.cli.main import main; sys.exit(main())"
    )

    class Impatient(Sfss):
        command = (sys.executable, "-c", script, "--port", "0")

    server = Impatient("--data", tmp_path, "--workers", 2)
    hanging = server.workers[0]
    os.kill(hanging, signal.SIGSTOP)
    server.wait_for_line(f"worker shows no life: killing it worker={hanging}")
    deadline = time.monotonic() + 10
    while len(server.workers) != 2 or hanging in server.workers:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert server.stop() == 0


# TLS.


def connect(port: int, certificate: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=certificate)
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def asked(secure: ssl.SSLSocket, data: bytes) -> bytes:
    secure.sendall(data)
    return secure.recv(4096)


def test_connections_that_agree_on_no_tls_take_no_descriptors_for_long(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    certificate, key = make_certificate(tmp_path, "first")

    class Limited(Sfss):
        command = ("prlimit", "--nofile=256:256", *Sfss.command)

    server = Limited(
        "--data", tmp_path / "data", "--ssl", "--sslcert", certificate, "--sslkey", key,
        "--header-timeout", 2,
    )  # fmt: skip
    content = os.urandom(1000)
    secure = connect(server.port, certificate)
    assert b" 200 " in asked(secure, request("PUT", "/file?path=a", content))
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
    time.sleep(0.3)
    for n in range(20):  # who is here already is served, files and all
        assert b" 200 " in asked(secure, request("PUT", f"/file?path=f{n}", content))
        assert b" 200 " in asked(secure, request("GET", "/metrics"))[:20]
        while not asked(secure, request("GET", "/file?path=a")).endswith(content):
            pass
    time.sleep(2.5)  # their time is over
    with connect(server.port, certificate) as another:
        assert b" 200 " in asked(another, request("GET", "/healthz"))
    secure.close()
    for one in silent:
        one.close()
    server.stop()
    assert "Traceback" not in server.printed()


@pytest.mark.parametrize("kind", ["embedded", "directory", "memcached", "node"])
def test_every_store_serves_files_of_every_size_over_tls(tmp_path, kind, memcached):
    """What a store gives (bytes, a bytearray), and what becomes of it (a memoryview), is written alike."""
    certificate, key = make_certificate(tmp_path, "first")
    tls = ("--ssl", "--sslcert", certificate, "--sslkey", key)
    if kind == "node":
        server, target = SfssNode(tmp_path / "node", "--names", "exact", *tls), "/a"
    else:
        flags = {
            "embedded": ("--data", tmp_path / "data"),
            "directory": ("--store", f"directory:{tmp_path / 'files'}"),
            "memcached": ("--proxy", f"127.0.0.1:{memcached}"),
        }[kind]
        server, target = Sfss(*flags, *tls), "/file?path=a"
    context = ssl.create_default_context(cafile=certificate)
    for size in (0, 1, 10_000, 32 * 1024, 40_000, 100_000, 2_000_000):
        content = os.urandom(size)
        client = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=10)
        client.request("PUT", target, content)
        assert client.getresponse().read() is not None
        client.request("GET", target)
        assert client.getresponse().read() == content
        if size > 1:
            client.request("GET", target, headers={"Range": "bytes=1-"})
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (206, content[1:])
        client.close()
    assert server.stop() == 0
    assert "Traceback" not in server.printed()


def test_a_stop_waits_for_no_idle_client_of_tls(tmp_path):
    """TLS says goodbye, and an idle client does not answer that."""
    certificate, key = make_certificate(tmp_path, "first")
    server = Sfss("--data", tmp_path / "data", "--ssl", "--sslcert", certificate, "--sslkey", key)
    with connect(server.port, certificate) as idle, socket.create_connection(("127.0.0.1", server.port)):
        assert b" 200 " in asked(idle, request("GET", "/healthz"))
        assert server.stop() == 0  # (in less than the 30 s that it is given, of 90 s for a drain)


def test_a_body_that_breaks_before_the_application_has_begun(tmp_path):
    """It came in the packet of the head: aiohttp's task had not made its first step."""
    server = Sfss("--data", tmp_path)
    data = b"POST /nothing HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
    for _ in range(5):
        assert ask(server.port, data).status == 400
    long = request("GET", "/status", headers={"X-Long": "x" * 20_000, "Sec-WebSocket-Key1": "1"})
    assert ask(server.port, long).status == 200  # what the engine lets pass is good enough for aiohttp
    many = request("GET", "/status", headers={f"X-{n}": "x" for n in range(200)})
    assert ask(server.port, many).status == 431
    server.stop()
    assert "Traceback" not in server.printed()


# The way to an application.


class OnlyTheBridge(Handler):
    """A handler that answers nothing itself."""

    def __init__(self, bridge: Bridge):
        self._bridge = bridge
        self._ids = RequestIds()
        self.seen: list[tuple[int, int, int]] = []

    def new_id(self) -> str:
        return self._ids.new()

    def begin(self, exchange: Exchange) -> None:
        self._bridge.begin(exchange, self._ids)

    def refusal(self, error: Exception, request_id: str) -> Response:
        return Response(500, body=str(error).encode())

    def answered(self, exchange: Exchange, status: int, bytes_in: int, bytes_out: int) -> None:
        self.seen.append((status, bytes_in, bytes_out))

    def refused(self, status: int, bytes_out: int, seconds: float) -> None:
        self.seen.append((status, 0, bytes_out))


@contextlib.asynccontextmanager
async def bridged(*routes: web.RouteDef):
    app = web.Application(client_max_size=64 * MB)
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    handler = OnlyTheBridge(Bridge(runner.server))
    engine = Server(handler, Limits(5, 5, 5), "Server: engine\r\n")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    await engine.listen(listener)
    yield port, handler
    await engine.drain(1)
    await runner.cleanup()


async def test_an_answer_that_cannot_be_written_ends_the_connection(caplog):
    """It is a fault of ours: its client does not wait for ever, and others are served."""

    class Faulty(OnlyTheBridge):
        def begin(self, exchange: Exchange) -> None:
            exchange.respond(Response(200 if exchange.path == "/good" else 999, body=b"x"))

    engine = Server(Faulty(None), Limits(5, 5, 5), "Server: engine\r\n")
    listener = socket.create_server(("127.0.0.1", 0))
    await engine.listen(listener)

    def clients() -> None:
        with RawClient(listener.getsockname()[1]) as client:
            assert client.ask(request("GET", "/good")).body == b"x"
            client.send(request("GET", "/bad"))
            assert client.closed_by_server()
        assert ask(listener.getsockname()[1], request("GET", "/good")).status == 200

    await asyncio.to_thread(clients)
    await engine.drain(1)
    assert [record.message for record in caplog.records] == ["the answer cannot be sent"]


async def test_bodies_stream_both_ways():
    content = random.Random(1).randbytes(20 * MB)

    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-Own": "ä"})
        if request.query.get("length"):
            response.content_length = len(content)
        await response.prepare(request)
        async for data in request.content.iter_chunked(100_000):
            await response.write(data)
        await response.write_eof()
        return response

    async with bridged(web.put("/echo", echo)) as (port, handler):
        for target in ("/echo", "/echo?length=1"):
            for framing in ("length", "chunked"):
                status, headers, body = await asyncio.to_thread(exchange_with, port, target, content, framing)
                assert status == 200 and body == content
                assert headers["x-own"] == "ä" and headers["server"] != "engine"
                assert ("content-length" in headers) == ("length" in target)
        assert [seen[:2] for seen in handler.seen] == [(200, len(content))] * 4


def exchange_with(port: int, target: str, content: bytes, framing: str) -> tuple[int, dict, bytes]:
    """By another client than ours, which sends and reads at the same time."""
    head = f"PUT {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
    if framing == "length":
        data = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    else:
        chunks = (content[i : i + 70_000] for i in range(0, len(content), 70_000))
        data = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
        data += b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        received = b"".join(iter(lambda: connection.recv(1 << 20), b""))
        sender.join()
    raw, _, body = received.partition(b"\r\n\r\n")
    first, *lines = raw.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if "chunked" in headers.get("transfer-encoding", ""):
        pieces = []
        while body:
            size, _, body = body.partition(b"\r\n")
            pieces.append(body[: int(size, 16)])
            body = body[int(size, 16) + 2 :]
        body = b"".join(pieces)
    return int(first.split()[1]), headers, body


async def test_a_client_that_reads_nothing_keeps_the_application_waiting():
    written = 0

    async def much(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(500):
            await response.write(b"x" * 100_000)
            written += 100_000
        return response

    async with bridged(web.get("/much", much)) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        writer.write(request("GET", "/much"))
        await asyncio.sleep(1)
        assert 0 < written < 20 * MB
        writer.transport.abort()
        await asyncio.sleep(0.3)
        before = written
        await asyncio.sleep(0.3)
        assert written == before


async def test_what_the_application_does_not_answer_is_an_error():
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 10
        await response.prepare(request)
        await response.write(b"half")
        request.transport.abort()
        return response

    async def never(request: web.Request) -> web.StreamResponse:
        request.transport.abort()
        return web.Response()

    async def head(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"content")

    async def odd(request: web.Request) -> web.StreamResponse:
        return web.Response(status=299, body=b"odd")

    async def moved(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/elsewhere")

    routes = (
        web.get("/cut", cut),
        web.get("/never", never),
        web.get("/head", head),
        web.get("/moved", moved),
    )
    routes += (web.get("/odd", odd),)
    async with bridged(*routes) as (port, _):

        def check() -> None:
            with RawClient(port) as client, pytest.raises(EOFError):
                client.ask(request("GET", "/cut"))
            assert ask(port, request("GET", "/never")).status == 500
            odd = ask(port, request("GET", "/odd"))
            assert (odd.status, odd.body) == (299, b"odd")
            with RawClient(port) as client:  # one connection for all that is whole
                for _ in range(3):
                    answer = client.ask(request("HEAD", "/head"))
                    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "7", b"")
                    assert client.ask(request("GET", "/head")).body == b"content"
                    assert client.ask(request("GET", "/moved")).headers["location"] == "/elsewhere"
                    assert client.ask(request("PUT", "/head", b"x" * 1000)).status == 405

        await asyncio.to_thread(check)


def test_many_requests_for_the_application_at_once(tmp_path):
    server = Sfss("--data", tmp_path)
    targets = ["/status", "/metrics", "/", "/page.json", "/openapi.json", "/healthz", "/nothing"]

    def load(n: int) -> None:
        with RawClient(server.port) as client:
            for target in random.Random(n).choices(targets, k=30):
                answer = client.ask(request("GET", target))
                assert answer.status == (404 if target == "/nothing" else 200)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(load, range(20)))
    server.stop()
    assert "Traceback" not in server.printed()
