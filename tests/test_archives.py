"""Many files at once: ``GET`` and ``POST /archive`` (of a node: ``/_archive``), with curl and tar."""

import io
import json
import os
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from sfss.models import etag_of
from tests.http import Answer, RawClient, ask, request
from tests.programs import Sfss, SfssNode, start_memcached

MB = 1000 * 1000
FILES = {
    "a.txt": b"a",
    "a/empty": b"",
    "a/b c+#?%.txt": b"b",
    "a/" + "long/" * 60 + "name": b"long",
    "a/ä/名字": "ü".encode(),
    "b/large": os.urandom(2 * 1024 * 1024),
}


@pytest.fixture(params=["embedded", "directory", "node"])
def server(request, tmp_path):
    home = tmp_path / "server"
    if request.param == "node":
        server = SfssNode(home, "--names", "exact", "--max-file-size", 2 * 1024 * 1024)
    elif request.param == "directory":
        server = Sfss("--store", f"directory:{home}")
    else:
        server = Sfss("--data", home)
    yield server
    server.stop()


def target(server: Sfss, query: str = "") -> str:
    return ("/_archive" if isinstance(server, SfssNode) else "/archive") + (f"?{query}" if query else "")


def url_path(server: Sfss, path: str) -> str:
    return ("/" if isinstance(server, SfssNode) else "/file/") + quote(path)


def put_all(server: Sfss, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        assert ask(server.port, request("PUT", url_path(server, path), content)).status in (200, 201)


def get_all(server: Sfss, paths) -> dict[str, bytes]:
    answers = {path: ask(server.port, request("GET", url_path(server, path))) for path in paths}
    assert {answer.status for answer in answers.values()} == {200}
    return {path: answer.body for path, answer in answers.items()}


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


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
    url = f"{server.url}{target(server)}"
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
    answer = ask(server.port, request("HEAD", target(server)))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-tar")


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
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("/ok/2"))
    answer = ask(server.port, request("POST", target(server), made.getvalue()))
    *lines, last = lines_of(answer)
    assert answer.status == 400 and (last["files"], last["failed"]) == (2, 4)
    assert {line["path"]: line.get("status") for line in lines} == {
        "ok/1": None, "ok/2": None, "../out": 400, "a//b": 400, "big": 413, "link": 400,
    }  # fmt: skip
    assert get_all(server, ["ok/1", "ok/2"]) == {"ok/1": b"1", "ok/2": b""}
    if isinstance(server, SfssNode):
        *lines, _ = lines_of(ask(server.port, request("POST", target(server), tar_of({"_status": b"x"}))))
        assert [line["status"] for line in lines] == [400]


def test_what_is_no_archive(server):
    for body in (b"x" * 1000, b"\x1f\x8bgarbage", os.urandom(100_000)):
        answer = ask(server.port, request("POST", target(server), body))
        assert answer.status == 400 and b"cannot be read" in answer.body, answer
    assert ask(server.port, request("POST", target(server), b"")).status in (200, 400)
    cut = tar_of({f"{n}": bytes(1000) for n in range(10)})[:7000]
    answer = ask(server.port, request("POST", target(server), cut))
    *lines, last = lines_of(answer)
    assert answer.status == 400 and "cannot be read" in last["error"] and last["files"] == len(lines) > 2
    answer = ask(server.port, request("POST", target(server, "prefix=../"), tar_of({"a": b""})))
    assert answer.status == 400
    assert ask(server.port, request("PUT", target(server), b"")).status in (400, 405)


def test_a_list_of_paths(server):
    put_all(server, FILES)
    wanted = ["b/large", "a.txt", "missing", "a/ä/名字"]
    headers = {"Content-Type": "application/json"}

    def asked(body: object) -> Answer:
        raw = request("POST", target(server), json.dumps(body).encode(), headers)
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
        while size < 240 * MB:
            size += len(client.receive(1 << 20))
            most = max(most, server.resident_mb()) if size % 20 * MB < (1 << 20) else most
    assert max(most, server.resident_mb()) < before + 100  # where 240 MB have come and gone
    server.stop()


def test_more_at_once_than_there_is_room_for(tmp_path):
    server = Sfss("--data", tmp_path)
    clients = [RawClient(server.port) for _ in range(9)]
    for client in clients[:8]:
        client.send(request("POST", "/archive", headers={"Content-Length": "100000"}))
        client.send(b"x" * 600)
    answer = clients[8].ask(request("POST", "/archive", tar_of({"a": b"1"})))
    assert answer.status == 503 and answer.headers["retry-after"]
    for client in clients:
        client.close()

    def later() -> int:
        return ask(server.port, request("POST", "/archive", tar_of({"a": b"1"}))).status

    for _ in range(100):
        if later() == 200:
            break
    else:
        raise AssertionError("no room comes back")
    server.stop()
