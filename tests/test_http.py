"""The HTTP API from outside: the real server, over every store."""

import json
import random
import subprocess
import time
from urllib.parse import quote

import pytest

from sfss.models import etag_of
from tests.http import Answer, RawClient, ask, form, request
from tests.programs import Sfss, free_port

LIMIT = 2 * 1024 * 1024


@pytest.fixture
def server(each_store):
    server = Sfss(*each_store)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """One server on the embedded store, for what has nothing to do with the store."""
    server = Sfss("--data", tmp_path_factory.mktemp("data"), "--upload-timeout", 1)
    yield server
    server.stop()
    assert "Traceback" not in server.printed() if not server.output.closed else True


def problem(answer: Answer, status: int) -> str:
    """The sentence of an error, when it is one in our form."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.body)
    assert document["status"] == status
    assert document["title"] and document["detail"]
    return document["detail"]


def test_the_documented_api_with_curl(server, tmp_path):
    """seeds/sfss.rst, "test with curl"."""

    def curl(*arguments) -> bytes:
        command = ["curl", "-sS", "--fail-with-body", *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True).stdout

    content = random.Random(3).randbytes(LIMIT)
    (tmp_path / "file").write_bytes(content)
    upload = ["-F", f"upload_file=@{tmp_path / 'file'}"]
    created = curl("-i", *upload, "-X", "POST", f"{server.url}/files?path=file/path/to/save")
    assert b"HTTP/1.1 201 Created" in created
    assert b"Location: /file?path=file/path/to/save" in created
    assert curl(f"{server.url}/file?path=file/path/to/save") == content
    (tmp_path / "file").write_bytes(b"")
    curl(*upload, "-X", "PUT", f"{server.url}/file?path=file/path/to/save")
    assert curl(f"{server.url}/file?path=file/path/to/save") == b""
    curl("-X", "DELETE", f"{server.url}/file?path=file/path/to/save")
    with pytest.raises(subprocess.CalledProcessError):
        curl(f"{server.url}/file?path=file/path/to/save")


@pytest.mark.parametrize("size", [0, 1, 1000, 70_000, LIMIT])
def test_raw_and_form_bring_the_same_bytes(server, size):
    content = random.Random(size).randbytes(size)
    body, headers = form(content)
    chunked = b"".join(
        b"%x\r\n%b\r\n" % (len(part), part)
        for part in (content[i : i + 50_000] for i in range(0, size, 50_000))
    )
    chunked_head = b"PUT /file?path=a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    with RawClient(server.port) as client:
        for put in (
            request("PUT", "/file?path=a", content),
            request("PUT", "/file?path=a", body, headers),
            chunked_head + chunked + b"0\r\n\r\n",
        ):
            answer = client.ask(put)
            assert answer.status == 200, answer
            assert answer.headers["etag"] == f'"{etag_of(content)}"'
            got = client.ask(request("GET", "/file?path=a"))
            assert (got.status, got.body) == (200, content)
            client.ask(request("PUT", "/file?path=a", b"something else"))


def test_all_kinds_of_answers(server):
    path = "/file?path=kinds/photo.jpeg"
    content = b"0123456789"
    with RawClient(server.port) as client:
        created = client.ask(request("POST", "/files?path=kinds/photo.jpeg", content))
        assert created.status == 201
        assert created.headers["location"] == path
        assert json.loads(created.body) == {
            "path": "kinds/photo.jpeg",
            "size": 10,
            "etag": etag_of(content),
        }
        etag = created.headers["etag"]

        got = client.ask(request("GET", path))
        assert (got.status, got.body) == (200, content)
        assert got.headers["content-type"] == "image/jpeg"
        assert got.headers["content-length"] == "10"
        assert got.headers["accept-ranges"] == "bytes"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["etag"] == etag

        head = client.ask(request("HEAD", path))
        assert head.status == 200
        same = {"content-type", "content-length", "etag", "accept-ranges"}
        assert {n: head.headers[n] for n in same} == {n: got.headers[n] for n in same}

        for method in ("GET", "HEAD"):
            for tags in (etag, f"W/{etag}", f'"x", {etag}', "*"):
                answer = client.ask(request(method, path, headers={"If-None-Match": tags}))
                assert (answer.status, answer.body) == (304, b"")
                assert answer.headers["etag"] == etag
            answer = client.ask(request(method, path, headers={"If-Match": '"another"'}))
            assert answer.status == 412

        for asked, body, told in [
            ("bytes=0-0", b"0", "bytes 0-0/10"),
            ("bytes=3-5", b"345", "bytes 3-5/10"),
            ("bytes=7-", b"789", "bytes 7-9/10"),
            ("bytes=-2", b"89", "bytes 8-9/10"),
            ("bytes=5-999", b"56789", "bytes 5-9/10"),
        ]:
            part = client.ask(request("GET", path, headers={"Range": asked}))
            assert (part.status, part.body) == (206, body)
            assert part.headers["content-range"] == told
        beyond = client.ask(request("GET", path, headers={"Range": "bytes=10-"}))
        problem(beyond, 416)
        assert beyond.headers["content-range"] == "bytes */10"

        problem(client.ask(request("PUT", path, b"x", {"If-None-Match": "*"})), 412)
        problem(client.ask(request("PUT", path, b"x", {"If-Match": '"another"'})), 412)
        problem(client.ask(request("DELETE", path, headers={"If-Match": '"another"'})), 412)
        assert client.ask(request("GET", path)).body == content
        assert client.ask(request("PUT", path, b"x", {"If-Match": etag})).status == 200
        assert client.ask(request("DELETE", path)).status == 204
        problem(client.ask(request("DELETE", path)), 404)
        problem(client.ask(request("GET", path)), 404)
        assert client.ask(request("HEAD", path)).status == 404
        problem(client.ask(request("PUT", path, b"x", {"If-Match": "*"})), 412)
        assert client.ask(request("PUT", path, b"x", {"If-None-Match": "*"})).status == 200


def test_paths_are_decoded_once(server):
    paths = {
        "a b": ["a%20b", "a+b"],
        "a+b": ["a%2Bb"],
        "100%25": ["100%2525"],
        "名前/é.png": [quote("名前/é.png"), quote("名前/é.png", safe="").lower()],
        "a&b=c": ["a%26b%3Dc"],
        "?x": ["?x", "%3Fx"],
    }
    with RawClient(server.port) as client:
        for path, spellings in paths.items():
            for spelling in spellings:
                created = client.ask(request("POST", f"/files?path={spelling}", path.encode()))
                assert json.loads(created.body)["path"] == path
                location = created.headers["location"]
                assert client.ask(request("GET", location)).body == path.encode()


def test_status(server):
    ask(server.port, request("PUT", "/file?path=s", b"x"))
    answer = ask(server.port, request("GET", "/status"))
    if "twemproxy" in str(server.process.args) or answer.status == 504:
        # twemproxy knows no stats: nobody can say.
        problem(answer, 504)
        return
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    figures = json.loads(answer.body)
    assert figures
    for address, stats in figures.items():
        assert address.startswith(("127.0.0.1:", "sqlite:"))
        assert stats and all(isinstance(value, str) for value in stats.values())


def test_full_status(embedded):
    answer = ask(embedded.port, request("GET", "/status?full=1"))
    figures = json.loads(answer.body)
    assert list(figures) == ["storages", "webserver"]
    web = figures["webserver"]
    assert web["pid"] == str(embedded.pid)
    assert {"version", "uptime", "requests", "bytes_in", "bytes_out", "memory_bytes"} <= set(web)
    assert {"latency_p50_ms", "latency_p90_ms", "latency_p99_ms"} <= set(web)
    assert 10_000_000 < int(web["memory_bytes"]) < 80_000_000
    (storage,) = figures["storages"].values()
    assert "curr_items" in storage
    problem(ask(embedded.port, request("GET", "/status?full=maybe")), 400)


def test_health(server):
    for target in ("/healthz", "/readyz"):
        answer = ask(server.port, request("GET", target))
        assert (answer.status, answer.body) == (200, b"ok\n")
        assert answer.headers["cache-control"] == "no-store"


def test_no_proxy_is_504():
    server = Sfss("--proxy", f"127.0.0.1:{free_port()}", "--connect-timeout", 0.5)
    try:
        assert ask(server.port, request("GET", "/healthz")).status == 200
        problem(ask(server.port, request("GET", "/readyz")), 503)
        for method, target in [
            ("GET", "/file?path=a"),
            ("HEAD", "/file?path=a"),
            ("PUT", "/file?path=a"),
            ("POST", "/files?path=a"),
            ("DELETE", "/file?path=a"),
            ("GET", "/status"),
        ]:
            answer = ask(server.port, request(method, target))
            assert answer.status == 504
            if method != "HEAD":
                problem(answer, 504)
    finally:
        server.stop()


BAD_QUERIES = {
    "": "missing",
    "?": "missing",
    "?other=a": "missing",
    "?path": "empty",
    "?path=": "empty",
    "?path=a&path=b": "repeated",
    "?path=a&%70ath=a": "repeated",
    "?path=/a": "begins with '/'",
    "?path=a//b": "//",
    "?path=a/": "ends with '/'",
    "?path=a%5Cb": "backslash",
    "?path=.": "'.' or '..'",
    "?path=..": "'.' or '..'",
    "?path=a/../b": "'.' or '..'",
    "?path=a/./b": "'.' or '..'",
    "?path=%2e%2e/etc/passwd": "'.' or '..'",
    "?path=%2Fetc/passwd": "begins with '/'",
    "?path=a%00b": "control",
    "?path=a%0Ab": "control",
    "?path=a%7F": "control",
    "?path=%C2%85": "control",
    "?path=%FF": "UTF-8",
    "?path=%ED%A0%80": "UTF-8",
    "?path=%C3": "UTF-8",
    "?path=" + "x" * 1025: "1025 bytes",
    "?path=" + "%C3%A9" * 513: "1026 bytes",
}


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_bad_paths(embedded, query):
    for method, target in [("GET", "/file"), ("PUT", "/file"), ("DELETE", "/file"), ("POST", "/files")]:
        detail = problem(ask(embedded.port, request(method, target + query)), 400)
        assert BAD_QUERIES[query] in detail


def test_raw_bytes_that_are_not_utf8(embedded):
    answer = ask(embedded.port, b"GET /file?path=\xff\xfe HTTP/1.1\r\nHost: t\r\n\r\n")
    problem(answer, 400)


def test_no_such_thing(embedded):
    problem(ask(embedded.port, request("GET", "/nothing")), 404)
    for target, allowed in [("/file", "DELETE, GET, HEAD, PUT"), ("/files", "POST"), ("/status", "GET")]:
        answer = ask(embedded.port, request("PATCH", target + "?path=a"))
        problem(answer, 405)
        assert set(allowed.split(", ")) <= set(answer.headers["allow"].split(", "))


def test_garbage_gets_an_answer_in_our_form(embedded):
    for garbage in (b"garbage\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\r\n\r\n"):
        problem(ask(embedded.port, garbage), 400)
    both = b"PUT /file?path=a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    problem(ask(embedded.port, both), 400)


FORMS = {
    "no field": (form(b"x", field="another"), 400, "no field 'upload_file'"),
    "two files": (form(b"2", before=form(b"1")[0].removesuffix(b"--b0undary--\r\n")), 400, "two files"),
    "not closed": ((form(b"x")[0][:-4], form(b"x")[1]), 400, "cut off"),
    "wrong boundary": ((form(b"x")[0], {"Content-Type": "multipart/form-data; boundary=z"}), 400, "cut off"),
    "no boundary": ((form(b"x")[0], {"Content-Type": "multipart/form-data"}), 400, "boundary"),
    "empty boundary": ((form(b"x")[0], {"Content-Type": 'multipart/form-data; boundary=""'}), 400, "boundary"),
    "empty": ((b"", form(b"x")[1]), 400, "cut off"),
    "boundary of bytes": ((form(b"x")[0], {"Content-Type": 'multipart/form-data; boundary="\xff"'}), 400, "boundary"),
    "no name": (
        (form(b"x")[0].replace(b'; name="upload_file"', b""), form(b"x")[1]), 400, "no field",
    ),
    "too much around": (
        form(b"x", before=b'--b0undary\r\nContent-Disposition: form-data; name="note"\r\n\r\n' + b"n" * 70_000 + b"\r\n"),
        413, "outside of its field",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
def test_broken_forms(embedded, case):
    (body, headers), status, detail = FORMS[case]
    answer = ask(embedded.port, request("PUT", "/file?path=form", body, headers))
    assert detail in problem(answer, status)
    assert ask(embedded.port, request("GET", "/file?path=form")).status == 404


def test_other_fields_of_a_form_are_passed_over(embedded):
    note = b'--b0undary\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    body, headers = form(b"content", before=note)
    assert ask(embedded.port, request("PUT", "/file?path=noted", body, headers)).status == 200
    assert ask(embedded.port, request("GET", "/file?path=noted")).body == b"content"


def test_encoded_bodies_are_refused(embedded):
    for name, value, status in [
        ("Content-Encoding", "gzip", 415),
        ("Content-Range", "bytes 0-0/10", 400),
        ("Expect", "something", 417),
        ("Transfer-Encoding", "gzip, chunked", 400),
        ("If-Match", "unquoted", 400),
        ("If-None-Match", '"open', 400),
    ]:
        answer = ask(embedded.port, request("PUT", "/file?path=enc", b"x", {name: value}))
        problem(answer, status)


def test_the_limit_is_of_the_content(embedded):
    at, over = b"x" * LIMIT, b"x" * (LIMIT + 1)
    assert ask(embedded.port, request("PUT", "/file?path=l", at)).status == 200
    assert ask(embedded.port, request("PUT", "/file?path=l", *form(at))).status == 200
    problem(ask(embedded.port, request("PUT", "/file?path=l", over)), 413)
    problem(ask(embedded.port, request("PUT", "/file?path=l", *form(over))), 413)
    assert len(ask(embedded.port, request("GET", "/file?path=l")).body) == LIMIT


def test_an_announced_excess_is_refused_before_the_body(embedded):
    for extra in (b"", b"Expect: 100-continue\r\n"):
        head = b"PUT /file?path=l HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n" + extra
        answer = ask(embedded.port, head + b"\r\n")  # (408 would be: it has waited for the body)
        problem(answer, 413)
        assert answer.headers["connection"] == "close"


def test_chunked_excess_is_refused_at_the_byte(embedded):
    head = b"PUT /file?path=l HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    with RawClient(embedded.port) as client:
        client.send(head + b"%x\r\n" % LIMIT + b"x" * LIMIT + b"\r\n")
        client.send(b"1\r\nx\r\n")  # the end never comes
        problem(client.answer(), 413)


def test_expect_continue(embedded):
    head = b"PUT /file?path=e HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with RawClient(embedded.port) as client:
        client.send(head)
        assert client.answer().status == 100
        client.send(b"hello")
        assert client.answer().status == 200
        # What is wrong without the body is said before it is sent.
        client.send(head.replace(b"path=e", b"path=/e"))
        assert client.answer().status == 400


def test_a_refusal_before_the_body_closes_the_connection(embedded):
    """Whether the client still sends the body is its own choice: nothing behind can be a request."""
    head = b"PUT /file?path=/e HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with RawClient(embedded.port) as client:
        answer = client.ask(head)
        assert (answer.status, answer.headers["connection"]) == (400, "close")


def test_a_fragment_is_not_cut_off(embedded):
    problem(ask(embedded.port, request("PUT", "/file?path=a#1", b"x")), 400)


def test_a_client_that_has_said_all_still_hears_the_answer(server):
    for data, status in [
        (request("PUT", "/file?path=half", b"x" * 1000), 200),
        (request("PUT", "/file?path=half", b"x" * 1000, {"X-Slow": "yes"}), 200),
        (request("GET", "/file?path=half"), 200),
        (request("GET", "/file?path=half", headers={"X-Slow": "yes"}), 200),
        (request("GET", "/file?path=not-there"), 404),
    ]:
        with RawClient(server.port) as client:
            client.send(data)
            client.says_no_more()
            assert client.answer().status == status
            assert client.closed_by_server()


def test_slow_bodies_are_cut(embedded):
    with RawClient(embedded.port) as client:
        client.send(b"PUT /file?path=slow HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nx")
        problem(client.answer(), 408)


def test_a_body_cut_short_leaves_nothing(embedded):
    with RawClient(embedded.port) as client:
        client.send(b"PUT /file?path=cut HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf")
    time.sleep(0.1)
    assert ask(embedded.port, request("GET", "/file?path=cut")).status == 404


def test_request_ids(embedded):
    with RawClient(embedded.port) as client:
        first = client.ask(request("GET", "/file?path=none")).headers["x-request-id"]
        second = client.ask(request("GET", "/file?path=none")).headers["x-request-id"]
        assert first != second
        asked = {"X-Request-ID": "mine-1"}
        assert client.ask(request("GET", "/status", headers=asked)).headers["x-request-id"] == "mine-1"
        asked = {"X-Request-ID": 'a b="forged"'}
        assert " " not in client.ask(request("GET", "/status", headers=asked)).headers["x-request-id"]
    assert "status=404 bytes_in=0" in embedded.printed()
    assert f"request_id={first}" in embedded.printed()


def test_http_1_0(embedded):
    ask(embedded.port, request("PUT", "/file?path=old", b"content"))
    with RawClient(embedded.port) as client:
        answer = client.ask(b"GET /file?path=old HTTP/1.0\r\n\r\n")
        assert answer.body == b"content"
        assert client.closed_by_server()
