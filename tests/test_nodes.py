"""One node over HTTP: names, statuses, headers, doors; and names that mean harm."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from pathlib import Path
from urllib.parse import quote

import pytest

from sfss.cli.node import make_node
from sfss.config.node import NodeSettings
from tests.conftest import cannot, need
from tests.http import Answer, RawClient, ask, request
from tests.programs import (
    Program,
    SfssNode,
    can_mount,
    free_port,
    start_nginx,
    start_node_on_a_small_disk,
)

CONTENT = b"content of a file\n"
SHA1 = sha1(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    node = SfssNode(tmp_path_factory.mktemp("generated"), "--no-access-log")
    yield node
    assert node.stop() == 0
    assert "Traceback" not in node.printed()


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    node = SfssNode(tmp_path_factory.mktemp("exact"), "--no-access-log", "--names", "exact")
    yield node
    assert node.stop() == 0
    assert "Traceback" not in node.printed()


def send(node, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(node.port, request(method, target, body, given))


def put(node, name: str, content: bytes = CONTENT, **headers: str) -> str:
    """The URL of the file."""
    answer = send(node, "PUT", name, content, **headers)
    assert answer.status in (201, 204, 302), answer
    return answer.headers.get("location", name)


# As cockatiel's documentation tells it.


@pytest.mark.parametrize("fast", [True, False])
def test_generated_names(generated, fast):
    headers = {} if fast else {"X_Content_SHA1": SHA1}
    before = int(time.time() * 1000)
    answer = send(generated, "PUT", f"/photos/cat.{fast}.jpg", CONTENT, **headers)
    assert answer.status == 201
    match = re.fullmatch(
        rf"/photos/cat\.{fast}_([0-9]{{13}})_([0-9a-f]{{40}})\.jpg", answer.headers["location"]
    )
    assert match[2] == SHA1 == answer.headers["x-content-sha1"]
    assert before <= int(match[1]) <= time.time() * 1000
    assert json.loads(answer.body)["path"] == answer.headers["location"][1:]
    again = send(generated, "PUT", answer.headers["location"], CONTENT, **headers)
    assert (again.status, again.headers["location"]) == (302, answer.headers["location"])


@pytest.mark.parametrize("name", ["/no-extension", "/.hidden", "/a.b/c", "/sp%20ace/%C3%BC.txt"])
def test_generated_names_of_every_kind(generated, name):
    url = put(generated, name)
    answer = send(generated, "GET", url)
    assert (answer.status, answer.body) == (200, CONTENT)


def test_get_and_head(generated):
    url = put(generated, "/a.jpg")
    answers = [
        send(generated, "GET", url),
        send(generated, "GET", url, Accept_Ranges="x"),  # the slow path
        send(generated, "HEAD", url),
    ]
    for answer in answers:
        assert answer.status == 200
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-sha1"] == SHA1
        assert "max-age=31536000" in answer.headers["cache-control"]
        assert answer.headers["content-length"] == str(len(CONTENT))
        assert answer.headers.keys() == answers[0].headers.keys()
    etag = answers[0].headers["etag"]
    assert answers[2].body == b""
    for method in ("GET", "HEAD"):
        answer = send(generated, method, url, If_None_Match=etag)
        assert (answer.status, answer.body) == (304, b"")
        assert "max-age" in answer.headers["cache-control"]
        assert send(generated, method, url + "x").status == 404
    part = send(generated, "GET", url, Range="bytes=3-6")
    assert (part.status, part.body) == (206, CONTENT[3:7])
    assert send(generated, "GET", url + "?v=2").body == CONTENT


@pytest.mark.parametrize("digest", ["0" * 40, "x", "", SHA1[:-1]])
def test_a_wrong_sha1_is_refused(generated, digest):
    answer = send(generated, "PUT", "/wrong.txt", CONTENT, X_Content_SHA1=digest)
    assert answer.status == 400
    assert not list(Path(generated.storage).rglob("wrong*"))


def test_the_sha1_may_be_in_upper_case(generated):
    assert send(generated, "PUT", "/upper.txt", CONTENT, X_Content_SHA1=SHA1.upper()).status == 201


def test_delete(generated):
    url = put(generated, "/deleted.txt")
    assert send(generated, "DELETE", url).status == 200
    assert send(generated, "GET", url).status == 404
    assert send(generated, "DELETE", url).status == 404
    answer = send(generated, "PUT", url, CONTENT)
    assert answer.status == 409
    assert "deleted" in json.loads(answer.body)["detail"]


def test_a_slow_body_is_ended(tmp_path):
    node = SfssNode(tmp_path, "--upload-timeout", "0.3")
    with RawClient(node.port) as client:
        client.send(b"PUT /slow HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nabc")
        assert client.answer().status == 408
    node.stop()


def test_status(generated):
    assert send(generated, "PUT", "/status/of/one.txt", b"x").status == 201
    answer = send(generated, "GET", "/_status")
    assert answer.status == 200
    status = json.loads(answer.body)
    assert status["queues"] == {}
    assert status["files"] > 0 and len(status["node"]) == 16


# As a media server, for django-resto and django_dust.


def test_exact_names(exact):
    assert send(exact, "PUT", "/media/a.txt", b"1").status == 201
    assert send(exact, "PUT", "/media/a.txt", b"2").status == 204
    answer = send(exact, "GET", "/media/a.txt")
    assert (answer.body, "cache-control" in answer.headers) == (b"2", False)
    assert (Path(exact.storage) / "media/a.txt").read_bytes() == b"2"
    assert send(exact, "DELETE", "/media/a.txt").status == 204
    assert send(exact, "DELETE", "/media/a.txt").status == 404
    assert send(exact, "GET", "/media/a.txt").status == 404
    assert send(exact, "PUT", "/media/a.txt", b"3").status == 201


def test_conditional_writes_of_exact_names(exact):
    assert send(exact, "PUT", "/cond", b"1", If_None_Match="*").status == 201
    assert send(exact, "PUT", "/cond", b"2", If_None_Match="*").status == 412
    etag = send(exact, "GET", "/cond").headers["etag"]
    assert send(exact, "PUT", "/cond", b"2", If_Match='"other"').status == 412
    assert send(exact, "DELETE", "/cond", If_Match='"other"').status == 412
    assert send(exact, "PUT", "/cond", b"2", If_Match=etag).status == 204


def test_a_form_is_a_file_like_others(exact):
    body = b'--x\r\nContent-Disposition: form-data; name="upload_file"; filename="f"\r\n\r\nfile\r\n--x--\r\n'
    put(exact, "/form", body, Content_Type="multipart/form-data; boundary=x")
    assert send(exact, "GET", "/form").body == body


def test_too_large(tmp_path):
    node = SfssNode(tmp_path, "--max-file-size", 1000)
    assert send(node, "PUT", "/x", b"x" * 1000).status == 201
    assert send(node, "PUT", "/x", b"x" * 1001).status == 413
    node.stop()


def test_nginx_serves_the_files_as_they_lie(exact, tmp_path):
    need("nginx")
    port = free_port()
    server = f"server {{ listen 127.0.0.1:{port}; location / {{ root {exact.storage}; }} "
    nginx = start_nginx(tmp_path, server + "location ~ ^/\\.sfss { return 404; } }", port)
    try:
        for name in ("/n/a.txt", "/n/%C3%BC%20b.txt"):
            put(exact, name, name.encode())
            answer = ask(port, request("GET", name))
            assert (answer.status, answer.body) == (200, name.encode())
        send(exact, "DELETE", "/n/a.txt")
        assert ask(port, request("GET", "/n/a.txt")).status == 404
    finally:
        nginx.stop()


# Names that mean harm.

HOSTILE = [
    "//etc/passwd",
    "/../../../../etc/passwd",
    "/..",
    "/a/../../b",
    "/..%2f..%2fetc%2fpasswd",
    "/%2e%2e/x",
    "/%2e%2e%2fx",
    "/a/%2e%2e/%2e%2e/x",
    "/a//b",
    "/a/./b",
    "/a/",
    "/%2fetc/passwd",
    "/a%5cb",
    "/a%00b",
    "/a%0ab",
    "/a%0d%0ab",
    "/a%7f",
    "/a%c2%85b",
    "/%ff%fe",
    "/a%ed%a0%80",
    "/a#b",
    "/" + "x" * 1025,
    "/" + "/".join("x" * 100 for _ in range(11)),
    "/_status",
    "/_verify",
    "/_replication",
    "/_page",
    "/_page/x",
    "/metrics",
    "/healthz",
    "/readyz",
    "/_%73tatus",
]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_change_nothing(exact, name, method):
    outside = sorted(os.listdir(exact.storage.parent))
    files = sorted(exact.storage.rglob("*"))
    answer = send(exact, method, name, b"harm" if method == "PUT" else b"")
    assert answer.status in (400, 405), answer
    assert sorted(os.listdir(exact.storage.parent)) == outside
    assert sorted(exact.storage.rglob("*")) == files
    assert b"root:" not in answer.body


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_read_nothing(exact, name):
    for method in ("GET", "HEAD"):
        answer = send(exact, method, name)
        assert answer.status < 500
        assert b"root:" not in answer.body


def test_requests_that_are_hardly_any(exact):
    """Without a User-Agent, without a Host, in the absolute form, and in pieces."""
    put(exact, "/plain", CONTENT)
    assert ask(exact.port, b"GET /plain HTTP/1.1\r\nHost: t\r\n\r\n").body == CONTENT
    assert ask(exact.port, b"GET http://t/plain HTTP/1.1\r\nHost: t\r\n\r\n").body == CONTENT
    assert ask(exact.port, b"GET /plain HTTP/1.0\r\n\r\n").body == CONTENT
    assert ask(exact.port, b"GET http://t/../plain HTTP/1.1\r\nHost: t\r\n\r\n").status == 400
    assert ask(exact.port, b"GET /\x00 HTTP/1.1\r\nHost: t\r\n\r\n").status == 400


def test_symbolic_links_are_not_followed(exact, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (exact.storage / "link").symlink_to(tmp_path / "secret")
    (exact.storage / "folder").symlink_to(tmp_path)
    for name in ("/link", "/folder/secret"):
        assert send(exact, "GET", name).status == 404
        assert send(exact, "DELETE", name).status == 404
        put(exact, name, b"mine")
        assert send(exact, "GET", name).body == b"mine"
        assert send(exact, "DELETE", name).status == 204
    assert (tmp_path / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize(
    "name",
    ["/.sfss/owner", "/.sfss/temporary/x", "/.SFSS/x", "/" + "x" * 255, "/" + "x" * 256]
    + ["/" + "x" * 1024, "/" + "/".join("y" * 512), "/" + quote("ü" * 130), "/CON", "/a:b", "/~", "/-rf"],
)
def test_names_that_file_systems_do_not_like(exact, name):
    put(exact, name, name.encode())
    assert send(exact, "GET", name).body == name.encode()
    put(exact, name, b"again")
    assert send(exact, "GET", name).body == b"again"
    assert send(exact, "DELETE", name).status == 204
    assert send(exact, "GET", name).status == 404


def test_names_that_differ_only_by_normalisation_are_two_names(exact):
    names = {form: "/" + quote(unicodedata.normalize(form, "été.txt")) for form in ("NFC", "NFD")}
    for form, name in names.items():
        put(exact, name, form.encode())
    put(exact, "/Case", b"upper")
    put(exact, "/case", b"lower")
    for form, name in names.items():
        assert send(exact, "GET", name).body == form.encode()
    assert send(exact, "GET", "/Case").body == b"upper"


def test_a_file_and_a_folder_of_the_same_name(exact):
    put(exact, "/both", b"file")
    put(exact, "/both/inner", b"inner")
    assert send(exact, "GET", "/both").body == b"file"
    assert send(exact, "GET", "/both/inner").body == b"inner"


def test_a_generated_name_may_become_too_long(generated):
    assert send(generated, "PUT", "/" + "x" * 960, CONTENT).status == 201
    answer = send(generated, "PUT", "/" + "x" * 1000, CONTENT)
    assert answer.status == 400


# Auth, figures, the page.


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    node = SfssNode(
        tmp_path_factory.mktemp("closed"),
        "--names",
        "exact",
        "--node",
        "http://127.0.0.1:9",
        "--write-token",
        "writer",
        "--read-token",
        "reader",
        "--node-secret",
        "neighbour",
    )
    yield node
    assert node.stop() == 0


def test_auth(closed):
    def status(method, target, token=None, body=b""):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return send(closed, method, target, body, **headers).status

    assert status("PUT", "/x", body=b"1") == 401
    assert status("PUT", "/x", "reader", b"1") == 401
    assert status("PUT", "/x", "neighbour", b"1") == 401
    assert status("PUT", "/x", "writer", b"1") == 201
    assert status("GET", "/x") == 401
    assert status("GET", "/x", "reader") == 200
    assert status("DELETE", "/x", "reader") == 401
    assert status("POST", "/_verify") == 401
    assert status("POST", "/_verify", "writer") == 202
    for target in ("/_status", "/metrics", "/_page/page.json"):
        assert status("GET", target) == 401
        assert status("GET", target, "reader") == 200
    for target in ("/openapi.json", "/page.css", "/page.js"):  # files like others
        assert status("PUT", target, "writer", b"1") == 201
        assert status("GET", target) == 401
    for target in ("/healthz", "/readyz", "/_page/", "/_page/page.css"):
        assert status("GET", target) == 200
    assert status("POST", "/_replication", None, b"x") == 401
    assert status("POST", "/_replication", "writer", b"x") == 401
    assert status("POST", "/_replication", "neighbour", b"x") == 401  # it is never sent
    assert status("PUT", "/x", "neighbour", b"1") == 401
    assert send(closed, "POST", "/_verify", Authorization="Bearer writer", Origin="http://e").status == 403


def test_a_read_token_closes_the_way_of_the_nodes_too(tmp_path):
    node = SfssNode(tmp_path, "--read-token", "reader")
    for token in ("reader", "other"):
        answer = send(node, "POST", "/_replication", b"x", Authorization=f"Bearer {token}")
        assert answer.status == 403
    node.stop()


def test_networks(tmp_path):
    node = SfssNode(tmp_path, "--allow-writes-from", "10.0.0.0/8")
    assert send(node, "PUT", "/x", b"1").status == 403
    assert send(node, "POST", "/_replication", b"1").status == 403
    assert send(node, "GET", "/x").status == 404
    node.stop()


def test_metrics_and_health(exact):
    metrics = send(exact, "GET", "/metrics").body.decode()
    for name in ("sfss_node_files", "sfss_node_tombstones", "sfss_requests_total", "sfss_store_writable"):
        assert re.search(rf"^{name}", metrics, re.MULTILINE), name
    assert send(exact, "GET", "/healthz").status == 200
    assert send(exact, "GET", "/readyz").status == 200


def test_the_page_has_its_own_place(exact, tmp_path):
    answer = send(exact, "GET", "/")
    assert (answer.status, answer.headers["location"]) == (302, "_page/")
    assert b"<html" in send(exact, "GET", "/_page/").body
    figures = json.loads(send(exact, "GET", "/_page/page.json").body)
    assert "sfss_node_files" in figures["figures"]
    put(exact, "/page.css", b"mine")
    assert send(exact, "GET", "/page.css").body == b"mine"
    node = SfssNode(tmp_path, "--no-page")
    assert send(node, "GET", "/").status == 404
    assert send(node, "GET", "/_page/").status == 400
    node.stop()


def test_urls_of_new_files(tmp_path):
    node = SfssNode(tmp_path, "--url", "https://media.example.org/files/")
    location = put(node, "/a b.txt".replace(" ", "%20"))
    assert re.fullmatch(r"https://media\.example\.org/files/a%20b_\d{13}_[0-9a-f]{40}\.txt", location)
    node.stop()


# The command.


def run(*flags: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sfss", "node", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_command_of_cockatiel_works(tmp_path):
    node = Program(
        [sys.executable, "-m", "sfss", "node", "-p", "0", "-H", "127.0.0.1"]
        + ["--storage", tmp_path / "s", "--queue", tmp_path / "q", "--url=http://10.1.1.1:8123/foo"]
        + [
            "--node",
            "http://127.0.0.1:9",
            "--node=http://127.0.0.1:10/x",
            "--proxy=http://127.0.0.1:11",
            "-v",
        ]
    )
    port = int(node.wait_for_line(r"listening url=\S+:(\d+)")[1])
    answer = ask(port, request("PUT", "/x.txt", b"1"))
    assert answer.headers["location"].startswith("http://10.1.1.1:8123/foo/x_")
    status = json.loads(ask(port, request("GET", "/_status")).body)
    assert status["queues"] == {"http://127.0.0.1:9": {"length": 1}, "http://127.0.0.1:10/x": {"length": 1}}
    assert node.stop() == 0


@pytest.mark.parametrize(
    "flags, complaint",
    [
        ([], "--storage PATH"),
        (["--storage", "{}/s"], "--queue PATH"),
        (["--storage", "{}/s", "--queue", "{}/s/q"], "lies in the storage"),
        (["--storage", "{}/s", "--queue", "{}/s"], "lies in the storage"),
        (["--storage", "{}/s", "--queue", "{}/q", "--node", "10.0.0.1:80"], "not a URL"),
        (["--storage", "{}/s", "--queue", "{}/q", "--node", "http://a", "--node", "http://a/"], "twice"),
        (["--storage", "{}/s", "--queue", "{}/q", "--names", "other"], "generated or exact"),
        (["--storage", "{}/s", "--queue", "{}/q", "--write-quorum", "2"], "only 1 nodes"),
        (
            ["--storage", "{}/s", "--queue", "{}/q", "--node", "http://a", "--write-token", "x"],
            "node_secret",
        ),
    ],
)
def test_what_cannot_be_is_said(tmp_path, flags, complaint):
    result = run("--port", 0, *(flag.format(tmp_path) for flag in flags))
    assert result.returncode in (1, 2)
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_one_node_to_a_folder(exact, tmp_path):
    for storage, queue in ((exact.storage, tmp_path / "q"), (tmp_path / "s", exact.queue)):
        result = run("--port", 0, "--storage", storage, "--queue", queue)
        assert (result.returncode, "in use" in result.stderr) == (1, True), result.stderr


def test_verify_from_the_command_line(tmp_path):
    port = free_port()
    flags = ("--names", "exact")
    node = SfssNode(tmp_path, *flags, port=port)
    for number in range(5):
        put(node, f"/f/{number}", b"%d" % number)
    folders = ("--storage", node.storage, "--queue", node.queue, "--port", port)
    result = run("verify", *folders, *flags)
    assert (result.returncode, result.stdout[:15]) == (0, "5 files checked"), result
    (node.storage / "f/1").write_bytes(b"rotten")
    (node.storage / "put/by").mkdir(parents=True)
    (node.storage / "put/by/hand").write_bytes(b"found")
    result = run("verify", *folders, *flags)
    assert result.returncode == 1
    assert (
        "1 damaged" in result.stdout and "1 found" in result.stdout and "could not be healed" in result.stderr
    )
    node.stop()
    result = run("verify", *folders, *flags)
    assert result.returncode == 1
    assert "6 files checked, 1 damaged" in result.stdout


def test_files_that_were_there_before_are_the_nodes_own(tmp_path):
    (tmp_path / "storage/old").mkdir(parents=True)
    for number in range(20):
        (tmp_path / f"storage/old/{number}.jpg").write_bytes(b"%d" % number)
    node = SfssNode(tmp_path)
    answer = send(node, "GET", "/old/7.jpg")
    assert (answer.status, answer.body) == (200, b"7")
    node.wait_for_line(r"verified .*adopted=(19|20)")
    assert json.loads(send(node, "GET", "/_status").body)["files"] == 20
    (tmp_path / "storage/later.txt").write_bytes(b"later")
    assert send(node, "GET", "/later.txt").body == b"later"
    (tmp_path / "storage/unread.txt").write_bytes(b"unread")
    assert send(node, "DELETE", "/unread.txt").status == 200
    assert not (tmp_path / "storage/unread.txt").exists()
    node.stop()


def test_a_full_disk(tmp_path):
    for name in ("storage", "queue"):
        (tmp_path / name).mkdir()
    if not can_mount(tmp_path):
        cannot("mounting is not possible here")
    node = start_node_on_a_small_disk(tmp_path, 24, "--names", "exact")
    statuses = [send(node, "PUT", f"/f/{n}", bytes(500_000)).status for n in range(60)]
    assert statuses[0] == 201
    assert statuses[-1] == 507
    assert set(statuses) == {201, 507}
    assert send(node, "GET", "/f/0").body == bytes(500_000)
    for n in range(statuses.count(201)):
        assert send(node, "DELETE", f"/f/{n}").status == 204
    deadline = time.monotonic() + 60
    while send(node, "PUT", "/again", bytes(500_000)).status != 201:
        assert time.monotonic() < deadline  # the log is cut a little later
        time.sleep(0.5)
    assert node.stop() == 0


def test_a_thousand_connections(exact):
    put(exact, "/many", CONTENT)
    clients = [socket.create_connection(("127.0.0.1", exact.port)) for _ in range(1000)]
    try:
        for client in clients:
            client.sendall(b"GET /many HTTP/1.1\r\nHost: t\r\n\r\n")
        for client in clients:
            assert client.recv(12) == b"HTTP/1.1 200"
        for number, client in enumerate(clients):
            client.sendall(request("PUT", f"/many/{number}", b"x" * 100))
        for client in clients:
            data = b""
            while b"HTTP/1.1 201" not in data:
                data += client.recv(4096)
    finally:
        for client in clients:
            client.close()


# One upload that is sent twice is one file.


@pytest.mark.parametrize("fast", [True, False])
def test_the_same_upload_again_is_the_same_file(generated, fast):
    headers = {} if fast else {"X_Content_SHA1": SHA1}
    name = f"/retried-{fast}.txt"
    first = send(generated, "PUT", name, CONTENT, **headers)
    again = send(generated, "PUT", name, CONTENT, **headers)
    assert (first.status, again.status) == (201, 302)
    assert first.headers["location"] == again.headers["location"]
    other = send(generated, "PUT", name, CONTENT + b"!")
    assert other.status == 201 and other.headers["location"] != first.headers["location"]
    # What is deleted does not come back by that: it is a new file.
    assert send(generated, "DELETE", first.headers["location"]).status == 200
    anew = send(generated, "PUT", name, CONTENT, **headers)
    assert anew.status == 201 and anew.headers["location"] != first.headers["location"]


def test_of_many_uploads_at_once_one_makes_the_file(generated):
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: send(generated, "PUT", "/at-once.txt", CONTENT), range(20)))
    assert sorted(answer.status for answer in answers) == [201] + [302] * 19
    assert len({answer.headers["location"] for answer in answers}) == 1


def test_the_same_name_and_content_a_second_later_is_a_new_file(generated):
    first = send(generated, "PUT", "/later.txt", CONTENT)
    time.sleep(1.1)
    second = send(generated, "PUT", "/later.txt", CONTENT)
    assert second.status == 201 and second.headers["location"] != first.headers["location"]


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"another"])
def test_a_generated_name_that_is_deleted_is_not_used_again(generated, content):
    url = put(generated, f"/once-{len(content)}.txt")
    assert send(generated, "DELETE", url).status == 200
    for headers in ({}, {"Accept_Language": "x"}):
        assert send(generated, "PUT", url, content, **headers).status == 409


async def test_a_start_that_fails_lets_go_of_everything(tmp_path):
    settings = NodeSettings(storage=str(tmp_path / "storage"), queue=str(tmp_path / "queue"))
    node, _ = make_node(settings)

    def fails():
        raise OSError("no transport")

    node._open_transport = fails
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="no transport"):
        await node.start()
    await node.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert "replica" not in [thread.name for thread in threading.enumerate()]
    again, _ = make_node(settings)
    await again.start()
    await again.close()
