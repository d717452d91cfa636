"""Many files at once: ``GET`` and ``POST /archive`` (of a node: ``/_archive``), with curl and tar."""

import asyncio
import bz2
import gzip
import io
import json
import lzma
import os
import re
import subprocess
import tarfile
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfss.models import etag_of
from sfss.web.archives import FILE, Archive, NoArchive, plain
from tests.http import Answer, RawClient, ask, request
from tests.programs import Sfss, SfssNode, start_memcached
from tests.trees import KINDS, files_in, put_all, start, target

MB = 1000 * 1000
FILES = {
    "a.txt": b"a",
    "a/empty": b"",
    "a/b c+#?%.txt": b"b",
    "a/" + "long/" * 60 + "name": b"long",
    "a/ä/名字": "ü".encode(),
    "b/large": os.urandom(2 * 1024 * 1024),
}


@pytest.fixture(params=KINDS)
def server(request, tmp_path):
    limit = ["--max-file-size", 2 * 1024 * 1024] if request.param == "node" else []
    server = start(request.param, tmp_path / "server", *limit)
    yield server
    server.stop()


def archive_at(server: Sfss, query: str = "") -> str:
    return ("/_archive" if isinstance(server, SfssNode) else "/archive") + (f"?{query}" if query else "")


def get_all(server: Sfss, paths) -> dict[str, bytes]:
    answers = {path: ask(server.port, request("GET", target(server, path))) for path in paths}
    assert {answer.status for answer in answers.values()} == {200}
    return {path: answer.body for path, answer in answers.items()}


def tar_of(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def lines_of(answer: Answer) -> list[dict]:
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.body.splitlines()]


def sh(command: str, **variables: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    script = f"set -o pipefail; {command}"
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, timeout=60)


def test_out_and_in_again_with_curl_and_tar(server, tmp_path):
    put_all(server, FILES)
    out, part = tmp_path / "out", tmp_path / "part"
    out.mkdir()
    part.mkdir()
    url = f"{server.url}{archive_at(server)}"
    assert sh('curl -sf "$url" | tar -x -C "$out"', url=url, out=out).returncode == 0
    assert files_in(out) == FILES
    assert sh('curl -sf "$url?prefix=a/%C3%A4/" | tar -x -C "$part"', url=url, part=part).returncode == 0
    assert files_in(part) == {"a/ä/名字": FILES["a/ä/名字"]}
    for kind, flag in (("", ""), ("gz", "z")):
        prefix = f"again{kind}/"
        done = sh(
            f'tar -c{flag} -C "$out" . | curl -sf -T - -X POST "$url?prefix={prefix}"', url=url, out=out
        )
        assert done.returncode == 0, done
        *kept, last = [json.loads(line) for line in done.stdout.splitlines()]
        assert last == {"files": len(FILES), "bytes": sum(map(len, FILES.values())), "failed": 0}
        assert {line["path"]: (line["size"], line["etag"]) for line in kept} == {
            prefix + path: (len(content), etag_of(content)) for path, content in FILES.items()
        }
        found = get_all(server, [prefix + path for path in FILES])
        assert found == {prefix + path: content for path, content in FILES.items()}
    answer = ask(server.port, request("HEAD", archive_at(server)))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-tar")
    assert "content-length" not in answer.headers  # nobody knows it (RFC 9110 8.6)
    head = request("HEAD", archive_at(server))
    with RawClient(server.port) as client:  # the connection goes on
        assert client.ask(head).status == client.ask(head).status == 200


def test_what_cannot_be_kept_is_named_and_the_rest_is_kept(server):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in (
            ("ok/1", b"1"),
            ("../out", b"x"),
            ("a//b", b"x"),
            ("big", bytes(2 * 1024 * 1024 + 1)),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
        archive.addfile(tarfile.TarInfo("/ok/2"))
    answer = ask(server.port, request("POST", archive_at(server), made.getvalue()))
    *lines, last = lines_of(answer)
    assert answer.status == 400 and (last["files"], last["failed"]) == (2, 5)
    assert [line["path"] for line in lines if "--hard-dereference" in line.get("error", "")] == ["hard"]
    assert {line["path"]: line.get("status") for line in lines} == {
        "ok/1": None, "ok/2": None, "../out": 400, "a//b": 400, "big": 413, "link": 400, "hard": 400,
    }  # fmt: skip
    assert get_all(server, ["ok/1", "ok/2"]) == {"ok/1": b"1", "ok/2": b""}
    compressed = request("POST", archive_at(server), lzma.compress(made.getvalue()))
    assert b"compressed by xz" in ask(server.port, compressed).body
    if isinstance(server, SfssNode):
        *lines, _ = lines_of(ask(server.port, request("POST", archive_at(server), tar_of({"_status": b"x"}))))
        assert [line["status"] for line in lines] == [400]


class Stream:
    """*data*, which comes in pieces that end at *cuts*."""

    def __init__(self, data: bytes, cuts=()):
        ends = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        self._pieces = [data[a:b] for a, b in pairwise(ends) if a < b]

    def __aiter__(self):
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop(0)


async def entries_of(data: bytes, cuts=()) -> dict[str, bytes]:
    archive = Archive(plain(Stream(data, cuts)))
    found = {}
    while (entry := await archive.next()) is not None:
        if entry.kind == FILE:
            found[entry.name] = await archive.whole(entry)
    return found


names = st.text(
    st.characters(exclude_characters="\0\n/", exclude_categories=["Cs"]), min_size=1, max_size=150
)
trees = st.dictionaries(names, st.binary(max_size=2000), max_size=5)


@given(
    trees,
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.lists(st.integers(0, 10**6), max_size=6),
    st.sampled_from(
        [
            bytes,
            gzip.compress,
            bz2.compress,
            lambda data: gzip.compress(data[:300]) + gzip.compress(data[300:]),
        ]
    ),
    st.data(),
)
@settings(deadline=None)
def test_what_tarfile_writes_is_read_and_nothing_less_passes_for_it(files, kind, cuts, compress, data):
    made = io.BytesIO()
    try:
        with tarfile.open(fileobj=made, mode="w", format=kind) as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            end = archive.offset
    except ValueError:  # such a name has no place in this format
        return
    whole = compress(made.getvalue())
    assert asyncio.run(entries_of(whole, cuts)) == files
    needed = end + 512 if compress is bytes else len(whole)  # more zeros than one block of them say nothing
    with pytest.raises(NoArchive):
        asyncio.run(entries_of(whole[: data.draw(st.integers(0, needed - 1))], cuts))


def header(kind: bytes, size: int = 0, name: bytes = b"x", at: dict[int, bytes] | None = None) -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[124:136] = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    for start, data in (at or {}).items():
        block[start : start + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


#: Made when they are asked for: some are large, and every worker imports this.
HOSTILE = {
    "an endless entry": lambda: header(b"0", 2**70),
    "an endless link": lambda: header(b"1", 2**50),
    "a long header": lambda: b"".join(header(b"x", 65536) + b"1" * 65536 for _ in range(20)),
    "a long header, compressed": lambda: gzip.compress(header(b"L", 20_000_000) + bytes(20_000_000)),
    "a header of Solaris": lambda: b"".join(header(b"X", 60_000) + bytes(60_416) for _ in range(2000)),
    "headers of all": lambda: (
        (header(b"g", 60_000) + b"30 comment=" + b"x" * 18 + b"\n" + bytes(60_386)) * 1500
    ),
    "sparse": lambda: header(b"S", 0, at={482: b"\1"}) + (b"\0" * 504 + b"\1" + bytes(7)) * 100_000,
    "damaged": lambda: header(b"0").replace(b"x", b"y", 1),
    "a negative size": lambda: header(b"0", at={124: b"\xff" * 12}),
    "a size that is none": lambda: (
        header(b"x", 20) + b"20 size=-1234567890\n".ljust(512, b"\0") + header(b"0") + bytes(1024)
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_archives_cost_no_more_than_they_have(name):
    body = HOSTILE[name]()
    tracemalloc.start()
    with pytest.raises(NoArchive):
        await entries_of(body, range(0, len(body), 262_144))
    assert tracemalloc.get_traced_memory()[1] < len(body) + 2_000_000
    tracemalloc.stop()


async def test_compressed_and_damaged():
    whole = gzip.compress(tar_of({"a": os.urandom(3000)}))
    for at in range(20, len(whole) - 8, 97):
        with pytest.raises(NoArchive):
            await entries_of(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    # The checksum may come behind all else.
    with pytest.raises(NoArchive):
        await entries_of(whole[:-8] + bytes(8), [len(whole) - 8])


def test_what_is_no_archive(server):
    for body in (b"x" * 1000, b"\x1f\x8bgarbage", os.urandom(100_000)):
        answer = ask(server.port, request("POST", archive_at(server), body))
        assert answer.status == 400 and b"cannot be read" in answer.body, answer
    assert ask(server.port, request("POST", archive_at(server), b"")).status == 400
    whole = tar_of({f"{n}": bytes(1000) for n in range(10)})
    flipped = bytearray(whole)
    flipped[5 * 1536 + 3] ^= 1
    for cut in (whole[:7000], whole[: 5 * 1536], whole[: 5 * 1536 + 200], bytes(flipped)):
        answer = ask(server.port, request("POST", archive_at(server), cut))
        *lines, last = lines_of(answer)
        assert answer.status == 400 and "cannot be read" in last["error"] and last["files"] == len(lines) >= 4
    answer = ask(server.port, request("POST", archive_at(server, "prefix=../"), tar_of({"a": b""})))
    assert answer.status == 400
    assert ask(server.port, request("PUT", archive_at(server), b"")).status in (400, 405)


def test_a_list_of_paths(server):
    put_all(server, FILES)
    wanted = ["b/large", "a.txt", "missing", "a/ä/名字"]
    headers = {"Content-Type": "application/json"}

    def asked(body: object) -> Answer:
        raw = request("POST", archive_at(server), json.dumps(body).encode(), headers)
        with RawClient(server.port) as client:
            client.send(raw.replace(b"HTTP/1.1", b"HTTP/1.0"))  # so the answer is not chunked
            client.says_no_more()
            answer = client.answer()
            rest = answer.body + client.rest()
        return answer._replace(body=rest)

    answer = asked(wanted)
    assert answer.status == 200
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}
    assert found == {path: FILES[path] for path in wanted if path != "missing"}
    assert list(found) == [path for path in wanted if path != "missing"]
    for wrong in ({}, [1], ["../a"], ["a"] * 10_001):
        assert asked(wrong).status == 400


def test_who_may(tmp_path):
    flags = ("--write-token", "writer", "--read-token", "reader", "--no-listing")
    server = Sfss("--data", tmp_path, *flags)
    archive = tar_of({"a": b"1"})

    def status(method: str, token: str, body: bytes = b"", **headers: str) -> int:
        told = {"Authorization": f"Bearer {token}", **{n.replace("_", "-"): v for n, v in headers.items()}}
        return ask(server.port, request(method, "/archive", body, told)).status

    assert [status("POST", token, archive) for token in ("", "reader", "writer")] == [401, 401, 200]
    listed = {"Content_Type": "application/json"}
    assert [status("POST", token, b'["a"]', **listed) for token in ("", "reader", "writer")] == [
        401,
        200,
        200,
    ]
    # What tells which files there are is closed; and no other POST counts as reading.
    assert [status("GET", token) for token in ("", "reader")] == [401, 403]
    answer = ask(
        server.port,
        request(
            "POST",
            "/files?path=x",
            b"[]",
            {"Authorization": "Bearer reader", "Content-Type": "application/json"},
        ),
    )
    assert answer.status == 401
    server.stop()


def test_a_store_that_cannot_list_and_one_that_goes_away(tmp_path):
    program, port = start_memcached()
    server = Sfss("--proxy", f"127.0.0.1:{port}", "--request-timeout", 2)
    assert ask(server.port, request("GET", "/archive")).status == 501
    files = {f"f/{number:03}": os.urandom(MB) for number in range(40)}
    assert ask(server.port, request("POST", "/archive", tar_of(files))).status == 200
    body = json.dumps(sorted(files)).encode()
    with RawClient(server.port) as client:
        client.send(request("POST", "/archive", body, {"Content-Type": "application/json"}))
        assert client.receive(100_000).startswith(b"HTTP/1.1 200 ")
        program.kill()
        rest = client.rest()
    assert not rest.endswith(b"0\r\n\r\n")  # nobody can take it for a whole one
    *lines, last = lines_of(ask(server.port, request("POST", "/archive", tar_of({"a": b"1", "b": b"2"}))))
    assert last["failed"] >= 1 and lines[0]["status"] == 504
    server.stop()
    assert server.printed().count("an archive was cut off") == 1 and "Traceback" not in server.printed()


def test_many_files_in_bounded_memory(tmp_path):
    """One that is sent whole before anything of the answer is read, and one that is read slowly."""
    server = Sfss("--data", tmp_path, "--upload-timeout", 30)
    small = tar_of({f"small/{number}": b"%d" % number for number in range(15_000)})
    *lines, last = lines_of(ask(server.port, request("POST", "/archive", small)))
    assert (last["files"], last["failed"], len(lines)) == (15_000, 0, 15_000)
    content = os.urandom(MB)

    def put(number: int) -> int:
        files = {f"large/{number}/{each}": content for each in range(60)}
        return ask(server.port, request("POST", "/archive", tar_of(files))).status

    assert put(9) == put(8) == 200  # the store's own cache is full now
    before = server.resident_mb()
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(put, range(4))) == [200] * 4
    with RawClient(server.port, timeout=30) as client:
        client.send(request("GET", "/archive?prefix=large/"))
        size, most = 0, 0.0
        for looked in range(20 * MB, 240 * MB, 20 * MB):
            while size < looked:
                size += len(client.receive(1 << 20))
            most = max(most, server.resident_mb())
    assert max(most, server.resident_mb()) < before + 100  # where 240 MB have come and gone
    server.stop()


def test_a_download_that_is_cut_off_gives_its_room_back(tmp_path):
    server = Sfss("--store", f"directory:{tmp_path}", "--max-bytes-in-flight", 16 * MB)
    put_all(server, {f"{number}": os.urandom(MB) for number in range(5)})
    (tmp_path / "9").write_bytes(bytes(3 * MB))  # more than this store reads
    for _ in range(30):
        with RawClient(server.port) as client:
            client.send(request("GET", "/archive"))
            assert not client.rest().endswith(b"0\r\n\r\n")
    assert get_all(server, ["0"])["0"]

    def under_way() -> list[float]:
        figures = ask(server.port, request("GET", "/metrics")).body.decode()
        return [
            float(figure)
            for figure in re.findall(r"^sfss_bytes_in_flight(?:{.*})? (.*)$", figures, re.MULTILINE)
        ]

    assert len(under_way()) >= 1
    deadline = time.monotonic() + 10
    while any(under_way()):
        assert time.monotonic() < deadline, under_way()
        time.sleep(0.1)
    server.stop()
