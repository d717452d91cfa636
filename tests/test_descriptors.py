"""A process that runs out of descriptors: who is there is served, who comes is told."""

import resource
import socket
import time

import pytest

from tests.http import RawClient, ask, request
from tests.programs import Sfss, SfssNode

LIMIT = 256


def limited(kind: str, folder):
    prefix = ["prlimit", f"--nofile={LIMIT}:{LIMIT}"]
    if kind == "node":
        flags = ["--storage", folder / "storage", "--queue", folder / "queue", "--names", "exact"]
        command = (*prefix, *SfssNode.command, "--port", 0)
    else:
        flags = ["--store", f"directory:{folder}"] if kind == "directory" else ["--data", folder]
        command = (*prefix, *Sfss.command)

    class Server(Sfss):
        pass

    Server.command = command
    return Server(*flags)


@pytest.mark.parametrize("kind", ["node", "directory", "embedded"])
def test_old_connections_are_served_and_new_ones_are_told(tmp_path, kind):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    server = limited(kind, tmp_path)
    target = (lambda n: f"/f{n}") if kind == "node" else (lambda n: f"/file?path=f{n}")
    with RawClient(server.port) as client:
        assert client.ask(request("PUT", target(0), b"content")).status in (200, 201)
        crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(LIMIT + 50)]
        time.sleep(0.3)
        for number in range(20):
            assert client.ask(request("PUT", target(number), b"content")).status in (200, 201, 204)
            answer = client.ask(request("GET", target(number)))
            assert (answer.status, answer.body) == (200, b"content")
        deadline = time.monotonic() + 10
        while True:
            try:
                answer = ask(server.port, request("GET", target(0)))
            except (OSError, EOFError):  # so many have come that one is not even told, for a moment
                assert time.monotonic() < deadline
                time.sleep(0.05)
                continue
            assert answer.status == 503 and answer.headers["retry-after"] == "1"
            break
        for one in crowd:
            one.close()
    assert server.printed().count("too many connections") <= 2
    deadline = time.monotonic() + 10
    while True:  # as soon as there is room, all is as before
        try:
            if ask(server.port, request("GET", target(0))).status == 200:
                break
        except (OSError, EOFError):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.stop() == 0
    assert "Traceback" not in server.printed(), server.printed()


@pytest.mark.parametrize("target", ["/file?path=a", "/status", "/nothing", "/metrics"])
def test_an_odd_expectation_is_answered_in_our_form(tmp_path, target):
    server = Sfss("--data", tmp_path)
    for method in ("PUT", "GET"):
        answer = ask(server.port, request(method, target, b"x", {"Expect": "the-unexpected"}))
        assert answer.status == 417
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["server"] == "sfss" and answer.headers["x-request-id"]
    server.stop()


@pytest.mark.parametrize(
    "accept",
    ["application/openmetrics-text;version=abc", "application/openmetrics-text; version=1.0.0", "x", "*/*"],
)
def test_metrics_for_whatever_is_accepted(tmp_path, accept):
    server = Sfss("--data", tmp_path)
    answer = ask(server.port, request("GET", "/metrics", headers={"Accept": accept}))
    assert answer.status == 200 and b"sfss_requests_total" in answer.body
    server.stop()
