"""What clients really send, each kind as a share of the plain GET or PUT: conditions, ranges, tokens, encoded paths."""

import os
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench import wrk
from tests.http import RawClient, request
from tests.programs import Sfss

SIZE = 10240
PATH = "bench/file.bin"
TOKEN = "a-token-of-the-bench"
_BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Kind(NamedTuple):
    name: str
    requests: list[bytes]  #: sent by turns
    of: str  #: the kind that it is measured by
    guarded: bool = False  #: against a server that wants a token
    status: str = "2xx"  #: of the answers; others are a failure


def kinds(folder: Path, options) -> None:
    """Embedded store, 10 KB, 32 connections, one core."""
    servers = {}
    for guarded in (False, True):
        tokens = ("--read-token", TOKEN, "--write-token", TOKEN) if guarded else ()
        data = tempfile.mkdtemp(dir=folder)
        servers[guarded] = Sfss("--data", data, "--no-access-log", *tokens, cpu=0)
    rates: dict[str, list[float]] = {}
    try:
        all_kinds = _kinds(servers)
        for _ in range(options.rounds):
            for kind in all_kinds:
                load = wrk.raw(
                    servers[kind.guarded].port, kind.requests, folder, kind.status,
                    seconds=options.seconds, connections=32, cpu=1,
                )  # fmt: skip
                rates.setdefault(kind.name, []).append(load.rate)
    finally:
        for server in servers.values():
            server.stop()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print("\nKinds of requests, embedded store, 10 KB, 32 connections")
    for kind in all_kinds:
        rate = medians[kind.name]
        print(f"  {kind.name:36}{rate:9.0f}/s  {rate / medians[kind.of]:5.2f} of the {kind.of}", flush=True)


def _kinds(servers: dict[bool, Sfss]) -> list[Kind]:
    content = os.urandom(SIZE)
    etag = ""
    for guarded, server in servers.items():
        with RawClient(server.port) as client:
            headers = _BEARER if guarded else None
            answer = client.ask(request("PUT", f"/file?path={PATH}", content, headers))
            assert answer.status == 200, answer
            etag = answer.headers["etag"]
            client.ask(request("PUT", "/file?path=bench/empty.bin", b"", headers))

    def get(path: str = PATH, headers: dict | None = None, method: str = "GET") -> list[bytes]:
        return [request(method, f"/file?path={path}", headers=headers)]

    # Each path gets another content than it had: to write the same bytes once more costs SQLite nothing.
    files = [(f"bench/put/{n}", other) for other in (content, content[::-1]) for n in range(100)]

    def puts(headers: dict | None = None) -> list[bytes]:
        return [request("PUT", f"/file?path={path}", body, headers) for path, body in files]

    chunked = [
        f"PUT /file?path={path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + b"%x\r\n%b\r\n0\r\n\r\n" % (SIZE, body)
        for path, body in files
    ]
    # Each is deleted long after it was put: requests of several connections are not in order.
    put_and_delete = []
    for n in range(200):
        put_and_delete.append(request("PUT", f"/file?path=bench/gone/{n}", content))
        put_and_delete.append(request("DELETE", f"/file?path=bench/gone/{(n + 100) % 200}"))
    browser = {
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Accept": "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
        "Accept-Language": "de,en-US;q=0.7,en;q=0.3", "Accept-Encoding": "gzip, deflate, br, zstd",
        "Connection": "keep-alive", "Referer": "http://test/", "Cookie": "session=0123456789abcdef; theme=dark",
        "Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "same-origin", "Priority": "u=5",
    }  # fmt: skip
    traced = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "X-Trace-Id": "7",
        "X-Any": "ä",
    }
    return [
        Kind("plain GET", get(), "plain GET"),
        Kind("If-None-Match (304)", get(headers={"If-None-Match": etag}), "plain GET", status="3xx"),
        Kind("Range", get(headers={"Range": "bytes=0-8191"}), "plain GET"),
        Kind("percent-encoded path", get(PATH.replace("/", "%2F")), "plain GET"),
        Kind("three unknown headers", get(headers=traced), "plain GET"),
        Kind("a browser's headers", get(headers=browser), "plain GET"),
        Kind("GET with a read token", get(headers=_BEARER), "plain GET", guarded=True),
        # (Of an empty file: wrk would wait for a body of the announced length.)
        Kind("HEAD", get("bench/empty.bin", method="HEAD"), "plain GET"),
        Kind("404", get("bench/none"), "plain GET", status="4xx"),
        Kind("plain PUT", puts(), "plain PUT"),
        Kind("PUT, chunked", chunked, "plain PUT"),
        Kind("PUT with a token", puts(_BEARER), "plain PUT", guarded=True),
        Kind("PUT and DELETE by turns", put_and_delete, "plain PUT", status="any"),
    ]
