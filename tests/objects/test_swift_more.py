"""What of Swift's API not every server has: objects that expire, temporary URLs, archives that are unpacked."""

import bz2
import gzip
import hashlib
import hmac
import io
import json
import os
import subprocess
import tarfile
import time
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import quote

import pytest

from tests.http import ask, request
from tests.objects.swift import Swift
from tests.objects.test_clients import CLIENTS
from tests.programs import SfssObjects

KB = 1024


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = SfssObjects(tmp_path_factory.mktemp("objects"), "--max-file-size", 64 * KB)
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.printed()


@pytest.fixture
def swift(service):
    swift = Swift(service)
    swift.ask("PUT", "c")
    yield swift
    swift.ask("POST", "", X_Account_Meta_Temp_URL_Key="", X_Account_Meta_Temp_URL_Key_2="")


def test_objects_expire(swift):
    when = int(time.time()) + 1000
    assert swift.ask("PUT", "c/later", b"x", X_Delete_At=str(when)).status == 201
    assert swift.ask("HEAD", "c/later").headers["x-delete-at"] == str(when)
    seconds = 3  # (Swift counts whole ones: of one, nothing may be left.)
    begun = time.monotonic()
    assert swift.ask("PUT", "c/soon", b"x", X_Delete_After=str(seconds)).status == 201
    content = swift.ask("GET", "c/soon").body
    assert content == b"x" or time.monotonic() - begun > seconds - 1
    assert swift.ask("COPY", "c/later", Destination="c/copy").status == 201
    assert "x-delete-at" not in swift.ask("HEAD", "c/copy").headers
    for name, value in (
        ("X_Delete_At", "1"),
        ("X_Delete_At", "soon"),
        ("X_Delete_After", "-1"),
        ("X_Delete_After", "0"),
    ):
        assert swift.ask("PUT", "c/bad", b"x", **{name: value}).status == 400
        assert swift.ask("POST", "c/later", **{name: value}).status == 400
    assert swift.ask("GET", "c/bad").status == 404
    assert swift.ask("POST", "c/later", X_Delete_After="5000").status == 202
    assert int(swift.ask("HEAD", "c/later").headers["x-delete-at"]) > when
    assert swift.ask("POST", "c/later", X_Object_Meta_A="1").status == 202  # which replaces all
    assert "x-delete-at" not in swift.ask("HEAD", "c/later").headers
    time.sleep(max(begun + seconds + 0.1 - time.monotonic(), 0.1))
    assert swift.ask("GET", "c/soon").status == 404 == swift.ask("POST", "c/soon").status
    assert swift.ask("PUT", "c/soon", b"new", If_None_Match="*").status == 201
    assert swift.ask("GET", "c/soon").body == b"new"


def temporary(
    path: str, key: str = "k", method: str = "GET", seconds: int = 100, digest: str = "sha256", **more: str
) -> str:
    """A signed target. *more*: arguments; prefix and ip_range are signed."""
    expires = int(time.time()) + seconds
    what = f"/v1/AUTH_main/{path}"
    signed = (
        f"prefix:/v1/AUTH_main/{path.partition('/')[0]}/{more['temp_url_prefix']}"
        if "temp_url_prefix" in more
        else what
    )
    first = f"ip={more['temp_url_ip_range']}\n" if "temp_url_ip_range" in more else ""
    text = f"{first}{method}\n{expires}\n{signed}"
    signature = hmac.new(key.encode(), text.encode(), digest).hexdigest()
    arguments = "".join(f"&{name}={quote(value)}" for name, value in more.items())
    return f"{quote(what)}?temp_url_sig={signature}&temp_url_expires={expires}{arguments}"


def test_temporary_urls(service, swift):
    def get(target: str, method: str = "GET", body: bytes = b"", **headers: str):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(service.port, request(method, target, body, named))

    swift.ask("PUT", "c/dir/a b.txt", b"content", X_Object_Meta_Secret="s", X_Object_Meta_Public_Colour="red")
    good = temporary("c/dir/a b.txt")
    assert get(good).status == 401  # nobody has a key yet
    swift.ask("POST", "", X_Account_Meta_Temp_URL_Key="k", X_Account_Meta_Temp_URL_Key_2="second")
    found = get(good)
    assert found.body == b"content" and found.headers["x-object-meta-public-colour"] == "red"
    assert "x-object-meta-secret" not in found.headers
    assert (
        found.headers["content-disposition"] == "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt"
    )
    assert get(good, "HEAD").status == 200 and get(good, "DELETE").status == 401
    assert get(good, Range="bytes=1-2").body == b"on"
    for digest in ("sha1", "sha512"):
        assert get(temporary("c/dir/a b.txt", "second", digest=digest)).status == 200
    assert get(temporary("c/dir/a b.txt", inline="")).headers["content-disposition"] == "inline"
    named = get(temporary("c/dir/a b.txt", filename='ö"\r\nX: y')).headers["content-disposition"]
    assert named == "attachment; filename=\"?'X: y\"; filename*=UTF-8''%C3%B6%27X%3A%20y"
    swift.ask("PUT", "c/own", b"x", Content_Disposition="attachment; filename=own.txt")
    for method in ("GET", "HEAD"):
        headers = get(temporary("c/own"), method).headers
        assert headers["content-disposition"] == "attachment; filename=own.txt"
        assert 0 < parsedate_to_datetime(headers["expires"]).timestamp() - time.time() < 4000
        assert get(temporary("c/own", inline=""), method).headers["content-disposition"] == "inline"
    assert get(temporary("c/dir/a b.txt", temp_url_prefix="dir/")).status == 200
    assert get(temporary("c/dir/a b.txt", temp_url_ip_range="127.0.0.0/8")).status == 200
    for bad in (
        temporary("c/dir/a b.txt", "other"),
        temporary("c/dir/a b.txt", seconds=-1),
        temporary("c/dir/a b.txt", temp_url_prefix="other/"),
        temporary("c/dir/a b.txt", temp_url_ip_range="10.0.0.0/8"),
        good.replace("a%20b", "a%20c"),
        good.replace("temp_url_sig=", "temp_url_sig=0"),
        good.replace("temp_url_expires=", "temp_url_expires=1"),
        good.replace("AUTH_main", "AUTH_other"),
        good + "&temp_url_prefix=dir",
        good.partition("&")[0],
    ):
        assert get(bad).status == 401, bad
    # It is for one object, and what it is signed for.
    put = temporary("c/put", method="PUT")
    assert get(put, "PUT", b"by url").status == 201 and swift.ask("GET", "c/put").body == b"by url"
    assert get(put, "GET").status == 401 and get(put, "HEAD").status == 200
    assert (
        get(put, "PUT", X_Copy_From="c/dir/a b.txt").status
        == 400
        == get(put, "PUT", X_Object_Manifest="c/d").status
    )
    assert (
        get(temporary("c/put", method="DELETE", **{"multipart-manifest": "delete"}), "DELETE").status == 400
    )
    assert (
        get(temporary("c/put", method="POST", **{"bulk-delete": ""}), "POST", b"c/dir/a b.txt").status == 400
    )
    assert get(temporary("c/put", method="PUT", **{"extract-archive": "tar"}), "PUT", b"x").status == 400
    assert swift.ask("GET", "c/dir/a b.txt").status == 200
    # The key of a container is good for what is in it.
    swift.ask("PUT", "d")
    swift.ask("PUT", "d/part1", b"of d")
    swift.ask("PUT", "c/joined", X_Object_Manifest="d/part")
    swift.ask("POST", "c", X_Container_Meta_Temp_URL_Key="of c")
    assert get(temporary("c/put", "of c")).status == 200 and get(temporary("d/part1", "of c")).status == 401
    assert (
        get(temporary("c/joined", "of c")).status == 403 and get(temporary("c/joined", "k")).body == b"of d"
    )
    assert good.partition("temp_url_sig=")[2][:64] not in service.printed()


def test_the_swift_command_makes_temporary_urls(service, swift):
    swift.ask("PUT", "c/o", b"x")
    swift.ask("POST", "", X_Account_Meta_Temp_URL_Key="k")
    for flags in ([], ["--digest", "sha512"], ["--iso8601"]):
        command = [CLIENTS / "swift", "tempurl", *flags, "GET", "100", "/v1/AUTH_main/c/o", "k"]
        url = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert ask(service.port, request("GET", url)).body == b"x", url
    command = [CLIENTS / "swift", "tempurl", "--prefix-based", "PUT", "100", "/v1/AUTH_main/c/p", "k"]
    url = (
        subprocess.run(command, capture_output=True, text=True, check=True)
        .stdout.strip()
        .replace("/c/p?", "/c/p/q?")
    )
    assert (
        ask(service.port, request("PUT", url, b"y")).status == 201 and swift.ask("GET", "c/p/q").body == b"y"
    )


def archive(files: dict[str, bytes], mode: str = "w") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as made:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        made.addfile(folder)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return data.getvalue()


@pytest.mark.parametrize("kind, mode", [("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2")])
def test_archives_are_unpacked(swift, kind, mode):
    files = {"./folder/a": b"a", "folder/large": os.urandom(300 * KB), "ö": b"", "/absolute": b"b"}
    where = f"from {kind}"
    answer = swift.ask(
        "PUT",
        f"{where}/below",
        archive(files, mode),
        query=f"extract-archive={kind}",
        Accept="application/json",
    )
    told = json.loads(answer.body)
    assert (told["Number Files Created"], told["Response Status"], told["Errors"]) == (4, "201 Created", [])
    assert swift.names(where) == ["below/absolute", "below/folder/a", "below/folder/large", "below/ö"]
    assert swift.ask("GET", f"{where}/below/folder/large").body == files["folder/large"]
    # The first folders are containers.
    answer = swift.ask(
        "PUT", "", archive({"made/o": b"x", "top": b"y"}, mode), query=f"extract-archive={kind}"
    )
    assert b"Number Files Created: 1" in answer.body and b"201 Created" in answer.body
    assert swift.names("made") == ["o"]


def test_files_of_archives_have_the_headers_of_the_request(swift):
    files = archive({"page.html": b"<p>", "picture.png": b"x", "what": b"?"})
    ask = partial(swift.ask, "PUT", "typed", files, query="extract-archive=tar")
    types = lambda: [  # noqa: E731
        swift.ask("HEAD", f"typed/{n}").headers["content-type"] for n in ("page.html", "picture.png", "what")
    ]
    assert ask(X_Object_Meta_Colour="red", X_Delete_After="1000").status == 200
    assert types() == ["text/html", "image/png", "application/octet-stream"]
    headers = swift.ask("HEAD", "typed/what").headers
    assert headers["x-object-meta-colour"] == "red" and int(headers["x-delete-at"]) > time.time() + 900
    assert ask(Content_Type="text/plain").status == 200
    assert types() == ["text/plain"] * 3
    assert ask(Content_Type="text/plain", X_Detect_Content_Type="true").status == 200
    assert types() == ["text/html", "image/png", "application/octet-stream"]


def test_archives_that_are_none(swift):
    whole = archive({"a": b"a" * KB, "b": os.urandom(200 * KB)})
    for kind, data in (
        ("tar", b"nonsense" * KB),
        ("tar.gz", whole),
        ("tar.gz", gzip.compress(whole)[:-1000]),
        ("tar", whole[: 100 * KB]),
        ("tar.bz2", b""),
    ):
        answer = swift.ask("PUT", "bad", data, query=f"extract-archive={kind}", Accept="application/json")
        told = json.loads(answer.body)
        assert told["Response Status"] == "400 Bad Request" and told["Errors"], (kind, told)
    assert swift.ask("PUT", "bad", whole, query="extract-archive=zip").status == 400
    found = swift.ask("GET", "bad/a")
    assert found.status == 200 and hashlib.md5(found.body).hexdigest() == found.headers["etag"]
    assert swift.ask("GET", "bad/b").status == 404  # half of a file is none


def test_archives_that_want_too_much(service, swift):
    """What is small when it is sent, and large when it is read."""
    before = service.resident_mb()
    zeros = bz2.compress(bytes(100_000_000))  # no archive: its first header is empty
    swift.ask("PUT", "bombs", zeros, query="extract-archive=tar.bz2")
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 100_000_000
    data = gzip.compress(long.tobuf() + bytes(long.size))
    told = json.loads(
        swift.ask("PUT", "bombs", data, query="extract-archive=tar.gz", Accept="application/json").body
    )
    assert "too long" in str(told["Errors"])
    sparse = io.BytesIO()
    with tarfile.open(fileobj=sparse, mode="w", format=tarfile.PAX_FORMAT) as made:
        member = tarfile.TarInfo("sparse")
        member.pax_headers = {
            "GNU.sparse.realsize": "100000000",
            "GNU.sparse.map": "0,0",
            "GNU.sparse.name": "s",
        }
        made.addfile(member, io.BytesIO())
        bad = tarfile.TarInfo("bad")
        bad.pax_headers = {"GNU.sparse.realsize": "abc", "GNU.sparse.map": "a,b"}
        made.addfile(bad, io.BytesIO())
    told = json.loads(
        swift.ask(
            "PUT", "bombs", sparse.getvalue(), query="extract-archive=tar", Accept="application/json"
        ).body
    )
    assert told["Number Files Created"] == 0 and told["Response Status"] == "400 Bad Request"
    nested = long.tobuf()[:124] + b"%011o\0" % 0 + long.tobuf()[136:]
    assert swift.ask("PUT", "bombs", nested * 1500, query="extract-archive=tar").status in (200, 400)
    assert service.resident_mb() - before < 60
