"""Objects beside plain files, over the same embedded store; and large ones."""

import http.client
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench import wrk
from tests.http import ask, request
from tests.objects.signing import signed_request
from tests.objects.swift import Swift
from tests.programs import Sfss, SfssObjects

SIZE = 10240
#: Paths that are put by turns.
_PATHS = 100
_LARGE = 200 * 1000 * 1000


def objects(folder: Path, options) -> None:
    """10 KB, 32 connections, one core; then one object of 200 MB beside 100 files of 2 MB."""
    files = Sfss("--data", tempfile.mkdtemp(dir=folder), "--no-access-log", cpu=0)
    service = SfssObjects(Path(tempfile.mkdtemp(dir=folder)), "--no-access-log", cpu=0)
    try:
        swift = Swift(service)
        swift.ask("PUT", "bucket")
        contents = [os.urandom(SIZE) for _ in range(_PATHS)]
        # Each time another content than the name had: to write the same bytes once more costs SQLite nothing.
        changed = [*enumerate(contents), *enumerate(reversed(contents))]
        token = {"X-Auth-Token": swift.token}
        kinds = {
            "GET of a file": (files, _gets("/file?path=", contents, files)),
            "GET by Swift, with a token": (service, _gets("/v1/AUTH_main/bucket/", contents, service, token)),
            "GET by S3, signed": (
                service,
                [signed_request(service.key, "GET", f"/bucket/{n}") for n in range(_PATHS)],
            ),
            "PUT of a file": (files, [_put(f"/file?path={n}", c) for n, c in changed]),
            "PUT by Swift, with a token": (
                service,
                [_put(f"/v1/AUTH_main/bucket/{n}", c, token) for n, c in changed],
            ),
            "PUT by S3, signed": (
                service,
                [signed_request(service.key, "PUT", f"/bucket/{n}", c) for n, c in changed],
            ),
        }
        new = {  # what is put for the first time
            "PUT of a new file": (files, {"prefix": "/file?path=new/"}),
            "PUT of a new object": (service, {"prefix": "/v1/AUTH_main/bucket/new/", "headers": token}),
        }
        rates: dict[str, list[float]] = {name: [] for name in (*kinds, *new)}
        how = {"seconds": options.seconds, "connections": 32, "cpu": 1}
        for turn in range(options.rounds):
            for name, (server, requests) in kinds.items():
                rates[name].append(wrk.raw(server.port, requests, folder, "2xx", **how).rate)
            for name, (server, where) in new.items():
                load = wrk.put_new(server.port, SIZE, folder, first=turn * 10**6, **where, **how)
                rates[name].append(load.rate)
        print("\nObjects of 10 KB beside files, embedded store, 32 connections, one core")
        medians = {name: statistics.median(values) for name, values in rates.items()}
        for name, rate in medians.items():
            of = medians["PUT of a new file" if name in new else f"{name[:3]} of a file"]
            print(f"  {name:30}{rate:9.0f}/s  {rate / of:5.2f} of the file's", flush=True)
        _large(files, swift, service)
    finally:
        files.stop()
        service.stop()


def _large(files: Sfss, swift: Swift, service: SfssObjects) -> None:
    content = os.urandom(2_000_000)
    count = _LARGE // len(content)
    before = service.resident_mb()
    speeds = {}
    began = time.perf_counter()
    for number in range(count):
        assert ask(files.port, _put(f"/file?path=large/{number}", content)).status == 200
    speeds["PUT of files of 2 MB"] = time.perf_counter() - began
    began = time.perf_counter()
    assert swift.ask("PUT", "bucket/large", content * count).status == 201
    speeds["PUT of one object"] = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(count):
        assert _fetched(files.port, f"/file?path=large/{number}", {}) == len(content)
    speeds["GET of files of 2 MB"] = time.perf_counter() - began
    began = time.perf_counter()
    token = {"X-Auth-Token": swift.token}
    assert _fetched(service.port, "/v1/AUTH_main/bucket/large", token) == _LARGE
    speeds["GET of one object"] = time.perf_counter() - began
    print(f"\n{_LARGE // 10**6} MB, one client")
    for name, seconds in speeds.items():
        of = speeds[f"{name[:3]} of files of 2 MB"]
        print(f"  {name:30}{_LARGE / seconds / 1e6:9.0f} MB/s  {of / seconds:5.2f} of the files'")
    print(f"  memory of the service: {before:.0f} MB before, {service.resident_mb():.0f} after")


def _fetched(port: int, target: str, headers: dict[str, str]) -> int:
    """How many bytes are there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    size = 0
    while data := answer.read(1 << 20):
        size += len(data)
    connection.close()
    return size


def _gets(
    prefix: str, contents: list[bytes], server: Sfss, headers: dict[str, str] | None = None
) -> list[bytes]:
    """Of files that are put first."""
    for number, content in enumerate(contents):
        assert ask(server.port, _put(f"{prefix}{number}", content, headers)).status in (200, 201)
    return [request("GET", f"{prefix}{number}", headers=headers) for number in range(len(contents))]


def _put(target: str, content: bytes, headers: dict[str, str] | None = None) -> bytes:
    return request("PUT", target, content, headers)
