"""More cores, a stopped proxy, and a million files."""

import os
import re
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path

from bench import wrk
from tests.http import RawClient, ask, request
from tests.programs import Sfss, proxy_flags, start_memcached, start_nutcracker

TARGET = "/file?path=bench/file.bin"


def _put(server: Sfss, size: int) -> None:
    assert ask(server.port, request("PUT", TARGET, os.urandom(size))).status == 200


def workers(folder: Path, options) -> None:
    """One worker and its load on one core, against two workers and their load on two.

    The load takes its part of the same cores in both cases, so it is counted fairly.
    """
    rates: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, count, cpus in (("one worker on one core", 1, "0"), ("two workers on two", 2, "0,1")):
            server = Sfss(
                *("--data", tempfile.mkdtemp(dir=folder), "--workers", count, "--no-access-log"),
                cpu=cpus,
            )
            _put(server, 10240)
            load = wrk.get(
                server.port, TARGET,
                seconds=options.seconds, connections=64 * count, cpu=cpus, threads=count,
            )  # fmt: skip
            rates.setdefault(name, []).append(load.rate)
            server.stop()
    print("\nGET 10 KB embedded, the load on the same cores")
    first, *_ = (statistics.median(values) for values in rates.values())
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"  {name:24}{rate:9.0f}/s  {rate / first:.2f} times the first")


def stopped_proxy(folder: Path, options) -> None:
    """GET over three twemproxies, one of which is stopped for a while."""
    memcached, store = start_memcached(cpu=1)
    proxies = [start_nutcracker(folder, [store]) for _ in range(3)]
    server = Sfss(*proxy_flags([port for _, port in proxies]), "--no-access-log", cpu=0)
    _put(server, 10240)
    load = {"connections": 32, "cpu": 1}
    quiet, hit, recoveries = [], [], []
    for n in range(options.rounds):
        quiet.append(wrk.get(server.port, TARGET, seconds=6, **load).p99)
        downs = server.printed().count("proxy up")
        stopped = proxies[n % 3][0]
        continued: list[float] = []

        def stop_and_continue(stopped=stopped, continued=continued) -> None:
            time.sleep(1.5)
            stopped.send(signal.SIGSTOP)
            time.sleep(3.0)
            stopped.send(signal.SIGCONT)
            continued.append(time.time())

        thread = threading.Thread(target=stop_and_continue)
        thread.start()
        hit.append(wrk.get(server.port, TARGET, seconds=6, **load).p99)  # raises if a read failed
        thread.join()
        assert server.printed().count("proxy up") == downs + 1
        recoveries.append(_moment(server.printed(), "proxy up") - continued[0])
    without, among = statistics.median(quiet), statistics.median(hit)
    print("\nGET 10 KB over three proxies, one of them stopped for 3 of 6 seconds; no read failed")
    print(f"  p99 without {without:6.2f} ms, with the fault {among:6.2f} ms: {among / without:.2f} times")
    print(f"  in use again {max(recoveries):.3f} s after SIGCONT, at the latest")
    server.stop()
    for program, _ in proxies:
        program.stop()
    memcached.stop()


def _moment(log: str, event: str) -> float:
    """When the last *event* was logged, seconds since the epoch."""
    stamp, milliseconds = re.findall(rf"(\S+)\.(\d+)Z \w+ {event}", log)[-1]
    parsed = time.strptime(stamp + "+0000", "%Y-%m-%dT%H:%M:%S%z")
    return time.mktime(parsed) - time.timezone + int(milliseconds) / 1000


def million(folder: Path, files: int) -> None:
    """A million files of 1 KB in the embedded store."""
    server = Sfss("--data", folder / "million", "--no-access-log", cpu=0)
    load = {"connections": 32, "cpu": 1}
    empty = server.resident_mb()
    count = 0
    began = time.monotonic()
    while count < files:
        # Of the last ones of a run some may not have arrived.
        wrk.put_new(server.port, 1024, folder, first=max(count - 100, 0), seconds=10, **load)
        count = int(_figure(server, "curr_items"))
    filled = time.monotonic() - began
    reads = wrk.get_random(server.port, count - 100, folder, seconds=10, **load)
    used, disk = server.resident_mb(), int(_figure(server, "disk_bytes"))
    server.stop()
    began = time.monotonic()
    again = Sfss("--data", folder / "million", "--no-access-log", cpu=0)
    with RawClient(again.port) as client:
        assert client.ask(request("GET", "/file?path=million/7")).status == 200
    started = time.monotonic() - began
    again.stop()
    print(f"\n{count} files of 1 KB in the embedded store")
    print(f"  put in {filled:.0f} s; random GETs {reads.rate:.0f}/s, p99 {reads.p99:.2f} ms")
    print(f"  memory {empty:.0f} MB empty, {used:.0f} MB with them; {disk / count:.0f} bytes of disk a file")
    print(f"  started again, first file served, in {started:.2f} s")


def _figure(server: Sfss, name: str) -> str:
    return re.search(rf'"{name}": "(\d+)"', ask(server.port, request("GET", "/status")).body.decode())[1]
