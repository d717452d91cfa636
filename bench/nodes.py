"""Nodes: what they take and give, how fast they are the same again, and a million files on each."""

import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from bench import references, wrk
from tests.cluster import Cluster
from tests.http import ask, request
from tests.million import start_two_nodes
from tests.programs import SfssNode, free_port

SIZE = 10240
#: How long the heal's partition lasts (seconds), and what is put meanwhile (files a second).
PARTITION, RATE = 60, 100


def _status(node: SfssNode) -> dict:
    return json.loads(ask(node.port, request("GET", "/_status")).body)


def _three(folder: Path) -> list[SfssNode]:
    ports = [free_port() for _ in range(3)]
    nodes = []
    for number, port in enumerate(ports):
        others = [f"http://127.0.0.1:{other}" for other in ports if other != port]
        flags = [flag for url in others for flag in ("--node", url)]
        nodes.append(SfssNode(folder / str(number), "--no-access-log", *flags, port=port))
    return nodes


def throughput(folder: Path, options) -> None:
    """PUT into one of three nodes, and GET from a node, against an aiohttp handler."""
    # The folders of all rounds are removed at the end: ext4 is slow for a while to give out inodes
    # where many have just been freed.
    puts: dict[str, list[float]] = {"aiohttp, body dropped": [], "three nodes": []}
    gets: dict[str, list[float]] = {"aiohttp constant": [], "node": []}
    emptied = []
    for _ in range(options.rounds):
        program, port = references.start("constant", SIZE, cpu=0)
        load = {"seconds": options.seconds, "connections": 32, "cpu": 1}
        puts["aiohttp, body dropped"].append(wrk.put(port, SIZE, folder, **load).rate)
        gets["aiohttp constant"].append(wrk.get(port, "/file", **load).rate)
        program.stop()
        nodes = _three(Path(tempfile.mkdtemp(dir=folder)))
        # All share the two cores, and the load does too.
        load = {"seconds": options.seconds, "connections": 32, "cpu": "0,1"}
        puts["three nodes"].append(
            # (The same name and content within a second would be the same file.)
            wrk.put_new(nodes[0].port, SIZE, folder, first=0, prefix="/bench/put/", **load).rate
        )
        began = time.perf_counter()
        while any(q["length"] for node in nodes for q in _status(node)["queues"].values()):
            time.sleep(0.02)
        emptied.append(time.perf_counter() - began)
        assert len({_status(node)["root"] for node in nodes}) == 1
        for node in nodes:
            node.stop()
        node = SfssNode(Path(tempfile.mkdtemp(dir=folder)), "--no-access-log", cpu=0)
        answer = ask(node.port, request("PUT", "/bench/file.bin", os.urandom(SIZE)))
        load = {"seconds": options.seconds, "connections": 32, "cpu": 1}
        gets["node"].append(wrk.get(node.port, answer.headers["location"], **load).rate)
        node.stop()
    for title, rates in (("PUT 10 KB, on disk on three nodes", puts), ("GET 10 KB", gets)):
        print(f"\n{title}, 32 connections")
        reference, _ = (statistics.median(values) for values in rates.values())
        for name, values in rates.items():
            rate = statistics.median(values)
            print(f"  {name:24}{rate:9.0f}/s  {rate / reference:.3f} times the first")
    print(f"  queues empty {max(emptied):.2f} s after the load's end, at the worst", flush=True)


async def heal(folder: Path) -> None:
    """One of three nodes is cut off for a minute, while both sides take files."""
    home = Path(tempfile.mkdtemp(dir=folder))
    async with Cluster(home, "--no-access-log") as cluster:
        cluster.part("AB", "C")
        content = os.urandom(SIZE)
        began = time.perf_counter()
        number = 0
        while (passed := time.perf_counter() - began) < PARTITION:
            if number < passed * RATE:
                await cluster.put("AC"[number % 2], f"f/{number}.jpg", content)
                number += 1
            else:
                await asyncio.sleep(0.005)
        cluster.heal()
        began = time.perf_counter()
        while len({(await cluster.status(name))["root"] for name in "ABC"}) > 1:
            await asyncio.sleep(0.05)
        passed = time.perf_counter() - began
        # The same bytes once more, to nobody's surprise: what the way itself takes.
        files = len(cluster.files("A"))
    moved = number // 2 * SIZE * 3  # A's half to C, C's half to A and B
    print(f"\nA partition of {PARTITION} s, in which {number} files of 10 KB were put on both sides")
    print(f"  all {files} files on all nodes {passed:.2f} s after the heal ({moved / 1e6:.0f} MB moved)")
    shutil.rmtree(home)


def million(folder: Path) -> None:
    """Two nodes that have the same million files."""
    home = Path(tempfile.mkdtemp(dir=folder))
    for count in (1000, 1_000_000):
        began = time.perf_counter()
        nodes = start_two_nodes(home / str(count), count)
        first = _status(nodes[0])
        neighbour = next(iter(first["neighbours"]))
        while not _status(nodes[0])["neighbours"][neighbour]["caught_up"]:
            time.sleep(0.02)
        compared = nodes[0].wait_for_line(r"compared with a neighbour .*seconds=([\d.]+)")[1]
        started = nodes[0].wait_for_line(r"node started .*seconds=([\d.]+)")[1]
        metrics = ask(nodes[0].port, request("GET", "/metrics")).body.decode()
        traffic = sum(
            float(line.split()[-1])
            for line in metrics.splitlines()
            if line.startswith("sfss_neighbour_bytes_total")
        )
        print(
            f"\nTwo nodes with the same {first['files']} files: opened in {started} s, compared in {compared} s "
            f"with {traffic:.0f} bytes, {nodes[0].resident_mb():.0f} MB of memory each "
            f"({time.perf_counter() - began:.0f} s to make them)",
            flush=True,
        )
        for node in nodes:
            node.stop()
    shutil.rmtree(home)
