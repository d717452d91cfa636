"""What comes with a file: its type, its name, its times, and what caches may do with it."""

import subprocess
import time
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import quote

import pytest

from tests.conftest import need
from tests.http import Answer, ask, request
from tests.programs import Sfss, SfssNode, free_port, start_nginx

TOKEN = "a-token-of-a-reader"


class At:
    """A server, and how its files are reached."""

    def __init__(self, server, prefix: str):
        self.server = server
        self._prefix = prefix

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.server.port, request(method, self._prefix + quote(path), body, named))

    def both(self, path: str, **headers: str) -> Answer:
        """The answer to a GET; that to a HEAD has the same headers. Both ways through the server."""
        answers = [
            self.ask(method, path, **headers, **more)
            for method in ("GET", "HEAD")
            for more in ({}, {"X_Unknown": "1"})
        ]
        assert len({answer.status for answer in answers}) == 1
        own = ("date", "x-request-id", "connection")
        kept = [{k: v for k, v in answer.headers.items() if k not in own} for answer in answers]
        assert all(headers == kept[0] for headers in kept), kept
        return answers[0]


def make(kind: str, folder, *flags: object) -> At:
    if kind == "node":
        return At(SfssNode(folder, "--names", "exact", *flags), "/")
    where = ("--store", f"directory:{folder}") if kind == "directory" else ("--data", folder)
    return At(Sfss(*where, *flags), "/file?path=")


@pytest.fixture(scope="module", params=["embedded", "directory", "node"])
def files(request, tmp_path_factory):
    made = make(request.param, tmp_path_factory.mktemp(request.param))
    made.kind = request.param
    yield made
    made.server.stop()


@pytest.mark.parametrize(
    "path, content, expected",
    [
        ("a/b.txt", "ä".encode(), "text/plain; charset=utf-8"),
        ("a/ascii.txt", b"plain", "text/plain; charset=utf-8"),
        ("a/latin.txt", "ä".encode("latin-1"), "text/plain"),
        ("a/japanese.txt", "日本".encode("iso-2022-jp"), "text/plain"),
        ("a/empty.css", b"", "text/css; charset=utf-8"),
        ("a/sheet.xlsx", b"PK", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a/p.jpg", "ä".encode(), "image/jpeg"),
        ("a/none", b"x", "application/octet-stream"),
    ],
)
def test_types(files, path, content, expected):
    assert files.ask("PUT", path, content).status in (200, 201, 204)
    assert files.both(path).headers["content-type"] == expected


@pytest.mark.parametrize(
    "path, disposition",
    [
        ("n/photo.jpg", "inline"),
        ("n/page.html", "attachment"),
        ("n/two words.jpg", "inline"),
        ("n/ä €.jpg", "inline"),
        ('n/quo"te.jpg', "inline"),
        ("n/per%41cent.jpg", "inline"),
    ],
)
def test_names(files, path, disposition):
    """RFC 6266, RFC 8187: who saves it finds its name, whatever is in it."""
    files.ask("PUT", path, b"x")
    kind, plain, extended = files.both(path).headers["content-disposition"].split("; ")
    name = path.rpartition("/")[2]
    assert kind == disposition
    assert extended == "filename*=UTF-8''" + quote(name, safe="")
    assert plain.isascii() and plain.startswith('filename="') and plain.count('"') == 2


def test_curl_saves_it_under_its_name(files, tmp_path):
    need("curl")
    files.ask("PUT", "n/curl file.bin", b"content")
    url = f"http://127.0.0.1:{files.server.port}{files._prefix}n/curl%20file.bin"
    subprocess.run(["curl", "-sOJ", url], cwd=tmp_path, check=True, timeout=20)
    (saved,) = tmp_path.iterdir()
    assert saved.read_bytes() == b"content"
    assert saved.name in ("curl file.bin", "curl%20file.bin")


def test_times(files):
    before = int(time.time())
    files.ask("PUT", "t/a.txt", b"1")
    answer = files.both("t/a.txt")
    if files.kind == "embedded":
        assert "last-modified" not in answer.headers
        future = formatdate(time.time() + 100, usegmt=True)
        assert files.both("t/a.txt", If_Modified_Since=future).status == 200
        return
    changed = parsedate_to_datetime(answer.headers["last-modified"]).timestamp()
    assert before - 2 <= changed <= time.time() + 2
    same, older = (formatdate(changed - seconds, usegmt=True) for seconds in (0, 10))
    assert files.both("t/a.txt", If_Modified_Since=same).status == 304
    assert files.both("t/a.txt", If_Modified_Since=older).status == 200
    assert files.both("t/a.txt", If_Modified_Since="nonsense").status == 200
    # RFC 9110 13.2.2: an ETag tells more.
    assert files.both("t/a.txt", If_Modified_Since=same, If_None_Match='"another"').status == 200
    assert files.both("t/a.txt", If_Modified_Since=older, If_None_Match=answer.headers["etag"]).status == 304
    assert files.both("t/a.txt", If_Unmodified_Since=older).status == 412
    assert files.both("t/a.txt", If_Unmodified_Since=same).status == 200


def test_a_suffix_of_an_empty_file(files):
    """RFC 9110 14.1.2: it is all of it."""
    files.ask("PUT", "r/empty", b"")
    assert files.ask("GET", "r/empty", Range="bytes=-5").status == 200
    assert files.ask("GET", "r/empty", Range="bytes=0-").status == 416
    files.ask("PUT", "r/short", b"abc")
    answer = files.ask("GET", "r/short", Range="bytes=-5")
    assert (answer.status, answer.body) == (206, b"abc")


@pytest.mark.parametrize("kind", ["embedded", "node"])
@pytest.mark.parametrize(
    "flags, expected",
    [
        (("--cache-control", "max-age=60"), "max-age=60"),
        (("--cache-control", "public, max-age=60", "--read-token", TOKEN), "private, max-age=60"),
        (("--read-token", TOKEN), "private"),
    ],
    ids=["open", "public and closed", "closed"],
)
def test_caches(kind, flags, expected, tmp_path):
    more = ("--write-token", "of-a-writer") if "--read-token" in flags else ()
    more += ("--node-secret", "s" * 20) if kind == "node" and more else ()
    files = make(kind, tmp_path, *flags, *more)
    files.ask("PUT", "a.jpg", b"x", Authorization="Bearer of-a-writer")
    answer = files.both("a.jpg", Authorization=f"Bearer {TOKEN}")
    assert answer.status == 200
    got = {part.strip() for part in answer.headers["cache-control"].split(",")}
    assert got >= {part.strip() for part in expected.split(",")}
    assert "public" not in got and ("private" in got) == ("private" in expected)
    files.server.stop()


def test_a_shared_cache_gives_nobody_what_needs_a_token(tmp_path):
    need("nginx")
    flags = ("--read-token", TOKEN, "--write-token", "of-a-writer", "--node-secret", "s" * 20)
    node = SfssNode(tmp_path / "node", *flags)
    put = ask(node.port, request("PUT", "/a.jpg", b"secret", {"Authorization": "Bearer of-a-writer"}))
    port = free_port()
    conf = (
        f"proxy_cache_path {tmp_path}/cache keys_zone=one:1m;\nserver {{ listen 127.0.0.1:{port};"
        f" location / {{ proxy_cache one; proxy_pass http://127.0.0.1:{node.port}; }} }}"
    )
    nginx = start_nginx(tmp_path, conf, port)
    target = put.headers["location"]
    for _ in range(2):
        with_token = ask(port, request("GET", target, headers={"Authorization": f"Bearer {TOKEN}"}))
        assert (with_token.status, with_token.body) == (200, b"secret")
        assert ask(port, request("GET", target)).status == 401
    nginx.stop()
    node.stop()


def test_location_encodes_only_what_a_path_must(tmp_path):
    """RFC 3986 3.3; Django's storage finds the file under what it reads there."""
    node = SfssNode(tmp_path)
    plain = "(a)+,@&'!;=:$*~-._"
    answer = ask(node.port, request("PUT", "/" + quote(f"d/{plain} ä%.txt", safe="/"), b"x"))
    location = answer.headers["location"]
    assert location.startswith("/d/" + plain)
    assert "%20%C3%A4%25" in location
    assert ask(node.port, request("GET", location)).body == b"x"
    page = ask(node.port, request("GET", "/"))
    assert (page.status, page.headers["location"]) == (302, "_page/")  # behind any prefix
    node.stop()
