"""One command that starts everything itself and prints ratios:

    .venv/bin/python -m bench

The gateway has core 0 to itself; memcached and the load share core 1. The programs take turns in
several rounds, and each figure is the median of its rounds: machines are noisy, so only the
ratios within one run mean anything. All servers run without access log.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench import beansdb, django, kinds, many, nodes, objects, references, scale, seaweedfs, wrk
from sfss.memcache.keys import memcache_key
from tests.http import RawClient, ask, request
from tests.programs import Program, Sfss, find, free_port, start_memcached

GATEWAY_CPU, OTHER_CPU = 0, 1
PATH = "bench/file.bin"
SIZES = {"1 KB": 1024, "10 KB": 10240, "100 KB": 102400, "2 MB": 2 * 1024 * 1024}
CONSTANT, NGINX = "aiohttp constant", "nginx memcached_pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3, help="of each run (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument(
        "--only",
        choices=[
            "get",
            "put",
            "kinds",
            "durable",
            "crowd",
            "workers",
            "stop",
            "nodes",
            "heal",
            "beansdb",
            "django",
            "objects",
            "many",
            "million",
            "seaweedfs",
        ],
        help="(default: all but the last two)",
    )
    parser.add_argument(
        "--millions",
        type=int,
        default=1,
        metavar="N",
        help="of files, in the embedded store, for --only million (default: 1; 10 take 12 GB of disk)",
    )
    parser.add_argument(
        "--files", type=int, default=100_000, metavar="N", help="for --only many (default: %(default)s)"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path.cwd(),
        help="where the programs keep their data (default: here). /tmp may be memory, where an fsync costs\n"
        "nothing; and where many files were removed in the last minutes, ext4 is slow to make new ones",
    )
    options = parser.parse_args()
    for program in ("memcached", "nginx", "wrk", "taskset"):
        if find(program) is None:
            sys.exit(f"{program} is not installed; run: sh tests/install-stores.sh --bench")
    options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sfss-bench-", dir=options.folder.absolute()))
    try:
        for name in options.sizes:
            if options.only in (None, "get", "put"):
                with Servers(SIZES[name], folder) as servers:
                    if options.only != "put":
                        table(f"GET {name}", servers.gets(), options)
                    if options.only != "get":
                        table(f"PUT {name}", servers.puts(), options)
        if options.only in (None, "kinds"):
            kinds.kinds(folder, options)
        if options.only in (None, "durable"):
            durable(folder, options)
        if options.only in (None, "crowd"):
            crowded(folder, options)
        if options.only in (None, "workers"):
            scale.workers(folder, options)
        if options.only in (None, "stop"):
            scale.stopped_proxy(folder, options)
        if options.only in (None, "nodes"):
            nodes.throughput(folder, options)
        if options.only in (None, "heal"):
            asyncio.run(nodes.heal(folder))
        if options.only in (None, "beansdb"):
            beansdb.beside(folder, options)
        if options.only in (None, "django"):
            django.saves(folder, options)
            django.static(folder, options)
            django.reconcile(folder, options)
        if options.only in (None, "objects"):
            objects.objects(folder, options)
        if options.only in (None, "many"):
            many.many(folder, options)
        if options.only == "seaweedfs":
            seaweedfs.beside(folder, options)
        if options.only == "million":
            scale.million(folder, options.millions * 1_000_000)
            nodes.million(folder)
    finally:
        for program in list(Program.running):  # what a failure has left
            program.kill()
        shutil.rmtree(folder)


def table(title: str, loads: dict[str, Callable[..., wrk.Load]], options) -> None:
    """Run each load by turns, and print the medians and the ratios to the references."""
    rounds: dict[str, list[wrk.Load]] = {name: [] for name in loads}
    for _ in range(options.rounds):
        for name, load in loads.items():
            rounds[name].append(load(seconds=options.seconds, connections=32, cpu=OTHER_CPU))
    medians = {
        name: wrk.Load(*(statistics.median(values) for values in zip(*runs))) for name, runs in rounds.items()
    }
    references = [name for name in (CONSTANT, NGINX) if name in medians]
    print(f"\n{title}, 32 connections" + "".join(f"{'/ ' + r:>24}" for r in references))
    for name, load in medians.items():
        ratios = "".join(f"{load.rate / medians[r].rate:24.2f}" for r in references)
        print(
            f"  {name:22}{load.rate:9.0f}/s  p50 {load.p50:7.2f} ms  p99 {load.p99:7.2f} ms{ratios}",
            flush=True,
        )


class Servers:
    """All programs, each with one file of *size* bytes."""

    def __init__(self, size: int, folder: Path):
        self._size = size
        self._folder = folder
        self._programs: list[Program] = []

    def __enter__(self) -> "Servers":
        memcached, self._memcached = start_memcached(cpu=OTHER_CPU)
        proxy = ["--proxy", f"127.0.0.1:{self._memcached}"]
        data = Path(tempfile.mkdtemp(dir=self._folder))
        pooled = Sfss(*proxy, "--no-access-log", cpu=GATEWAY_CPU)
        embedded = Sfss("--data", data, "--no-access-log", cpu=GATEWAY_CPU)
        self._programs = [memcached, pooled, embedded]
        self._ports = {
            "sfss over memcached": pooled.port,
            "sfss embedded": embedded.port,
            CONSTANT: self._reference("constant", self._size),
            "sfss over aiomcache": self._reference("aiomcache", self._memcached),
        }
        content = os.urandom(self._size)
        for port in (pooled.port, embedded.port):
            assert ask(port, request("PUT", f"/file?path={PATH}", content)).status == 200
        self._ports[NGINX] = self._nginx()
        for name, port in self._ports.items():
            answer = ask(port, request("GET", f"/file?path={PATH}"))
            assert answer.status == 200 and len(answer.body) == self._size, (name, answer.status)
            assert name == CONSTANT or answer.body == content, name
        return self

    def __exit__(self, *_) -> None:
        for program in reversed(self._programs):
            program.stop()

    def gets(self) -> dict[str, Callable[..., wrk.Load]]:
        def load(port: int):
            return lambda **options: wrk.get(port, f"/file?path={PATH}", **options)

        return {name: load(port) for name, port in self._ports.items()}

    def puts(self) -> dict[str, Callable[..., wrk.Load]]:
        def load(port: int):
            return lambda **options: wrk.put(port, self._size, self._folder, **options)

        return {name: load(port) for name, port in self._ports.items() if name != NGINX}

    def _reference(self, kind: str, argument: int) -> int:
        program, port = references.start(kind, argument, cpu=GATEWAY_CPU)
        self._programs.append(program)
        return port

    def _nginx(self) -> int:
        """One worker, its connections to memcached kept, a buffer as large as ours."""
        port = free_port()
        home = Path(tempfile.mkdtemp(dir=self._folder))
        (home / "nginx.conf").write_text(
            f"""
daemon off; master_process off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  keepalive_requests 100000000;
  upstream store {{ server 127.0.0.1:{self._memcached}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location /file {{
      set $memcached_key "{memcache_key(PATH).decode()}";
      memcached_buffer_size 128k;
      default_type application/octet-stream;
      memcached_pass store;
    }}
  }}
}}
"""
        )
        command = [find("nginx"), "-c", home / "nginx.conf", "-e", home / "error.log"]
        program = Program(command, cpu=GATEWAY_CPU)
        program.wait_for_port(port)
        self._programs.append(program)
        return port


def durable(folder: Path, options) -> None:
    """PUT into the embedded store against a file at a time, written and fsync'd, on one disk."""
    rates: dict[str, list[float]] = {"one fsync'd file at a time": [], "PUT embedded": []}
    for _ in range(options.rounds):
        home = Path(tempfile.mkdtemp(dir=folder))
        rates["one fsync'd file at a time"].append(_fsynced_files(home, options.seconds))
        server = Sfss("--data", home / "data", "--no-access-log", cpu=GATEWAY_CPU)
        load = wrk.put(server.port, 10240, folder, seconds=options.seconds, connections=64, cpu=OTHER_CPU)
        rates["PUT embedded"].append(load.rate)
        server.stop()
        shutil.rmtree(home)
    single, embedded = (statistics.median(values) for values in rates.values())
    print("\nDurable writes of 10 KB (PUT: 64 connections)")
    print(f"  one fsync'd file at a time {single:9.0f}/s")
    print(f"  PUT embedded               {embedded:9.0f}/s  {embedded / single:.1f} times that")


def crowded(folder: Path, options) -> None:
    """GET with 1,000 idle connections and 200 uploads of a byte a second, and without them."""
    server = Sfss("--data", folder / "crowd", "--no-access-log", "--upload-timeout", 600, cpu=GATEWAY_CPU)
    assert ask(server.port, request("PUT", f"/file?path={PATH}", os.urandom(10240))).status == 200
    alone: list[wrk.Load] = []
    crowd: list[wrk.Load] = []
    load = {"seconds": options.seconds, "connections": 32, "cpu": OTHER_CPU}
    for _ in range(options.rounds):
        alone.append(wrk.get(server.port, f"/file?path={PATH}", **load))
        idle = [RawClient(server.port) for _ in range(1000)]
        slow = [RawClient(server.port) for _ in range(200)]
        for n, client in enumerate(slow):
            client.send(request("PUT", f"/file?path=slow/{n}", b"x" * 10_000)[:-9_999])
        done = threading.Event()
        trickle = threading.Thread(target=_trickle, args=(slow, done))
        trickle.start()
        crowd.append(wrk.get(server.port, f"/file?path={PATH}", **load))
        done.set()
        trickle.join()
        for client in [*idle, *slow]:
            client.close()
    server.stop()
    without, among = (statistics.median(run.rate for run in runs) for runs in (alone, crowd))
    p99s = [statistics.median(run.p99 for run in runs) for runs in (alone, crowd)]
    print("\nGET 10 KB embedded among 1,000 idle connections and 200 uploads of a byte a second")
    print(f"  without them {without:9.0f}/s  p99 {p99s[0]:6.2f} ms")
    print(f"  among them   {among:9.0f}/s  p99 {p99s[1]:6.2f} ms  {among / without:.2f} times that")


def _trickle(clients: list[RawClient], done: threading.Event) -> None:
    while not done.wait(1):
        for client in clients:
            client.send(b"x")


def _fsynced_files(home: Path, seconds: float) -> float:
    content = os.urandom(10240)
    count = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        with open(home / str(count), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        count += 1
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
