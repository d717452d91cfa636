"""Who may come in, against real servers; and what may not come out."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sfss.client import Client
from sfss.config.credentials import Credentials
from sfss.config.gateway import Settings
from sfss.errors import Forbidden, Unauthorized
from sfss.http.messages import Headers, Request
from sfss.web.access_log import without_signature
from sfss.web.auth import Auth
from sfss.web.content_headers import is_active
from sfss.web.cors import ApiHeaders, Cors
from sfss.web.exposure import doors
from tests.http import Answer, RawClient, ask, form, request
from tests.programs import ROOT, Sfss, SfssNode

KEY = "a-key-that-nobody-guesses"
NO_CORS = Cors((), ApiHeaders(frozenset(), frozenset()))
PUT = "/file?path=a"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def status(server: Sfss, method: str, target: str, headers: dict | None = None, body=b"") -> int:
    return ask(server.port, request(method, target, body, headers)).status


# Tokens.


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[Sfss]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "tokens").write_text("# of the application servers\nfrom-a-file\n\n")
    server = Sfss(
        *("--data", folder / "data", "--write-token", "writer", "--write-token", "second"),
        *("--write-token-file", folder / "tokens", "--read-token", "reader"),
    )
    assert status(server, "PUT", PUT, bearer("writer"), b"content") == 200
    yield server
    server.stop()


@pytest.mark.parametrize("method, target", [
    ("PUT", PUT), ("POST", "/files?path=a"), ("DELETE", "/file?path=none"),
    ("GET", PUT), ("HEAD", PUT), ("GET", "/status"), ("GET", "/metrics"), ("GET", "/page.json"),
    ("GET", "/nothing"), ("PATCH", PUT), ("OPTIONS", PUT), ("GET", "//"),
])  # fmt: skip
def test_nothing_without_a_token(guarded, method, target):
    for headers in (
        {},
        {"X-Slow": "please"},
        bearer("wrong"),
        bearer(""),
        bearer("writer2"),
        bearer("write"),
        bearer("writer, second"),
        {"Authorization": "Basic d3JpdGVyOndyaXRlcg=="},
        {"Authorization": "writer"},
        {"Authorization": "Bearer\twriter"},
        {"Authorization": "Bearer wríter"},
    ):
        with RawClient(guarded.port) as client:
            client.send(request(method, target, b"", headers))
            answer = client.answer(head=method == "HEAD")
        assert answer.status == 401, headers
        assert answer.headers["www-authenticate"] == 'Bearer realm="sfss"'
    assert status(guarded, "GET", PUT, bearer("reader")) == 200


def test_what_each_token_opens(guarded):
    for token in ("writer", "second", "from-a-file"):
        assert status(guarded, "PUT", PUT, bearer(token), b"content") == 200
        assert status(guarded, "GET", PUT, bearer(token)) == 200
    assert status(guarded, "GET", PUT, {"Authorization": "bEARER  reader"}) == 200
    assert status(guarded, "PUT", PUT, bearer("reader"), b"x") == 401
    for target in ("/", "/page.js", "/page.css", "/healthz", "/readyz", "/openapi.json"):
        assert status(guarded, "GET", target) == 200
    assert status(guarded, "PUT", "/healthz") == 401


def test_the_body_is_not_asked_for_without_a_token(guarded):
    head = request("PUT", PUT, b"", {"Content-Length": "1000", "Expect": "100-continue"})
    with RawClient(guarded.port) as client:
        assert client.ask(head).status == 401
        assert client.closed_by_server()


async def test_the_client_and_the_commands_bring_it(guarded, tmp_path):
    async with Client(guarded.url, token="writer") as client:
        await client.put("from/client", b"content")
        assert await client.get("from/client") == b"content"
    async with Client(guarded.url) as client:
        with pytest.raises(Unauthorized):
            await client.get("from/client")
    command = [sys.executable, "-m", "sfss", "get", "from/client", "-o", "-", "--url", guarded.url]
    for token, code in (("reader", 0), ("nobody", 1)):
        done = subprocess.run(command, cwd=ROOT, env={"SFSS_TOKEN": token}, capture_output=True)
        assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    "flags, complaint",
    [
        (["--write-token", "with blank"], "write_token: a token has"),
        (["--write-token-file", "/nowhere"], "write_token_file: /nowhere cannot be read"),
        (["--read-token-file", "/dev/null"], "read_token_file: there is nothing in /dev/null"),
        (["--signing-key", "short"], "at least 16 characters"),
        (["--allow-writes-from", "10.0.0.1/8"], "'10.0.0.1/8' is not a network"),
        (["--cors-origin", "example.org"], "'example.org' is not an origin"),
        (["--ssl"], "ssl needs both"),
        (["--sslcert", "a", "--sslkey", "b"], "add --ssl"),
        (
            ["--ssl", "--sslcert", "/nowhere", "--sslkey", "/nowhere"],
            "Cannot use sslcert /nowhere: No such file",
        ),
        (["--workers", "0"], "workers is '0'"),
        (["--write-token-file", ""], "write_token_file is empty"),
    ],
)
def test_what_it_does_not_start_with(flags, complaint, tmp_path):
    command = [sys.executable, "-m", "sfss", "--port", "0", "--data", tmp_path, *flags]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert ended.returncode in (1, 2) and complaint in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr


# Networks.


def request_from(method: str, remote: str, forwarded: list[str]) -> Request:
    headers = Headers.of((b"X-Forwarded-For", line.encode()) for line in forwarded)
    return Request.of(method, "/file?path=a", headers, remote=remote)


@pytest.mark.parametrize(
    "remote, forwarded, allowed",
    [
        ("10.1.2.3", [], True),
        ("::ffff:10.1.2.3", [], True),
        ("11.1.2.3", [], False),
        ("::1", [], False),
        ("", [], False),
        ("11.1.2.3", ["10.1.2.3"], False),  # nobody believes that one
        ("192.168.0.1", ["10.1.2.3"], True),
        ("192.168.0.1", ["11.1.2.3"], False),
        ("192.168.0.1", ["10.1.2.3, 11.1.2.3"], False),  # what a client has made up comes first
        ("192.168.0.1", ["11.1.2.3, 10.1.2.3"], True),
        ("192.168.0.1", ["10.1.2.3", "11.1.2.3"], False),
        ("192.168.0.1", ["10.1.2.3, 192.168.0.2"], True),
        ("192.168.0.1", ["10.1.2.3:8000"], True),
        ("192.168.0.1", ["11.1.2.3:8000"], False),
        ("192.168.0.1", ["[::ffff:10.1.2.3]"], True),
        ("192.168.0.1", ["[::ffff:10.1.2.3]:8000"], True),
        ("192.168.0.1", ["[2001:db8::7]:8000"], False),
        ("192.168.0.1", ["10.1.2.3:x"], False),
        ("192.168.0.1", ["10.1.2.3:80:80"], False),
        ("", ["10.1.2.3"], False),  # a Unix socket that is not trusted
        ("192.168.0.1", [""], False),
        ("192.168.0.1", ["unknown"], False),
        ("192.168.0.1", [], False),
    ],
)
def test_networks(remote, forwarded, allowed):
    settings = Settings(allow_writes_from=("10.0.0.0/8",), trust_forwarded_from=("192.168.0.0/24",))
    auth = Auth(settings, cors=NO_CORS)
    assert auth.reads_are_free
    auth.check(request_from("GET", remote, forwarded))
    if allowed:
        auth.check(request_from("PUT", remote, forwarded))
    else:
        with pytest.raises(Forbidden):
            auth.check(request_from("PUT", remote, forwarded))


def test_networks_hold_on_a_real_server(tmp_path):
    server = Sfss("--data", tmp_path / "1", "--allow-writes-from", "10.0.0.0/8")
    assert status(server, "PUT", PUT, body=b"x") == 403
    assert status(server, "PUT", PUT, {"X-Forwarded-For": "10.0.0.1"}, b"x") == 403
    assert status(server, "GET", PUT) == 404
    server.stop()
    server = Sfss(
        *("--data", tmp_path / "2", "--allow-writes-from", "10.0.0.0/8"),
        *("--trust-forwarded-from", "127.0.0.1", "--write-token", "writer"),
    )
    assert status(server, "PUT", PUT, {"X-Forwarded-For": "10.0.0.1"}, b"x") == 401
    there = {"X-Forwarded-For": "10.0.0.1"} | bearer("writer")
    assert status(server, "PUT", PUT, there, b"x") == 200
    assert status(server, "PUT", PUT, bearer("writer"), b"x") == 403
    # Both paths write the client's address into the log.
    assert status(server, "GET", "/file?path=fast", {"X-Forwarded-For": "10.0.0.7"}) == 404
    assert status(server, "GET", "/file?path=slow", there | {"X-Forwarded-For": "10.0.0.8"}) == 404
    server.wait_for_line('path=fast" .* remote=10.0.0.7 ')
    server.wait_for_line('path=slow" .* remote=10.0.0.8 ')
    server.stop()


# Signed URLs.


@pytest.fixture(scope="module")
def signing(tmp_path_factory) -> Iterator[Sfss]:
    server = Sfss(
        *("--data", tmp_path_factory.mktemp("signing"), "--write-token", "writer"),
        *("--read-token", "reader", "--signing-key", KEY, "--signing-key", "the key that was before"),
        *("--allow-writes-from", "10.0.0.0/8"),
    )
    yield server
    server.stop()


def signed(server: Sfss, method: str, path: str, **options) -> str:
    url = Client(server.url).signed_url(method, path, options.pop("key", KEY), **options)
    return url.removeprefix(server.url)


def test_signed_urls(signing):
    put = signed(signing, "PUT", "dir/ä+b.txt", limit=10)
    assert status(signing, "PUT", put, body=b"0123456789") == 200
    assert status(signing, "PUT", put, body=b"0123456789a") == 413
    body, headers = form(b"from a form")
    assert status(signing, "PUT", put, headers, body) == 413
    assert status(signing, "GET", put) == 403
    assert status(signing, "DELETE", put) == 403
    assert status(signing, "POST", put.replace("/file?", "/files?"), body=b"x") == 403
    get = signed(signing, "GET", "dir/ä+b.txt", key="the key that was before")
    answer = ask(signing.port, request("GET", get))
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert status(signing, "PUT", get, body=b"x") == 403
    assert ask(signing.port, request("HEAD", get)).status == 200
    for changed in (
        get.replace("dir/", "dir2/"),
        get.replace("expires=1", "expires=2"),
        get + "&expires=9999999999",
        get + "x",
        get.replace("&signature=", "&limit=5&signature="),
        get.replace("/file?", "/status?"),
    ):
        assert status(signing, "GET", changed) in (400, 401, 403)
    assert status(signing, "GET", signed(signing, "GET", "dir/ä+b.txt", lifetime=-60)) == 403
    assert status(signing, "GET", signed(signing, "GET", "dir/ä+b.txt", key="0" * 16)) == 403
    # A signature that does not hold is no better for a token.
    assert status(signing, "GET", get + "x", bearer("reader")) == 403


def test_the_server_signs_for_who_could_do_it_himself(signing, guarded, tmp_path):
    def sign(query: str, headers: dict[str, str] = {}) -> Answer:
        return ask(signing.port, request("POST", f"/sign?{query}", headers=headers))

    put = signed(signing, "PUT", "signed/ä b.txt")
    assert status(signing, "PUT", put, body=b"content") == 200
    path = "path=signed/%C3%A4%20b.txt"
    answer = sign(path, bearer("reader"))
    assert answer.status == 200 and answer.headers["cache-control"] == "no-store"
    said = json.loads(answer.body)
    assert said["method"] == "GET" and 3590 < said["expires"] - time.time() < 3610
    got = ask(signing.port, request("GET", said["url"]))
    assert (got.status, got.body) == (200, b"content")
    # Nobody gets by it what he could not do himself.
    for query, headers, expected in [
        (path, {}, 401),
        (path, bearer("nobody"), 401),
        (f"{path}&method=PUT", {}, 403),  # not from this address
        (f"{path}&method=PUT", bearer("reader"), 403),
        (f"{path}&method=DELETE", bearer("writer"), 403),
        ("method=GET", bearer("reader"), 400),
        (f"{path}&{path}", bearer("reader"), 400),
        (f"{path}&method=get", bearer("writer"), 403),
        ("path=../x", bearer("reader"), 400),
        (f"{path}&lifetime=0", bearer("reader"), 400),
        (f"{path}&lifetime=604801", bearer("reader"), 400),
        (f"{path}&lifetime=1e3", bearer("reader"), 400),
        (f"{path}&limit=5", bearer("reader"), 400),
    ]:
        assert sign(query, headers).status == expected, query
    assert sign(said["url"].partition("?")[2]).status == 401  # a signature signs nothing
    assert status(guarded, "POST", f"/sign?{path}", bearer("writer")) == 403  # it has no key
    server = Sfss("--data", tmp_path / "data", "--write-token", "writer", "--signing-key", KEY)
    assert status(server, "POST", f"/sign?{path}") == 200  # all may read
    assert status(server, "POST", f"/sign?{path}&method=PUT") == 401
    answer = ask(server.port, request("POST", f"/sign?{path}&method=PUT&limit=3", headers=bearer("writer")))
    url = json.loads(answer.body)["url"]
    assert status(server, "PUT", url, body=b"1234") == 413
    assert status(server, "PUT", url, body=b"123") == 200
    crossing = {"Origin": "https://evil.example"}
    assert status(server, "POST", f"/sign?{path}", crossing) == 403
    server.stop()


def test_a_signed_limit_is_never_above_the_servers_own(signing):
    put = signed(signing, "PUT", "large", limit=50_000_000)
    assert status(signing, "PUT", put, body=bytes(2 * 1024 * 1024 + 1)) == 413
    assert status(signing, "PUT", put, body=bytes(2 * 1024 * 1024)) == 200
    with RawClient(signing.port) as client:  # it is told before it has sent anything
        client.send(f"PUT {put} HTTP/1.1\r\nHost: test\r\nContent-Length: 3000000\r\n\r\n".encode())
        assert client.answer().status == 413


def test_the_log_keeps_no_secrets(signing):
    url = signed(signing, "GET", "logged")
    signature = url.rpartition("signature=")[2]
    assert status(signing, "GET", url) == 404
    assert status(signing, "GET", url.replace("signature", "%73ignature")) == 404
    status(signing, "GET", "/file?path=logged", bearer("reader"))
    signing.wait_for_line(r"path=logged&expires=\d+&signature=\*\*\*")
    for secret in (signature, KEY, "reader", "writer"):
        assert secret not in signing.printed()


def test_the_signatures_of_others_are_not_in_the_log_either():
    target = "/b/o?X-Amz-Date=1&X-Amz-Signature=s&%53ignature=s&AWSAccessKeyId=main:admin&temp_url_sig=s&x"
    known = (
        "/b/o?X-Amz-Date=1&X-Amz-Signature=***&%53ignature=***&AWSAccessKeyId=main:admin&temp_url_sig=***&x"
    )
    assert without_signature(target) == known and without_signature("/b/o") == "/b/o"


def test_the_command_signs(signing, tmp_path):
    (tmp_path / "key").write_text(f"# of today\n\n{KEY}\n")
    command = [sys.executable, "-m", "sfss", "sign", "by/command", "--url", signing.url, "--method", "PUT"]
    done = subprocess.run(
        [*command, "--limit", "3", "--key-file", tmp_path / "key"], cwd=ROOT, capture_output=True, text=True
    )
    assert status(signing, "PUT", done.stdout.strip().removeprefix(signing.url), body=b"abc") == 200
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"SFSS_SIGNING_KEY": KEY})
    assert status(signing, "PUT", done.stdout.strip().removeprefix(signing.url), body=b"abcd") == 200
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={})
    assert done.returncode == 1 and "There is no key" in done.stderr


# What a browser may do with what it gets.


@pytest.fixture(scope="module")
def cors(tmp_path_factory) -> Iterator[Sfss]:
    server = Sfss(
        *("--data", tmp_path_factory.mktemp("cors"), "--cors-origin", "https://app.example"),
        *("--write-token", "writer"),
    )
    assert status(server, "PUT", PUT, bearer("writer"), b"x") == 200
    yield server
    server.stop()


def test_cors(cors):
    asks = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    answer = ask(cors.port, request("OPTIONS", PUT, headers=asks | {"Origin": "https://app.example"}))
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    for origin in ("https://evil.example", "https://app.example.evil", "null", "http://app.example"):
        answer = ask(cors.port, request("OPTIONS", PUT, headers=asks | {"Origin": origin}))
        assert answer.status == 403 and "access-control-allow-origin" not in answer.headers
        answer = ask(cors.port, request("GET", PUT, headers={"Origin": origin}))
        assert answer.status == 200 and "access-control-allow-origin" not in answer.headers
    there = {"Origin": "https://app.example"}
    for headers, code in ((there | bearer("writer"), 200), (there, 401)):
        answer = ask(cors.port, request("PUT", PUT, b"x", headers))
        assert answer.status == code  # the page may see errors, too
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "ETag" in answer.headers["access-control-expose-headers"]
    for headers in ({}, {"X-Slow": "please"}, there):
        assert ask(cors.port, request("GET", PUT, headers=headers)).headers["vary"] == "Origin"


def test_cors_for_everybody_can_be_cached(tmp_path):
    server = Sfss("--data", tmp_path, "--cors-origin", "*")
    assert status(server, "PUT", PUT, body=b"x") == 200
    for headers in ({}, {"X-Slow": "please"}, {"Origin": "https://a.example"}):
        answer = ask(server.port, request("GET", PUT, headers=headers))
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "vary" not in answer.headers
    server.stop()


def test_without_cors_there_is_nothing_of_it(guarded):
    answer = ask(guarded.port, request("GET", PUT, headers={"Origin": "https://a"} | bearer("reader")))
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]


@pytest.mark.parametrize(
    "path, active",
    [
        ("a.html", True), ("a.HTM", True), ("a.svg", True), ("a.xhtml", True), ("a.xml", True),
        ("a.js", True), ("a.mht", True), ("a.svgz", False), ("a.png", False), ("a.txt", False),
        ("a", False), ("a.pdf", False), ("a.html.png", False),
    ],
)  # fmt: skip
def test_nobodys_file_runs_in_the_sites_origin(tmp_path_factory, cors, path, active):
    assert status(cors, "PUT", f"/file?path={path}", bearer("writer"), b"<script>") == 200
    heads: list[Answer] = []
    for method, headers in (("GET", {}), ("GET", {"X-Slow": "please"}), ("HEAD", {})):
        with RawClient(cors.port) as client:
            heads.append(client.ask(request(method, f"/file?path={path}", headers=headers)))
    for answer in heads:
        assert answer.headers["x-content-type-options"] == "nosniff"
        kind = answer.headers["content-disposition"].partition(";")[0]
        assert kind == ("attachment" if active else "inline")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert policy.endswith("; sandbox") == (not path.endswith(".pdf"))


def test_active_types_can_be_shown(tmp_path):
    server = Sfss("--data", tmp_path, "--inline-active")
    assert status(server, "PUT", "/file?path=a.svg", body=b"<svg/>") == 200
    answer = ask(server.port, request("GET", "/file?path=a.svg"))
    assert answer.headers["content-disposition"].startswith("inline;")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert is_active(answer.headers["content-type"])
    server.stop()


# Framing and time.


def test_two_lengths_are_one_too_many(guarded):
    both = b"PUT /file?path=a HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer writer\r\n%b\r\n5\r\nhello\r\n0\r\n\r\n"
    for headers in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ):
        with RawClient(guarded.port) as client:
            assert client.ask(both % headers).status == 400
            assert client.closed_by_server()


def test_the_head_must_come_in_time(tmp_path):
    server = Sfss("--data", tmp_path, "--header-timeout", 1, "--keepalive-timeout", 3)
    silent, slow, second = (RawClient(server.port) for _ in range(3))
    assert second.ask(request("GET", "/healthz")).status == 200
    for client in (slow, second):
        client.send(b"GET /file?path=a HTTP/1.1\r\n")
    for _ in range(3):
        time.sleep(0.3)
        slow.send(b"X-More: and more\r\n")
    for client in (slow, second):
        answer = client.answer()
        assert answer.status == 408 and answer.headers["connection"] == "close"
        assert client.closed_by_server()
    assert silent.closed_by_server()  # when it was idle for too long
    for client in (silent, slow, second):
        client.close()
    # A head in pieces is as good as any.
    with RawClient(server.port) as client:
        for byte in request("GET", "/healthz"):
            client.send(bytes((byte,)))
        assert client.answer().status == 200
        time.sleep(1.5)
        assert client.ask(request("GET", "/healthz")).status == 200
    server.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"GET /file?path=" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: t\r\n" + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: t\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    ],
)
def test_heads_have_limits(guarded, data):
    with RawClient(guarded.port) as client:
        try:
            client.send(data)
            answer = client.answer()
        except (ConnectionError, EOFError):
            return  # cut off while it was still sending
        assert 400 <= answer.status < 500


# TLS.


def make_certificate(folder, name: str) -> tuple[str, str]:
    certificate, key = str(folder / f"{name}.crt"), str(folder / f"{name}.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        + ["-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return certificate, key


def common_name(port: int, certificate: str, **versions) -> str:
    """Whom the server says that it is."""
    context = ssl.create_default_context(cafile=certificate)
    context.maximum_version = versions.get("maximum", ssl.TLSVersion.MAXIMUM_SUPPORTED)
    if "minimum" in versions:
        context.minimum_version = versions["minimum"]
        context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            return dict(part[0] for part in secure.getpeercert()["subject"])["commonName"]


def test_tls(tmp_path):
    certificate, key = make_certificate(tmp_path, "first")
    server = Sfss(
        "--data", tmp_path / "data", "--ssl", "--sslcert", certificate, "--sslkey", key, "--workers", 2
    )
    assert server.url.startswith("https://")
    content = bytes(range(256)) * 8000
    folder = tmp_path / "files"
    folder.mkdir()
    for size in (0, 10, 100_000, len(content)):
        (folder / str(size)).write_bytes(content[:size])
    for command in (
        ["put", "-r", folder],
        ["get", *(f"files/{size}" for size in (0, 10, 100_000, len(content))), "-o", tmp_path / "back"],
    ):
        subprocess.run(
            [sys.executable, "-m", "sfss", *command, "--url", server.url],
            cwd=ROOT, env={"SSL_CERT_FILE": certificate}, check=True,
        )  # fmt: skip
    for file in folder.iterdir():
        assert (tmp_path / "back/files" / file.name).read_bytes() == file.read_bytes()
    assert common_name(server.port, certificate) == "first"
    assert common_name(server.port, certificate, maximum=ssl.TLSVersion.TLSv1_2) == "first"
    with pytest.warns(DeprecationWarning), pytest.raises(OSError):
        common_name(server.port, certificate, minimum=ssl.TLSVersion.TLSv1, maximum=ssl.TLSVersion.TLSv1_1)
    # Plain HTTP is told nothing, and hurts nobody.
    with pytest.raises((EOFError, OSError)):
        ask(server.port, request("GET", "/healthz"))

    # What was sent once takes no memory for ever.
    before = server.resident_mb()
    context = ssl.create_default_context(cafile=certificate)
    clients = []
    for _ in range(40):
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        secure = context.wrap_socket(plain, server_hostname="127.0.0.1")
        for extra in ({}, {"X-Slow": "1"}):
            secure.sendall(request("GET", f"/file?path=files/{len(content)}", headers=extra))
            left = len(content)
            while left > 0:
                left -= len(secure.recv(1 << 20))
        clients.append(secure)
    assert server.resident_mb() - before < 45
    for secure in clients:
        secure.close()

    # A new certificate is taken with SIGHUP; a broken one is not.
    second, second_key = make_certificate(tmp_path, "second")
    good = {file: Path(file).read_text() for file in (second, second_key)}
    Path(certificate).write_text("garbage")
    server.send(signal.SIGHUP)
    server.wait_for_line("the new settings cannot be used.*first.crt")
    Path(certificate).write_text(good[second])
    Path(key).write_text(good[second_key])
    server.send(signal.SIGHUP)
    server.wait_for_line("settings reloaded")
    for _ in range(20):  # whichever worker answers
        assert common_name(server.port, second) == "second"
    assert "Traceback" not in server.printed() and " ERROR " not in server.printed().replace(
        "ERROR the new settings", ""
    )
    assert server.stop() == 0


def test_the_openapi_document_is_for_all(guarded):
    document = json.loads(ask(guarded.port, request("GET", "/openapi.json")).body)
    assert set(document["paths"]) == {
        "/file",
        "/files",
        "/archive",
        "/sign",
        "/status",
        "/metrics",
        "/healthz",
        "/readyz",
    }


# Pages of other sites.


def written(server: Sfss, headers: dict[str, str], method: str = "PUT", target: str = "/file?path=w") -> int:
    return ask(server.port, request(method, target, b"x", headers)).status


@pytest.fixture(scope="module")
def visited(tmp_path_factory) -> Iterator[Sfss]:
    """Inside of somebody's network, without tokens."""
    server = Sfss("--data", tmp_path_factory.mktemp("visited"), "--cors-origin", "https://app.example")
    yield server
    server.stop()


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://test.evil.example", "Host": "test"},
    {"Origin": "http://test:81", "Host": "test:80"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "Cross-Site"},
]
OUR_OWN = [
    {},
    {"Origin": "http://test"},
    {"Origin": "https://test", "Host": "test"},  # somebody has taken TLS off
    {"Origin": "https://test", "Host": "test:443"},
    {"Origin": "http://TEST:80", "Host": "test"},
    {"Origin": "http://[::1]:8255", "Host": "[::1]:8255"},
    {"Origin": "https://app.example"},
    {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    # A proxy has dropped the port of our name; no page can say this of itself.
    {"Origin": "http://test:8080", "Host": "test", "Sec-Fetch-Site": "same-origin"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_site_writes_nothing(visited, headers):
    for method, target in (("PUT", "/file?path=w"), ("POST", "/files?path=w"), ("DELETE", "/file?path=w")):
        assert written(visited, headers, method, target) == 403
    body, form_headers = form(b"content")
    assert status(visited, "POST", "/files?path=w", form_headers | headers, body) == 403
    assert status(visited, "GET", "/file?path=w", headers) == 404


@pytest.mark.parametrize("headers", OUR_OWN)
def test_our_own_pages_and_programs_write(visited, headers):
    assert written(visited, headers) == 200
    assert written(visited, headers, "DELETE") == 204


def test_a_network_that_may_write_does_not_let_its_visitors_pages_write(tmp_path):
    server = Sfss("--data", tmp_path, "--allow-writes-from", "127.0.0.0/8")
    assert written(server, {}) == 200
    assert written(server, {"Origin": "https://evil.example"}) == 403
    assert written(server, {"Sec-Fetch-Site": "cross-site"}) == 403
    server.stop()


def test_pages_of_other_sites_write_to_no_node(tmp_path):
    node = SfssNode(tmp_path, "--names", "exact")
    for headers in FOREIGN[:2]:
        assert written(node, headers, "PUT", "/x") == 403
        assert written(node, headers, "DELETE", "/x") == 403
    assert written(node, {"Origin": "http://test"}, "PUT", "/x") == 201
    node.stop()


def test_only_the_names_that_are_listed(tmp_path):
    """DNS rebinding: a name that somebody else lets point here is none of ours."""
    server = Sfss("--data", tmp_path, "--allow-host", "files.example.org", "--allow-host", "[::1]")
    for host in ("files.example.org", "FILES.example.org:8255", "files.example.org.", "[::1]:80", "[::1]"):
        for headers in ({"Host": host}, {"Host": host, "X-Slow": "please"}):
            assert written(server, headers) == 200
            assert status(server, "GET", "/file?path=w", headers) == 200
    for host in ("evil.example", "files.example.org.evil.example", "127.0.0.1", ""):
        for headers in ({"Host": host}, {"Host": host, "X-Slow": "please"}):
            assert written(server, headers) == 403
            assert written(server, headers, "DELETE") == 403
            assert status(server, "GET", "/file?path=w", headers) == 403
            assert status(server, "GET", "/", headers) == 403
        assert status(server, "GET", "/healthz", {"Host": host}) == 200
    server.stop()


# Unix sockets.


def test_a_proxy_at_a_unix_socket():
    settings = Settings(allow_writes_from=("10.0.0.0/8",), trust_forwarded_from=("unix", "192.168.0.1"))
    auth = Auth(settings, cors=NO_CORS)
    for forwarded, client in (
        (["10.1.2.3"], "10.1.2.3"),
        (["10.1.2.3, 192.168.0.1"], "10.1.2.3"),
        (["11.1.2.3, 10.1.2.3:99"], "10.1.2.3"),
        ([], "unix"),
    ):
        assert auth.client_address(request_from("PUT", "", forwarded)) == client
    auth.check(request_from("PUT", "", ["10.1.2.3"]))
    with pytest.raises(Forbidden):
        auth.check(request_from("PUT", "", ["11.1.2.3"]))
    with pytest.raises(Forbidden):
        auth.check(request_from("PUT", "", []))


# What is open is said.


@pytest.mark.parametrize("flags, closed_by", [
    ((), "--write-token-file"),
    (("--read-token", "r"), "--write-token-file"),
    (("--write-token", "w"), ""),
    (("--allow-writes-from", "10.0.0.0/8"), ""),
    (("--host", "127.0.0.1"), ""),
])  # fmt: skip
def test_what_is_open_to_the_network_is_said_once(tmp_path, flags, closed_by):
    server = Sfss("--data", tmp_path, "--host", "0.0.0.0", *flags)
    if closed_by:
        server.wait_for_line("open to the network")
    lines = [line for line in server.printed().splitlines() if "open to the network" in line]
    assert len(lines) == bool(closed_by)
    assert all(" WARNING " in line and closed_by in line for line in lines)
    headers = bearer("r") if "r" in flags else bearer("w") if "w" in flags else {}
    page = json.loads(ask(server.port, request("GET", "/page.json", headers=headers)).body)
    assert len(page["warnings"]) == len(lines)
    server.stop()


def test_a_node_says_what_is_open(tmp_path):
    quiet = ("--log-level", "warning", "--host", "0.0.0.0", "--node", "http://127.0.0.1:9")
    node = SfssNode(tmp_path, *quiet)
    node.wait_for_line("open to the network")
    assert node.printed().count("open to the network") == 1 and "--write-token-file" in node.printed()
    page = json.loads(ask(node.port, request("GET", "/_page/page.json")).body)
    assert len(page["warnings"]) == 1
    node.stop()
    node = SfssNode(tmp_path, *quiet, "--allow-writes-from", "127.0.0.0/8")
    node.wait_for_line("--node-secret-file closes that")
    node.stop()


# CORS lists what the API documents.


def preflight(server, target: str, origin: str = "https://app.example") -> set[str]:
    asks = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    answer = ask(server.port, request("OPTIONS", target, headers=asks))
    assert answer.status == 204
    return {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}


def test_cors_allows_and_exposes_what_is_documented(visited, tmp_path):
    usual = {"authorization", "content-type", "if-match", "if-none-match", "range", "x-request-id"}
    usual |= {"x-requested-with", "cache-control"}
    assert usual <= preflight(visited, PUT)
    node = SfssNode(tmp_path, "--cors-origin", "*", "--names", "exact")
    assert usual | {"x-content-sha1"} <= preflight(node, "/x")
    assert written(node, {}, "PUT", "/x") == 201
    answer = ask(node.port, request("GET", "/x", headers={"Origin": "https://any.example"}))
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"X-Content-SHA1", "ETag", "Location", "Last-Modified", "Content-Disposition"} <= set(exposed)
    node.stop()


@pytest.mark.parametrize("settings, credentials, read, write", [
    ({}, {}, "everybody on this machine", "everybody on this machine"),
    ({"host": "0.0.0.0"}, {}, "everybody", "everybody"),
    ({"host": "0.0.0.0"}, {"write_tokens": ("w",)}, "everybody", "who has a write token"),
    ({"host": "0.0.0.0"}, {"read_tokens": ("r",), "write_tokens": ("w",)}, "who has a token", "who has a write token"),
    ({"host": "0.0.0.0", "allow_writes_from": ["10.0.0.0/8"]}, {}, "everybody", "everybody, from some addresses"),
    ({"trust_forwarded_from": ["127.0.0.1/32"]}, {}, *["everybody whom a proxy lets in"] * 2),
])  # fmt: skip
def test_people_see_who_may_do_what(settings, credentials, read, write):
    told = dict(doors(Settings(**{"host": "127.0.0.1", **settings}), Credentials(**credentials)))
    assert (told["Read"], told["Write"]) == (read, write)
    assert "10.0.0.0" not in str(told)  # whoever may read sees this
