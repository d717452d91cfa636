"""Many small files at once: archives beside ``tar`` and the store's own rate, ``sfss sync``, and listings."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import wrk
from tests.http import ask, request
from tests.programs import ROOT, Sfss

SIZE = 4096
_IN_A_FOLDER = 1000


def many(folder: Path, options) -> None:
    """Files of 4 KB, embedded store; the server and its client may use all cores."""
    here = Path(tempfile.mkdtemp(dir=folder))
    count = options.files
    _make(here / "source", count)
    server = Sfss("--data", here / "data", "--no-access-log")
    try:
        _archives(here, server, count, options.seconds)
        _sync(here, server, count)
        _listings(server)
    finally:
        server.stop()
        shutil.rmtree(here)


def _make(source: Path, count: int) -> None:
    noise = os.urandom(2 * SIZE)
    for number in range(count):
        file = source / _path(number)
        if number % _IN_A_FOLDER == 0:
            file.parent.mkdir(parents=True)
        file.write_bytes(noise[number % SIZE :][:SIZE])


def _path(number: int) -> str:
    return f"{number // _IN_A_FOLDER:05}/{number:08}"


def _archives(here: Path, server: Sfss, count: int, seconds: int) -> None:
    (here / "out").mkdir()
    (here / "again").mkdir()
    put_in = _shell(f"tar -c -C source . | curl -sf -X POST -T - {server.url}/archive?prefix=a/", here)
    packing = _shell("tar -c -C source . | cat", here)
    taken_out = _shell(f"curl -sf {server.url}/archive?prefix=a/ | tar -x -C out", here)
    subprocess.run("tar -c -C source . > archive.tar", shell=True, cwd=here, check=True)
    unpacking = _shell("tar -x -C again < archive.tar", here)
    gets = [request("GET", f"/file/a/{_path(number)}") for number in range(0, count, max(count // 500, 1))]
    load = {"seconds": seconds, "connections": 32, "cpu": "0,1"}
    reading = count / wrk.raw(server.port, gets, here, "2xx", **load).rate
    writing = count / wrk.put_new(server.port, SIZE, here, first=1, prefix="/file?path=n/", **load).rate
    print(f"\nArchives of {count} files of 4 KB, beside tar on these files and then the store's own rate")
    for name, spent, of in (("in", put_in, packing + writing), ("out", taken_out, unpacking + reading)):
        print(f"  {name:8}{count / spent:9.0f}/s  {of / spent:6.2f} of the rate of both together", flush=True)


def _shell(command: str, folder: Path) -> float:
    """The seconds that it takes."""
    began = time.perf_counter()
    command = f"set -o pipefail; {command} > /dev/null"
    subprocess.run(["bash", "-c", command], cwd=folder, check=True)
    return time.perf_counter() - began


def _sync(here: Path, server: Sfss, count: int) -> None:
    print(f"\nsfss sync of {count} files of 4 KB, its start with it")
    there, back = f"{server.url}/s", here / "back"
    for name, source, target in (
        ("up", here / "source", there),
        ("up again", here / "source", there),
        ("down", there, back),
        ("down again", there, back),
        ("mirror", there, f"{server.url}/m"),
    ):
        began = time.perf_counter()
        command = [sys.executable, "-m", "sfss", "sync", source, target]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        out, _ = process.stdout.read(), process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0 and b"failed 0" in out, out
        spent = time.perf_counter() - began
        print(f"  {name:12}{count / spent:9.0f}/s  {usage.ru_maxrss * 1024 / 1e6:6.0f} MB", flush=True)


def _listings(server: Sfss) -> None:
    """The processor time of the server for each."""
    print("\nListings of these files: processor time of the server")
    for name, query in (("1,000 files", "prefix=a/"), ("the folders", "prefix=a/&delimiter=/")):
        times, before = 100, _cpu(server)
        for _ in range(times):
            assert ask(server.port, request("GET", f"/files?{query}")).status == 200
        print(f"  {name:12}{(_cpu(server) - before) / times * 1000:9.2f} ms", flush=True)


def _cpu(server: Sfss) -> float:
    """Seconds that its processes have had."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in server.family()]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")
