"""SeaweedFS beside sfss, each with one core: by path through its filer, and its bare volume server.

It has to be installed: ``sh tests/install-stores.sh --seaweedfs``. Its usage statistics are switched off.
"""

import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import wrk
from tests.http import ask, request
from tests.programs import Program, Sfss, find, free_port

SIZE = 10240
PATH = "/bench/file.bin"
SFSS, FILER, VOLUME = "sfss embedded", "SeaweedFS filer", "SeaweedFS volume"


class SeaweedFS:
    """Master, volume server and filer in one process, on loopback, with all its data below *folder*."""

    def __init__(self, folder: Path, *, cpu: int):
        home = Path(tempfile.mkdtemp(dir=folder))
        names = ("master", "volume", "filer")
        self.ports = {name: free_port() for name in names}
        flags = [f"-{name}.port={port}" for name, port in self.ports.items()]
        flags += [f"-{name}.port.grpc={free_port()}" for name in names]
        self.program = Program(
            [find("weed"), "server", f"-dir={home}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer"]
            + [f"-filer.localSocket={home}/filer.sock", "-master.telemetry=false", *flags],
            cwd=home,
            cpu=cpu,
        )
        for port in self.ports.values():
            self.program.wait_for_port(port)

    def wait_until_it_takes(self, put: bytes) -> None:
        """Its parts find each other some seconds after they listen; until then *put* is refused."""
        deadline = time.monotonic() + 30
        while (answer := ask(self.ports["filer"], put)).status != 201:
            assert time.monotonic() < deadline, answer
            time.sleep(0.2)

    def put_in_volume(self, content: bytes) -> str:
        """Keep *content* in a volume, past the filer; the target of its URL."""
        place = json.loads(ask(self.ports["master"], request("GET", "/dir/assign")).body)
        boundary = "a-file"
        form = (
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file.bin"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
            + content
            + f"\r\n--{boundary}--\r\n".encode()
        )
        target = f"/{place['fid']}"
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        assert ask(self.ports["volume"], request("POST", target, form, headers)).status == 201
        return target


def beside(folder: Path, options) -> None:
    """GET and PUT of 10 KB; of SeaweedFS no write waits for the disk, of sfss each does."""
    if find("weed") is None:
        raise SystemExit("SeaweedFS is not installed; run: sh tests/install-stores.sh --seaweedfs")
    content = os.urandom(SIZE)
    server = Sfss("--data", tempfile.mkdtemp(dir=folder), "--no-access-log", cpu=0)
    other = SeaweedFS(folder, cpu=0)
    try:
        filer, volume = other.ports["filer"], other.ports["volume"]
        target = f"/file?path={PATH[1:]}"
        assert ask(server.port, request("PUT", target, content)).status == 200
        other.wait_until_it_takes(request("PUT", PATH, content))
        in_volume = other.put_in_volume(content)
        gets = {SFSS: (server.port, target), FILER: (filer, PATH), VOLUME: (volume, in_volume)}
        for port, place in gets.values():
            assert ask(port, request("GET", place)).body == content
        puts = {SFSS: (server.port, "/file?path=bench/put/"), FILER: (filer, "/bench/put/")}
        _table(
            "GET 10 KB",
            {name: lambda at=at, **load: wrk.get(*at, **load) for name, at in gets.items()},
            options,
        )
        _table(
            "PUT 10 KB",
            {
                name: lambda at=at, **load: wrk.put(at[0], SIZE, folder, prefix=at[1], **load)
                for name, at in puts.items()
            },
            options,
        )
        version = re.search(r"version (\S+ \S+)", _version())[1]
        print(
            f"  memory: sfss {server.resident_mb():.0f} MB, SeaweedFS {version} {other.program.resident_mb():.0f} MB"
        )
    finally:
        other.program.stop()
        server.stop()


def _table(title: str, loads: dict[str, Callable[..., wrk.Load]], options) -> None:
    rates: dict[str, list[float]] = {name: [] for name in loads}
    for _ in range(options.rounds):
        for name, load in loads.items():
            rates[name].append(load(seconds=options.seconds, connections=32, cpu=1).rate)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"\n{title}, 32 connections, each with one core")
    for name, rate in medians.items():
        print(f"  {name:22}{rate:9.0f}/s  {rate / medians[FILER]:5.2f} times the filer", flush=True)


def _version() -> str:
    return subprocess.run([find("weed"), "version"], capture_output=True, text=True, check=True).stdout
