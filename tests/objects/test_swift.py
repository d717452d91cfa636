"""Swift's API, from its documentation (https://docs.openstack.org/api-ref/object-store/)."""

import hashlib
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from urllib.parse import quote

import pytest

from sfss.objects.users import LIFETIME
from tests.http import RawClient, ask, request
from tests.objects.swift import Swift, token_for
from tests.programs import ROOT, SfssObjects

MB = 1024 * 1024


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = SfssObjects(tmp_path_factory.mktemp("objects"), "--max-file-size", MB)
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.printed()


@pytest.fixture
def swift(service):
    swift = Swift(service)
    yield swift
    for container in swift.names(""):
        for name in swift.names(container):
            assert swift.ask("DELETE", f"{container}/{name}").status == 204
        assert swift.ask("DELETE", container).status == 204


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def text_of(answer, name: str) -> str:
    """A header that is UTF-8."""
    return answer.headers[name].encode("latin-1").decode()


def user(service, *arguments: str, fails: bool = False) -> str:
    """What ``sfss objects user`` says."""
    command = [sys.executable, "-m", "sfss", "objects", "user", *arguments, "--data", str(service.home)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


# Who may come in.


def test_the_ways_to_get_a_token(service):
    for path in ("/auth", "/auth/v1.0", "/v1.0"):
        for names in (("X-Auth-User", "X-Auth-Key"), ("X-Storage-User", "X-Storage-Pass")):
            headers = dict(zip(names, ("main:admin", service.key)))
            answer = ask(service.port, request("GET", path, headers=headers))
            assert (
                answer.status == 200 and answer.headers["x-auth-token"] == answer.headers["x-storage-token"]
            )
            assert answer.headers["x-storage-url"].endswith("/v1/AUTH_main")
    password = {"username": "admin", "password": service.key}
    document = {"auth": {"passwordCredentials": password, "tenantName": "main"}}
    answer = ask(service.port, request("POST", "/v2.0/tokens", json.dumps(document).encode()))
    access = json.loads(answer.body)["access"]
    (endpoint,) = access["serviceCatalog"][0]["endpoints"]
    assert answer.status == 200 and endpoint["publicURL"].endswith("/v1/AUTH_main")
    identity = {
        "methods": ["password"],
        "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": service.key}},
    }
    document = {"auth": {"identity": identity, "scope": {"project": {"name": "main"}}}}
    answer = ask(service.port, request("POST", "/v3/auth/tokens", json.dumps(document).encode()))
    token = json.loads(answer.body)["token"]
    assert answer.status == 201 and token["project"]["name"] == "main"
    for good in (answer.headers["x-subject-token"], access["token"]["id"]):
        found = ask(service.port, request("HEAD", "/v1/AUTH_main", headers={"X-Auth-Token": good}))
        assert found.status == 204
    assert ask(service.port, request("GET", "/")).status == 300
    assert json.loads(ask(service.port, request("GET", "/v3")).body)["version"]["id"].startswith("v3")


@pytest.mark.parametrize(
    "name, key", [("main:admin", "x"), ("main:nobody", ""), ("", ""), ("admin", "x"), ("other:admin", "x")]
)
def test_who_may_not_come_in(service, name, key):
    answer = token_for(service, name, key)
    assert answer.status == 401 and "swift" in answer.headers["www-authenticate"].lower()


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[]", b"{}", b'{"auth": 1}', b'{"auth": {"identity": []}}', b"[" * 60000]
)
@pytest.mark.parametrize("path", ["/v2.0/tokens", "/v3/auth/tokens"])
def test_documents_that_are_none(service, path, body):
    assert ask(service.port, request("POST", path, body)).status == 400


def test_names_and_keys_that_are_no_text(service):
    for headers in ({"X-Auth-User": "\xff:\xff"}, {"X-Auth-User": "main:admin", "X-Auth-Key": "\xff"}):
        with RawClient(service.port) as client:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            client.send(f"GET /auth/v1.0 HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode("latin-1"))
            assert client.answer().status == 401
    odd = "\ud800"
    for password, tenant in (({"username": "admin", "password": odd}, "main"), ({"username": "admin"}, odd)):
        document = json.dumps({"auth": {"passwordCredentials": password, "tenantName": tenant}})
        assert ask(service.port, request("POST", "/v2.0/tokens", document.encode())).status == 401


def test_clients_that_go_away_leave_no_traceback(service, swift):
    swift.ask("PUT", "c")
    swift.ask("PUT", "c/o", bytes(5 * MB))
    for head, body in (
        ("GET /v1/AUTH_main/c/o", b""),
        ("POST /v1/AUTH_main?bulk-delete", b"Content-Length: 100\r\n\r\nc/o"),
        ("PUT /v1/AUTH_main/c/x?multipart-manifest=put", b"Content-Length: 100\r\n\r\n["),
        ("POST /v3/auth/tokens", b"Content-Length: 100\r\n\r\n{"),
        ("PUT /v1/AUTH_main/c/y", b"Content-Length: 100\r\n\r\nx"),
    ):
        client = RawClient(service.port)
        lines = f"{head} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {swift.token}\r\n"
        client.send(lines.encode() + (body or b"\r\n"))
        time.sleep(0.05)
        client.reset()
    assert ask(service.port, request("GET", "/readyz")).status == 200
    time.sleep(0.2)
    assert "Traceback" not in service.printed()


def test_tokens_that_are_not_good(service, swift):
    for position in range(7, len(swift.token), 7):
        other = "A" if swift.token[position] != "A" else "B"
        forged = swift.token[:position] + other + swift.token[position + 1 :]
        assert swift.ask("HEAD", token=forged).status == 401
    for token in ("", "x", "AUTH_tk", "AUTH_tk" + "A" * 100, "AUTH_tk%%%"):
        answer = ask(service.port, request("GET", "/v1/AUTH_main", headers={"X-Auth-Token": token}))
        assert answer.status == 401


def test_users(service, swift):
    user(service, "add", "other:reader", "--key", "rk", "--read-only")
    user(service, "add", "other:writer", "--key", "wk")
    assert "already" in user(service, "add", "other:writer", fails=True)
    assert "ACCOUNT:USER" in user(service, "add", "nonsense", fails=True)
    writer, reader = Swift(service, "other:writer", "wk"), Swift(service, "other:reader", "rk")
    assert writer.ask("PUT", "c").status == 201 and writer.ask("PUT", "c/o", b"x").status == 201
    assert reader.ask("GET", "c/o").body == b"x"
    for method, path in (
        ("PUT", "c/o"),
        ("POST", "c/o"),
        ("DELETE", "c/o"),
        ("PUT", "d"),
        ("POST", ""),
        ("DELETE", "c"),
    ):
        assert reader.ask(method, path).status == 403
    # Another account is none of theirs.
    for method, path in (("GET", "c/o"), ("PUT", "c/o"), ("GET", ""), ("DELETE", "c/o")):
        assert swift.ask(method, path, account="AUTH_other").status == 403
        assert swift.ask(method, path, account="AUTH_none").status == 403
        assert swift.ask(method, path, account="other").status == 403
    # Another key ends the tokens of before, and so does the end of a user.
    assert "new" in user(service, "rotate", "other:reader", "--key", "new")
    assert Swift(service, "other:reader", "new").ask("GET", "c/o").status == 200  # which is known at once
    time.sleep(LIFETIME)
    assert reader.ask("GET", "c/o").status == 401 and token_for(service, "other:reader", "rk").status == 401
    user(service, "disable", "other:writer")
    time.sleep(LIFETIME)
    assert writer.ask("GET", "c/o").status == 401 and token_for(service, "other:writer", "wk").status == 403
    assert json.loads(user(service, "list", "--json"))[-1]["disabled"] is True
    user(service, "enable", "other:writer")
    assert writer.ask("DELETE", "c/o").status == 401  # the tokens of before stay as they are: ended
    assert Swift(service, "other:writer", "wk").ask("DELETE", "c/o").status == 204
    assert "no user" in user(service, "disable", "other:nobody", fails=True)


def test_what_everybody_may_read(service, swift):
    swift.ask("PUT", "public", X_Container_Read=".r:*")
    swift.ask("PUT", "listed", X_Container_Read=".r:*, .rlistings")
    swift.ask("PUT", "private")
    for container in ("public", "listed", "private"):
        swift.ask("PUT", f"{container}/o", b"x")
    assert swift.ask("GET", "public/o", token="").body == b"x"
    assert swift.ask("GET", "public", token="").status == 401
    assert swift.ask("GET", "listed", token="").body == b"o\n"
    assert swift.ask("GET", "private/o", token="").status == 401
    assert swift.ask("GET", "none/o", token="").status == 401
    for method in ("PUT", "POST", "DELETE"):
        assert swift.ask(method, "public/o", token="").status == 401
    # What is made of what is not for everybody is not, either.
    for name, more in (
        ("dynamic", {"X_Object_Manifest": "private/o"}),
        ("static", {"query": "multipart-manifest=put", "body": b'[{"path": "private/o"}]'}),
    ):
        assert swift.ask("PUT", f"public/{name}", **more).status == 201
        assert swift.ask("GET", f"public/{name}").body == b"x"
        assert swift.ask("GET", f"public/{name}", token="").status == 403
    swift.ask("POST", "listed", X_Container_Meta_Note="ours")
    head = swift.ask("HEAD", "listed", token="").headers
    assert "x-container-read" not in head and "x-container-meta-note" not in head
    assert swift.ask("POST", "public", X_Remove_Container_Read="x").status == 204
    assert swift.ask("GET", "public/o", token="").status == 401


# Containers.


def test_containers(swift):
    assert swift.ask("PUT", "é c").status == 201 and swift.ask("PUT", "é c").status == 202
    assert swift.ask("HEAD", "é c").status == 204 and swift.ask("HEAD", "none").status == 404
    assert swift.ask("PUT", "é c/o", b"12345").status == 201
    head = swift.ask("HEAD", "é c").headers
    assert (head["x-container-object-count"], head["x-container-bytes-used"]) == ("1", "5")
    head = swift.ask("HEAD").headers
    assert (head["x-account-container-count"], head["x-account-bytes-used"]) == ("1", "5")
    assert swift.ask("DELETE", "é c").status == 409
    assert swift.ask("DELETE", "é c/o").status == 204 and swift.ask("DELETE", "é c").status == 204
    assert swift.ask("DELETE", "é c").status == 404 and swift.ask("GET", "é c").status == 404
    for name in ("x" * 257, "a\0b"):
        assert swift.ask("PUT", name).status == 400
    assert swift.ask("PATCH", "c").status == 405


def test_metadata_of_accounts_and_containers(swift):
    assert swift.ask("POST", X_Account_Meta_Colour="red", X_Account_Meta_Size="é").status == 204
    swift.ask("POST", X_Account_Meta_Size="", X_Remove_Account_Meta_None="x")
    head = swift.ask("HEAD").headers
    assert head["x-account-meta-colour"] == "red" and "x-account-meta-size" not in head
    swift.ask("POST", X_Remove_Account_Meta_Colour="x")
    assert "x-account-meta-colour" not in swift.ask("HEAD").headers
    swift.ask("PUT", "c", X_Container_Meta_A="1")
    assert swift.ask("POST", "c", X_Container_Meta_B="2").status == 204
    head = swift.ask("HEAD", "c").headers
    assert (head["x-container-meta-a"], head["x-container-meta-b"]) == ("1", "2")
    assert swift.ask("POST", "none", X_Container_Meta_B="2").status == 404
    assert swift.ask("POST", "c", X_Container_Meta_B="x" * 257).status == 400
    many = {f"X_Container_Meta_{number}": "x" for number in range(91)}
    assert swift.ask("POST", "c", **many).status == 400


def test_listings(swift):
    swift.ask("PUT", "c")
    names = ["a", "b/1", "b/2", "b/c/3", "d", "z<&>", "é"]
    for name in names:
        swift.ask("PUT", f"c/{name}", name.encode())
    assert swift.names("c") == names
    for query, wanted in {
        "limit=2": ["a", "b/1"],
        "marker=b/1&limit=2": ["b/2", "b/c/3"],
        "end_marker=b/2": ["a", "b/1"],
        "prefix=b/": ["b/1", "b/2", "b/c/3"],
        "delimiter=/": ["a", "b/", "d", "z<&>", "é"],
        "delimiter=/&limit=2": ["a", "b/"],
        "delimiter=/&marker=b/": ["d", "z<&>", "é"],
        "prefix=b/&delimiter=/": ["b/1", "b/2", "b/c/"],
        "path=b": ["b/1", "b/2"],
        "path=b&limit=1": ["b/1"],
        "path=b/c&limit=1": ["b/c/3"],
        "path=": ["a", "d", "z<&>", "é"],
        "reverse=true": names[::-1],
        "reverse=true&limit=2": ["é", "z<&>"],
        "reverse=true&marker=d": ["b/c/3", "b/2", "b/1", "a"],
        "reverse=true&end_marker=b/2&marker=z": ["d", "b/c/3"],
        "reverse=true&delimiter=/": ["é", "z<&>", "d", "b/", "a"],
        "reverse=true&prefix=b/": ["b/c/3", "b/2", "b/1"],
        "reverse=true&delimiter=/&marker=b/": ["a"],
        "marker=\u00ff": [],
    }.items():
        assert swift.names("c", query) == wanted, query
    assert swift.ask("GET", "c", query="marker=\u00ff").status == 204
    assert swift.ask("GET", "c", query="marker=\u00ff&format=json").body == b"[]"
    for query in ("limit=x", "limit=-1"):
        assert swift.names("c", query) == names
    assert swift.ask("GET", "c", query="prefix=%00").status == 400
    swift.ask("PUT", "c/b/", b"")
    assert swift.names("c", "path=b") == ["b/1", "b/2"]  # and not the folder itself
    swift.ask("DELETE", "c/b/")
    assert swift.ask("GET", "c", query="limit=10001").status == 412
    listed = json.loads(swift.ask("GET", "c", query="delimiter=/", Accept="application/json").body)
    assert listed[1] == {"subdir": "b/"}
    assert listed[0].items() >= {"name": "a", "bytes": 1, "hash": md5(b"a")}.items()
    root = ET.fromstring(swift.ask("GET", "c", query="format=xml&delimiter=/").body)
    assert [each.find("name").text for each in root] == ["a", "b/", "d", "z<&>", "é"]
    assert root.attrib == {"name": "c"} and root[1].tag == "subdir"
    root = ET.fromstring(swift.ask("GET", query="format=xml").body)
    assert [each.find("count").text for each in root] == ["7"]
    assert json.loads(swift.ask("GET", query="format=json").body)[0]["bytes"] == sum(
        len(n.encode()) for n in names
    )


# Objects.


def test_objects(swift):
    swift.ask("PUT", "c")
    content = os.urandom(3 * MB + 5)
    answer = swift.ask(
        "PUT", "c/a/b ü.bin", content, X_Object_Meta_Colour="réd", Content_Type="a/b", ETag=md5(content)
    )
    assert answer.status == 201 and answer.headers["etag"] == md5(content)
    answer = swift.ask("GET", "c/a/b ü.bin")
    assert answer.body == content and answer.headers["etag"] == md5(content)
    assert answer.headers["content-type"] == "a/b" and text_of(answer, "x-object-meta-colour") == "réd"
    assert answer.headers["x-content-type-options"] == "nosniff" and "x-request-id" in answer.headers
    head = swift.ask("HEAD", "c/a/b ü.bin").headers
    assert (
        head["content-length"] == str(len(content))
        and head["x-object-meta-colour"].encode("latin-1").decode() == "réd"
    )
    assert swift.ask("POST", "c/a/b ü.bin", X_Object_Meta_Size="big").status == 202
    head = swift.ask("HEAD", "c/a/b ü.bin").headers
    assert head["x-object-meta-size"] == "big" and "x-object-meta-colour" not in head
    assert head["content-type"] == "a/b"
    assert swift.ask("DELETE", "c/a/b ü.bin").status == 204
    for method in ("GET", "HEAD", "POST", "DELETE"):
        assert swift.ask(method, "c/a/b ü.bin").status == 404
        assert swift.ask(method, "none/o").status == 404
    assert swift.ask("PUT", "none/o", b"x").status == 404
    assert swift.ask("PUT", "c/empty").status == 201 and swift.ask("GET", "c/empty").body == b""
    assert swift.ask("PUT", "c/type.html", b"x").status == 201
    assert swift.ask("HEAD", "c/type.html").headers["content-type"] == "text/html"


@pytest.mark.parametrize("size", [0, 1, MB - 1, MB, MB + 1, 2 * MB, 2 * MB + 1])
def test_around_the_size_of_a_piece(swift, size):
    swift.ask("PUT", "c")
    content = os.urandom(size)
    assert swift.ask("PUT", "c/o", content).headers["etag"] == md5(content)
    assert swift.ask("GET", "c/o").body == content
    head = swift.ask("HEAD", "c").headers
    assert head["x-container-bytes-used"] == str(size)


def test_a_body_in_chunks(swift):
    swift.ask("PUT", "c")
    with RawClient(swift.port) as client:
        head = f"PUT /v1/AUTH_main/c/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {swift.token}\r\n"
        client.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for byte in b"one byte each":
            client.send(b"1\r\n%c\r\n" % byte)
        client.send(b"0\r\n\r\n")
        assert client.answer().status == 201
        client.send(f"{head}\r\n".encode())
        assert client.answer().status == 411
    assert swift.ask("GET", "c/o").body == b"one byte each"


def test_a_body_that_is_not_what_it_says(swift):
    swift.ask("PUT", "c")
    swift.ask("PUT", "c/o", b"before")
    assert swift.ask("PUT", "c/o", b"x", ETag=md5(b"y")).status == 422
    with RawClient(swift.port) as client:  # it ends too early
        head = f"PUT /v1/AUTH_main/c/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {swift.token}\r\n"
        client.send(f"{head}Content-Length: {3 * MB}\r\n\r\n".encode() + bytes(2 * MB))
    assert swift.ask("GET", "c/o").body == b"before"
    assert swift.ask("PUT", "c/" + "x" * 1025, b"x").status == 400
    assert swift.ask("PUT", "c/a\0b", b"x").status == 400


def test_conditions_and_ranges(swift):
    swift.ask("PUT", "c")
    content = os.urandom(2 * MB + 100)
    assert swift.ask("PUT", "c/o", content, If_None_Match="*").status == 201
    assert swift.ask("PUT", "c/o", b"x", If_None_Match="*").status == 412
    assert swift.ask("PUT", "c/o", b"x", If_None_Match="abc").status == 400
    assert swift.ask("PUT", "c/o", X_Copy_From="c/o", If_None_Match="*").status == 412
    assert swift.ask("COPY", "c/o", Destination="c/o", If_None_Match="*").status == 412
    swift.ask("PUT", "c/part", b"x")
    static = json.dumps([{"path": "c/part"}]).encode()
    for wrong, status in (({"If_None_Match": "*"}, 412), ({"ETag": "x"}, 422), ({"If_Match": "x"}, 412)):
        assert swift.ask("PUT", "c/o", static, query="multipart-manifest=put", **wrong).status == status
    assert swift.ask("PUT", "c/o", b"x", If_Match="x").status == 412
    assert swift.ask("PUT", "c/none", b"x", If_Match="*").status == 404
    tag = md5(content)
    for given in (tag, f'"{tag}"', f'"x", "{tag}"', "*"):
        assert swift.ask("GET", "c/o", If_None_Match=given).status == 304
        assert swift.ask("HEAD", "c/o", If_Match=given).status == 200
    assert swift.ask("GET", "c/o", If_Match="x").status == 412
    modified = swift.ask("HEAD", "c/o").headers["last-modified"]
    assert swift.ask("GET", "c/o", If_Modified_Since=modified).status == 304
    assert swift.ask("GET", "c/o", If_Unmodified_Since="Mon, 01 Jan 2001 00:00:00 GMT").status == 412
    for given, start, stop in (
        ("bytes=0-0", 0, 1),
        (f"bytes={MB - 1}-{MB}", MB - 1, MB + 1),
        (f"bytes={MB}-", MB, len(content)),
        ("bytes=-5", len(content) - 5, len(content)),
        ("bytes=5-99999999", 5, len(content)),
    ):
        answer = swift.ask("GET", "c/o", Range=given)
        assert answer.status == 206 and answer.body == content[start:stop]
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert swift.ask("GET", "c/o", Range=f"bytes={len(content)}-").status == 416


def test_copies(swift):
    for container in ("c", "d"):
        swift.ask("PUT", container)
    content = os.urandom(2 * MB)
    swift.ask("PUT", "c/ö", content, X_Object_Meta_A="1", Content_Type="a/b")
    answer = swift.ask("COPY", "c/ö", Destination="d/" + quote("ü/x"))
    assert answer.status == 201 and answer.headers["etag"] == md5(content)
    found = swift.ask("GET", "d/ü/x")
    assert found.body == content and found.headers["x-object-meta-a"] == "1"
    assert found.headers["content-type"] == "a/b"
    answer = swift.ask("PUT", "d/y", X_Copy_From=quote("/c/ö"), X_Object_Meta_B="2", X_Fresh_Metadata="true")
    assert answer.status == 201
    found = swift.ask("GET", "d/y")
    assert (
        found.body == content
        and found.headers["x-object-meta-b"] == "2"
        and "x-object-meta-a" not in found.headers
    )
    swift.ask("DELETE", "c/ö")
    assert swift.ask("GET", "d/y").body == content
    typed = {"X_Copy_From": "d/y", "Content_Type": "text/x-typed"}
    assert swift.ask("PUT", "d/typed", **typed).status == 201
    assert swift.ask("HEAD", "d/typed").headers["content-type"] == "text/x-typed"
    for method, path, query in (("DELETE", "d/typed", "version-id=1"), ("GET", "d", "versions")):
        assert swift.ask(method, path, query=query).status == 501
    assert swift.ask("DELETE", "d/typed").status == 204
    assert swift.ask("COPY", "c/none", Destination="d/x").status == 404
    assert swift.ask("COPY", "d/y", Destination="nothing").status == 400
    assert swift.ask("COPY", "d/y", Destination="c/%FF").status == 400
    swift.ask("PUT", "c/a\r\nX-Evil: y", b"x")
    answer = swift.ask("COPY", "c/a\r\nX-Evil: y", Destination="c/fine")
    assert answer.status == 201 and "x-evil" not in answer.headers
    assert swift.ask("DELETE", "c/a\r\nX-Evil: y").status == 204
    assert swift.ask("COPY", "d/y", Destination="d/z", Destination_Account="AUTH_other").status == 501


def test_what_is_not_supported_says_so(swift):
    swift.ask("PUT", "c")
    assert swift.ask("PUT", "c/o", b"x", X_Symlink_Target="1").status == 501
    assert swift.ask("GET", "c/o").status == 404
    assert swift.ask("PUT", "c/o", b"x", query="multipart-manifest=what").status == 400
    assert swift.ask("DELETE").status == 405
    for name in (
        "X_Container_Write",
        "X_Versions_Location",
        "X_Container_Meta_Quota_Bytes",
        "X_Versions_Enabled",
    ):
        assert swift.ask("PUT", "d", **{name: "1"}).status == 501
        assert swift.ask("POST", "c", **{name: "1"}).status == 501
    assert swift.ask("PUT", "d", X_Container_Read=".r:*,.r:-evil.com").status == 501
    assert swift.ask("HEAD", "d").status == 404
    assert swift.ask("POST", X_Account_Access_Control="k").status == 501
    swift.ask("PUT", "c/o", b"x")
    assert swift.ask("COPY", "c/o", Destination="c/p", Range="bytes=0-0").status == 501
    assert swift.ask("COPY", "c/o", Destination="c/p", query="multipart-manifest=get").status == 501
    assert swift.ask("PUT", "c/p", b"body", X_Copy_From="c/o").status == 400
    assert swift.ask("DELETE", "c/o", If_None_Match="x").status == 501
    assert swift.ask("DELETE", "c/o", If_Match=md5(b"y")).status == 412
    assert swift.ask("DELETE", "c/o", query="multipart-manifest=delete").status == 400
    assert swift.names("c") == ["o"]


def test_dynamic_manifests(swift):
    for container in ("c", "parts"):
        swift.ask("PUT", container)
    contents = [os.urandom(size) for size in (100, MB + 1, 5)]
    for number, content in enumerate(contents):
        swift.ask("PUT", f"parts/big é/{number}", content)
    answer = swift.ask("PUT", "c/big", X_Object_Manifest=quote("parts/big é/"))
    assert answer.status == 201 and answer.headers["etag"] == md5(b"")
    whole = b"".join(contents)
    found = swift.ask("GET", "c/big")
    assert found.body == whole and found.headers["x-object-manifest"] == quote("parts/big é/")
    assert found.headers["etag"] == f'"{md5("".join(map(md5, contents)).encode())}"'
    assert swift.ask("GET", "c/big", Range="bytes=99-101").body == whole[99:102]
    swift.ask("PUT", "parts/big é/3", b"more")
    assert swift.ask("GET", "c/big").body == whole + b"more"
    with RawClient(swift.port) as client:  # as libcloud 1.5.0 sends it
        head = f"PUT /v1/AUTH_main/c/none HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {swift.token}\r\n"
        client.send(f"{head}X-Object-Manifest: nothing/there\r\n\r\n".encode())
        assert client.answer().status == 201
    assert swift.ask("GET", "c/none").body == b""
    for wrong in ("nonsense", "c/%FF", "c/"):
        assert swift.ask("PUT", "c/x", X_Object_Manifest=wrong).status == 400
    # One that looks as a static one is written.
    forged = f'[["c","o","{md5(b"x")}",5,0,1000000000000]]'
    assert swift.ask("PUT", "c/forged", X_Object_Manifest=f"[/{forged}").status == 201
    assert swift.ask("HEAD", "c/forged").headers["content-length"] == "0"
    assert swift.ask("DELETE", "c/forged", query="multipart-manifest=delete").status == 400
    # The manifest itself, and not what it joins.
    itself = swift.ask("GET", "c/big", query="multipart-manifest=get")
    assert (itself.status, itself.body, itself.headers["etag"].strip('"')) == (200, b"", md5(b""))
    assert (
        swift.ask("POST", "c/big", X_Object_Manifest=quote("parts/big é/"), X_Object_Meta_A="b").status == 202
    )
    assert swift.ask("POST", "c/big", X_Object_Manifest="parts/else").status == 501
    # One whose name begins as those that it joins, as openstacksdk makes it; and another one among them.
    for name in ("parts/big é/", "parts/big é/2b"):
        assert swift.ask("PUT", name, X_Object_Manifest=quote("parts/big é/")).status == 201
        assert swift.ask("GET", name).body == whole + b"more"
        assert swift.ask("DELETE", name).status == 204
    # With bytes of its own, which others see that join it.
    swift.ask("PUT", "parts/own/", b"own", X_Object_Manifest=quote("parts/own/"))
    swift.ask("PUT", "parts/own/1", b"AAA")
    found = swift.ask("GET", "parts/own/")
    assert (found.body, found.headers["content-length"]) == (b"ownAAA", "6")
    assert swift.ask("GET", "parts/own/", Range="bytes=2-4").body == b"nAA"
    assert swift.ask("GET", "parts/own/", query="multipart-manifest=get").body == b"own"
    # A static manifest among what it joins is joined, too.
    static = json.dumps([{"path": "parts/big é/0", "range": "1-3"}]).encode()
    assert swift.ask("PUT", "parts/big é/9", static, query="multipart-manifest=put").status == 201
    first = swift.ask("GET", "parts/big é/0").body
    assert swift.ask("GET", "c/big").body == whole + b"more" + first[1:4]


def test_static_manifests(swift):
    swift.ask("PUT", "c")
    contents = {"c/1": os.urandom(MB + 7), "c/ü": b"12345"}
    for path, content in contents.items():
        swift.ask("PUT", path, content)
    entries = [
        {"path": "/c/1", "etag": md5(contents["c/1"]), "size_bytes": MB + 7},
        {"path": "c/ü", "range": "1-2"},
        {"path": "/c/ü", "etag": None, "size_bytes": None, "range": "-1"},
    ]

    def put(entries: object):
        return swift.ask("PUT", "c/whole", json.dumps(entries).encode(), query="multipart-manifest=put")

    assert put(entries).status == 201
    whole = contents["c/1"] + b"23" + b"5"
    found = swift.ask("GET", "c/whole")
    assert found.body == whole and found.headers["x-static-large-object"] == "True"
    assert found.headers["etag"].startswith('"')
    assert swift.ask("GET", "c/whole", Range=f"bytes={MB}-").body == whole[MB:]
    assert swift.ask("HEAD", "c/whole").headers["content-length"] == str(len(whole))
    shown = json.loads(swift.ask("GET", "c/whole", query="multipart-manifest=get").body)
    assert [each["name"] for each in shown] == ["/c/1", "/c/ü", "/c/ü"] and shown[1]["range"] == "1-2"
    raw = swift.ask("GET", "c/whole", query="multipart-manifest=get&format=raw").body
    assert put(json.loads(raw)).status == 201 and swift.ask("GET", "c/whole").body == whole
    for wrong in (
        [],
        {},
        [{}],
        [{"path": "/c/none"}],
        [{"path": "/c/1", "etag": "x"}],
        [{"path": "/c/1", "size_bytes": 1}],
        [{"path": "/c/ü", "range": "9-"}],
        [{"path": "/c/ü", "range": "x"}],
        [{"path": "/c/ü", "range": "1" * 5000}],
        [{"path": "/c/\ud800"}],
    ):
        answer = put(wrong)
        assert answer.status == 400 and json.loads(answer.body)["detail"]
    assert put([{"data": "eA=="}]).status == 501  # what Swift can do, and this cannot
    assert swift.ask("PUT", "c/whole", b"[", query="multipart-manifest=put").status == 400
    assert swift.ask("GET", "c/whole").body == whole
    swift.ask("PUT", "c/ü", b"54321")  # a segment is another one now
    assert swift.ask("GET", "c/whole").status == 409
    answer = swift.ask("DELETE", "c/whole", query="multipart-manifest=delete", Accept="application/json")
    assert json.loads(answer.body)["Number Deleted"] == 3
    assert swift.names("c") == []


def test_static_manifests_of_static_manifests(swift):
    for container in ("c", "inner"):
        swift.ask("PUT", container)

    def put(path: str, *entries: dict[str, object]):
        return swift.ask("PUT", path, json.dumps(entries).encode(), query="multipart-manifest=put")

    swift.ask("PUT", "inner/1", b"0123456789")
    swift.ask("PUT", "inner/2", b"abcdef")
    assert put("c/a", {"path": "inner/1"}, {"path": "inner/2", "range": "0-2"}).status == 201
    etag = md5(f"{md5(b'0123456789')}{md5(b'abcdef')}:0-2;".encode())
    assert (
        put("c/b", {"path": "c/a", "etag": etag, "size_bytes": 13}, {"path": "c/a", "range": "9-11"}).status
        == 201
    )
    assert put("c/top", {"path": "c/b", "range": "1-"}, {"path": "inner/2"}).status == 201
    whole = b"123456789abc9ababcdef"
    found = swift.ask("GET", "c/top")
    assert (found.body, found.headers["content-length"]) == (whole, str(len(whole)))
    assert swift.ask("GET", "c/top", Range="bytes=8-13").body == whole[8:14]
    shown = json.loads(swift.ask("GET", "c/top", query="multipart-manifest=get").body)
    assert [each.get("sub_slo") for each in shown] == [True, None]
    raw = swift.ask("GET", "c/top", query="multipart-manifest=get&format=raw").body
    assert put("c/top", *json.loads(raw)).status == 201 and swift.ask("GET", "c/top").body == whole
    assert put("c/x", {"path": "c/a", "etag": md5(b"")}).status == 400

    # All of what it is made of has to be for everybody, however deep it lies.
    url = "c/top"
    assert swift.ask("GET", url, token="").status == 401
    swift.ask("POST", "c", X_Container_Read=".r:*")
    assert swift.ask("GET", url, token="").status == 403
    swift.ask("POST", "inner", X_Container_Read=".r:*")
    assert swift.ask("GET", url, token="").body == whole

    # What may not be seen is not told of either.
    swift.ask("POST", "inner", X_Remove_Container_Read="x")
    swift.ask("DELETE", "inner/1")
    assert swift.ask("GET", url, token="").status == 403
    assert swift.ask("GET", url).status == 409
    swift.ask("PUT", "inner/1", b"0123456789")

    # Not without end: in depth, in what is joined in the end, and not of itself.
    assert put("c/top", {"path": "c/top"}).status == 400
    assert swift.ask("GET", url).body == whole
    for depth in range(12):
        below = f"c/deep{depth - 1}" if depth else "inner/2"
        status = put(f"c/deep{depth}", {"path": below}).status
        assert status == (201 if depth < 10 else 400), depth
        if status != 201:
            break
    assert swift.ask("GET", "c/deep9").body == b"abcdef"
    # (An object that is there a thousand times is asked for once.)
    assert put("c/wide0", *[{"path": "inner/2"}] * 1000).status == 201
    assert put("c/wide1", *[{"path": "c/wide0"}] * 90).status == 201
    refused = put("c/wide2", *[{"path": "c/wide0"}] * 101)
    assert refused.status == 400 and b"more than 100000" in refused.body
    assert put("c/a", {"path": "c/b"}).status == 201
    assert swift.ask("GET", "c/a").status == 409

    # What has changed underneath is said, and the delete goes as deep as they do.
    assert put("c/a", {"path": "inner/1"}, {"path": "inner/2", "range": "0-2"}).status == 201
    assert swift.ask("GET", "c/top").body == whole
    for container in ("deep", "wide"):
        for number in range(10):
            swift.ask("DELETE", f"c/{container}{number}")
    answer = swift.ask("DELETE", "c/top", query="multipart-manifest=delete", Accept="application/json")
    assert json.loads(answer.body)["Number Deleted"] == 5
    assert swift.names("c") == swift.names("inner") == []


def test_many_deleted_at_once(swift):
    for container in ("c", "empty"):
        swift.ask("PUT", container)
    for name in ("a", "é"):
        swift.ask("PUT", f"c/{name}", b"x")
    body = "\n".join(["/c/a", quote("c/é"), "c/none", "empty", "c", ""]).encode()
    swift.ask("PUT", "c/stays", b"x")
    answer = swift.ask("POST", "", body, query="bulk-delete", Accept="application/json")
    said = json.loads(answer.body)
    assert (said["Number Deleted"], said["Number Not Found"]) == (3, 1)
    assert said["Errors"] == [["/c", "409 Conflict"]]
    assert swift.names("") == ["c"] and swift.names("c") == ["stays"]
    # Lines are what stands between line feeds, and names are UTF-8.
    swift.ask("PUT", "c/k", b"x")
    body = "c/no\u2028c/k".encode()
    said = json.loads(swift.ask("POST", "", body, query="bulk-delete", Accept="application/json").body)
    assert (said["Number Deleted"], said["Number Not Found"]) == (0, 1)
    assert swift.ask("POST", "", b"c/%FF", query="bulk-delete").status == 400
    answer = swift.ask("DELETE", "c", b"c/stays\nc/k", query="bulk-delete")
    assert b"Number Deleted: 2" in answer.body and swift.names("") == ["c"]


def test_what_the_service_says_of_itself(service):
    info = json.loads(ask(service.port, request("GET", "/info")).body)
    assert {"swift", "slo", "bulk_delete"} <= info.keys()
    assert ask(service.port, request("GET", "/readyz")).status == 200
    ask(service.port, request("GET", "/v1/AUTH_main/c/o"))
    time.sleep(0.5)  # figures are put on the board now and then
    assert b'route="swift object"' in ask(service.port, request("GET", "/metrics")).body
