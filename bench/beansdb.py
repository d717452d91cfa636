"""A gateway over three Beansdb nodes without a proxy, beside the same gateway over memcached, and over one lone node
that is used as a proxy.

The nodes share a core with the load, and are slower than memcached: so the processor time of the gateway for each
request is measured, too.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import wrk
from tests import programs
from tests.http import ask, request
from tests.programs import Program, Sfss, free_port, start_memcached

GATEWAY_CPU, OTHER_CPU = 0, 1
SIZE = 10240
PATH = "bench/file.bin"


def beside(folder: Path, options) -> None:
    """GET and PUT of 10 KB."""
    home = Path(tempfile.mkdtemp(dir=folder))
    ports = [free_port() for _ in range(4)]
    nodes = [
        programs.start_gobeansdb(
            home, port, programs.routes(ports[:3] if port in ports[:3] else [port], 1), OTHER_CPU
        )
        for port in ports
    ]
    memcached, memcached_port = start_memcached(cpu=OTHER_CPU)
    flags = {
        "memcached": ["--proxy", f"127.0.0.1:{memcached_port}"],
        "one gobeansdb as a proxy": ["--proxy", f"127.0.0.1:{ports[3]}"],
        "three gobeansdb": [f for port in ports[:3] for f in ("--beansdb", f"127.0.0.1:{port}")],
    }
    servers = {name: Sfss(*own, "--no-access-log", cpu=GATEWAY_CPU) for name, own in flags.items()}
    try:
        for server in servers.values():
            _wait_until_ready(server.port)
            assert ask(server.port, request("PUT", f"/file?path={PATH}", os.urandom(SIZE))).status == 200
        load = {"seconds": options.seconds, "connections": 32, "cpu": OTHER_CPU}
        for title, run in (
            ("GET", lambda port: wrk.get(port, f"/file?path={PATH}", **load)),
            ("PUT", lambda port: wrk.put(port, SIZE, folder, **load)),
        ):
            _table(title, servers, run, options)
        _one_killed(servers["three gobeansdb"], nodes, load)
    finally:
        for program in [*servers.values(), *nodes, memcached]:
            program.stop()


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 30
    while ask(port, request("GET", "/readyz")).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while ask(port, request("PUT", "/file?path=ready", b"x")).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _table(title: str, servers: dict[str, Sfss], run: Callable[[int], wrk.Load], options) -> None:
    rates: dict[str, list[float]] = {name: [] for name in servers}
    costs: dict[str, list[float]] = {name: [] for name in servers}
    p99s: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(options.rounds):
        for name, server in servers.items():
            before = _processor_seconds(server)
            load = run(server.port)
            requests = load.rate * options.seconds
            rates[name].append(load.rate)
            p99s[name].append(load.p99)
            costs[name].append((_processor_seconds(server) - before) / requests * 1000)
    print(f"\n{title} 10 KB, 32 connections{'/ memcached':>40}  CPU s per 1,000{'/ memcached':>14}")
    of_memcached = statistics.median(rates["memcached"]), statistics.median(costs["memcached"])
    for name in servers:
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        print(
            f"  {name:26}{rate:8.0f}/s  p99 {statistics.median(p99s[name]):6.2f} ms{rate / of_memcached[0]:16.2f}"
            f"{cost:17.4f}{cost / of_memcached[1]:14.2f}",
            flush=True,
        )


def _processor_seconds(server: Program) -> float:
    total = 0
    for pid in server.family():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _one_killed(server: Sfss, nodes: list[Program], load: dict) -> None:
    """Under load: wrk fails if any request does."""
    before = wrk.get(server.port, f"/file?path={PATH}", **load)
    killed = time.monotonic()
    nodes[0].kill()
    after = wrk.get(server.port, f"/file?path={PATH}", **load)
    print(
        f"\nGET 10 KB, one of three nodes killed {time.monotonic() - killed - load['seconds']:.1f} s before:"
        f" p99 {after.p99:.2f} ms, {after.p99 / before.p99:.2f} of that before; no request failed"
    )
