"""Storages over real gateways."""

import gzip
import io
import os
import pickle
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import ContentFile, File
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.core.management import call_command, load_command_class
from django.db import models
from django.db.migrations.writer import MigrationWriter
from django.test import override_settings
from django.utils import timezone

from sfss.django.gateway import GatewayError
from sfss.django.storage import SFSSManifestStaticStorage, SFSSStaticStorage, SFSSStorage
from tests.programs import Sfss, free_port

KEY = "a key that is long enough"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    server = Sfss("--data", tmp_path_factory.mktemp("data"), "--write-token", "w", "--signing-key", KEY)
    yield server
    server.stop()


@pytest.fixture
def storage(gateway, request):
    folder = request.node.name.replace("[", "-").replace("]", "")
    return SFSSStorage(gateways=f"http://127.0.0.1:{gateway.port}", write_token="w", location=folder)


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def test_what_is_saved_is_there(storage):
    content = os.urandom(100_000)
    name = storage.save("ä/ü b&+%#?.bin", ContentFile(content))
    assert name == "ä/ü b&+%#?.bin"
    assert storage.exists(name) and storage.size(name) == 100_000
    with storage.open(name) as file:
        assert file.read() == content
    assert fetched(storage.url(name)) == content
    storage.delete(name)
    assert not storage.exists(name)
    storage.delete(name)  # it is gone already
    with pytest.raises(FileNotFoundError):
        storage.open(name)
    with pytest.raises(FileNotFoundError):
        storage.size(name)
    with pytest.raises(ValueError, match="must be given"):
        storage.delete("")


def test_a_name_that_is_taken(storage):
    first, second = (storage.save("a.txt", ContentFile(text)) for text in (b"1", b"2"))
    assert first == "a.txt" and second != first and second.startswith("a_") and second.endswith(".txt")
    assert storage.open(first).read() == b"1" and storage.open(second).read() == b"2"
    over = SFSSStorage(**{**storage._given, "file_overwrite": True})
    assert over.save("a.txt", ContentFile(b"3")) == "a.txt"
    assert storage.open("a.txt").read() == b"3"
    assert over.get_available_name("a.txt") == "a.txt" and storage.get_available_name("a.txt") != "a.txt"
    long = storage.save("x" * 50 + ".txt", ContentFile(b"4"), max_length=20)
    longer = storage.save("x" * 50 + ".txt", ContentFile(b"5"), max_length=20)
    assert len(long) == len(longer) == 20 and long != longer and longer.endswith(".txt")
    with pytest.raises(SuspiciousFileOperation, match="max_length"):
        storage.save("a" * 5 + "." + "x" * 50, ContentFile(b""), max_length=20)


@pytest.mark.parametrize("name", ["../up", "/absolute", "a/../../b", "..", "a\\..\\..\\b"])
def test_names_that_lead_elsewhere_are_refused(storage, name):
    with pytest.raises(SuspiciousFileOperation):
        storage.save(name, ContentFile(b"x"))
    for ask in (storage.exists, storage.open, storage.url, storage.delete):
        with pytest.raises(SuspiciousFileOperation):
            ask(name)


def test_what_is_given_may_be_anything_and_stays_open(storage, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"of a file")
    temporary = TemporaryUploadedFile("t.txt", "text/plain", 3, None)
    temporary.write(b"abc")
    with path.open("rb") as opened:
        opened.read(3)  # wherever it stands
        given = [
            File(opened),
            io.BytesIO(b"raw"),
            SimpleUploadedFile("s.txt", b"s"),
            temporary,
            ContentFile("tëxt"),
        ]
        saved = [storage.save(f"n{number}", content) for number, content in enumerate(given)]
        assert not opened.closed and not temporary.closed
    contents = [storage.open(name).read() for name in saved]
    assert contents == [b"of a file", b"raw", b"s", b"abc", "tëxt".encode()]
    temporary.close()


def test_modes(storage):
    with storage.open("m", "w") as file:
        assert file.write("äö\nb\n") == 5
    assert storage.open("m").read() == "äö\nb\n".encode()
    with storage.open("m", "r") as file:
        assert list(file) == ["äö\n", "b\n"]
    with storage.open("m", "ab") as file:
        file.write(b"more")
    with storage.open("m", "r+b") as file:
        assert file.read(2) == "ä".encode()
        file.seek(0)
        file.write(b"XY")
        assert file.size == len("äö\nb\nmore".encode())
    assert storage.open("m").read() == "XYö\nb\nmore".encode()
    with pytest.raises(FileExistsError):
        storage.open("m", "xb").close()
    with storage.open("new", "xb"):
        pass
    assert storage.size("new") == 0
    with storage.open("new2", "wb") as file:
        file.write(b"1")
        assert not storage.exists("new2")
        with pytest.raises(io.UnsupportedOperation):
            file.read()
    with storage.open("m") as file:
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
    with file.open() as again:
        assert again.read(2) == b"XY"
    for mode in ("", "rw", "z", "rbt"):
        with pytest.raises(ValueError, match="mode"):
            storage.open("m", mode)


def test_the_next_gateway_is_asked_when_one_fails(gateway, storage):
    urls = [f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{gateway.port}"]
    both = SFSSStorage(**{**storage._given, "gateways": urls})
    assert both.save("f", ContentFile(b"x")) == "f"
    assert both.open("f").read() == b"x" and both._gateways._failover.in_order(urls)[0] == urls[1]
    none = SFSSStorage(**{**storage._given, "gateways": urls[:1]})
    with pytest.raises(GatewayError, match="no gateway answers"):
        none.save("f", ContentFile(b"x"))
    with pytest.raises(GatewayError, match="no gateway answers"):
        none.exists("f")


def test_what_a_gateway_refuses(gateway, storage):
    without = SFSSStorage(gateways=f"http://127.0.0.1:{gateway.port}")
    with pytest.raises(GatewayError, match="401") as caught:
        without.save("f", ContentFile(b"x"))
    assert caught.value.status == 401
    with pytest.raises(GatewayError, match="413") as caught:
        storage.save("f", ContentFile(bytes(3_000_000)))
    assert not storage.exists("f")


def test_urls(tmp_path):
    server = Sfss("--data", tmp_path, "--read-token", "r", "--write-token", "w", "--signing-key", KEY)
    try:
        url = f"http://127.0.0.1:{server.port}"
        signing = SFSSStorage(gateways=url, write_token="w", read_token="r", signing_key=KEY, location="l")
        signing.save("ä b", ContentFile(b"x"))
        assert signing.open("ä b").read() == b"x"
        assert fetched(signing.url("ä b")) == b"x"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            fetched(signing.url("ä b", expire=-60))
        with pytest.raises(urllib.error.HTTPError, match="401"):
            fetched(SFSSStorage(gateways=url, location="l").url("ä b"))
    finally:
        server.stop()
    assert SFSSStorage(base_url="/files/").url("ä b") == "/files/%C3%A4%20b"
    assert SFSSStorage(base_url="/files/").url("a", parameters={"v": 1}) == "/files/a?v=1"
    assert SFSSStorage(custom_domain="cdn.example", location="l").url("a") == "https://cdn.example/l/a"


def test_options_are_looked_for_where_users_put_them():
    class Mine(SFSSStorage):
        location = "of-class"

    assert SFSSStorage().options["location"] == ""
    assert Mine().options["location"] == "of-class" and Mine(location="given").options["location"] == "given"
    storage, own = SFSSStorage(), Mine()
    with override_settings(SFSS_LOCATION="of-settings", SFSS_GATEWAYS=["http://x:1"]):
        assert storage.options["location"] == "of-settings" and own.options["location"] == "of-class"
        assert storage.options["gateways"] == ["http://x:1"]
    assert storage.options["location"] == ""
    with pytest.raises(ImproperlyConfigured, match="has no option locaton. It has: base_url"):
        SFSSStorage(locaton="x")
    with pytest.raises(ImproperlyConfigured, match="gateways"):
        SFSSStorage(gateways=[])


def test_pickles_and_migrations_have_no_more_than_they_need(storage):
    again = pickle.loads(pickle.dumps(storage))
    assert again == storage and hash(again) == hash(storage) and again.options == storage.options
    assert again != SFSSStorage()
    storage = SFSSStorage(location="x", write_token="secret", signing_key="secret", read_token="secret")
    path, arguments, options = storage.deconstruct()
    assert (path, arguments, options) == ("sfss.django.storage.SFSSStorage", [], {"location": "x"})
    text, _ = MigrationWriter.serialize(models.FileField(storage=storage))
    assert "secret" not in text and "SFSSStorage(location='x')" in text


@pytest.mark.parametrize("by_ours", [True, False])
def test_static_files_by_their_hash(gateway, tmp_path, by_ours, capsys):
    source = tmp_path / "source"
    (source / "css").mkdir(parents=True)
    (source / "css" / "a.css").write_text("@import 'b.css'; body { background: url(../b.png) }")
    (source / "css" / "b.css").write_text("p { background: url(../b.png) }")
    (source / "b.png").write_bytes(b"png")
    for number in range(40):
        (source / f"n{number}.txt").write_bytes(b"%d" % number)
    options = {
        "gateways": f"http://127.0.0.1:{gateway.port}", "write_token": "w", "location": f"hashed-{by_ours}"
    }  # fmt: skip
    storages = {
        "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
        "staticfiles": {"BACKEND": "sfss.django.storage.SFSSManifestStaticStorage", "OPTIONS": options},
    }
    apps = ["sfss.django", "django.contrib.staticfiles"]
    with override_settings(
        STORAGES=storages,
        STATICFILES_DIRS=[source],
        STATICFILES_FINDERS=["django.contrib.staticfiles.finders.FileSystemFinder"],
        INSTALLED_APPS=apps if by_ours else apps[1:],
    ):

        def collect(**flags) -> str:
            app = "sfss.django" if by_ours else "django.contrib.staticfiles"
            call_command(load_command_class(app, "collectstatic"), interactive=False, **flags)
            return capsys.readouterr().out

        assert "43 static files copied, 43 post-processed" in collect()
        (source / "n7.txt").write_bytes(b"changed")
        again = collect()
        if by_ours:
            assert "1 static file copied, 42 unmodified, 43 post-processed" in again
        collect(dry_run=True)
        storage = SFSSManifestStaticStorage(**options)
        with override_settings(DEBUG=False):
            url, text = storage.url("css/a.css"), storage.url("n7.txt")
        assert "/css/a." in url and url.endswith(".css")
        css = fetched(url).decode()
        assert css.count("b.") == 2 and ".png" in css and fetched(text) == b"changed"
        assert storage.open("n7.txt").read() == b"changed"
    plain = SFSSStaticStorage(**options)
    assert (
        plain.save("twice.txt", ContentFile(b"1"))
        == plain.save("twice.txt", ContentFile(b"2"))
        == "twice.txt"
    )
    assert plain.open("twice.txt").read() == b"2"


def test_static_files_that_cannot_be_uploaded_fail_the_command(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x")
    options = {"gateways": f"http://127.0.0.1:{free_port()}"}
    for backend in ("SFSSStaticStorage", "SFSSManifestStaticStorage"):
        storages = {
            "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
            "staticfiles": {"BACKEND": f"sfss.django.storage.{backend}", "OPTIONS": options},
        }
        with override_settings(
            STORAGES=storages,
            STATICFILES_DIRS=[tmp_path],
            STATICFILES_FINDERS=["django.contrib.staticfiles.finders.FileSystemFinder"],
        ):
            with pytest.raises(GatewayError, match="no gateway answers"):
                call_command(
                    load_command_class("sfss.django", "collectstatic"), interactive=False, verbosity=0
                )


def test_times_where_the_store_keeps_them(tmp_path):
    Path(tmp_path / "files").mkdir()
    server = Sfss("--store", f"directory:{tmp_path / 'files'}")
    try:
        storage = SFSSStorage(gateways=f"http://127.0.0.1:{server.port}")
        storage.save("t", ContentFile(b"x"))
        for ask in (storage.get_modified_time, storage.get_created_time, storage.get_accessed_time):
            assert abs(ask("t") - timezone.now()) < timedelta(minutes=1)
        with override_settings(USE_TZ=False):
            assert timezone.is_naive(storage.get_modified_time("t"))
    finally:
        server.stop()


def test_a_store_without_times_says_so(storage):
    storage.save("t", ContentFile(b"x"))
    with pytest.raises(NotImplementedError):
        storage.get_modified_time("t")


def test_folders_are_listed(storage):
    for name in ("t", "ä/1", "ä/2", "ä/b/3"):
        storage.save(name, ContentFile(b"x"))
    assert storage.listdir("") == storage.listdir(".") == (["ä"], ["t"])
    assert storage.listdir("ä") == storage.listdir("ä/") == (["b"], ["1", "2"])
    assert storage.listdir("nothing") == ([], [])
    for path in ("..", "/etc", "a/../../b"):
        with pytest.raises(SuspiciousFileOperation):
            storage.listdir(path)


def test_what_cannot_list_says_so(memcached):
    gateway = Sfss("--proxy", f"127.0.0.1:{memcached}")
    try:
        with pytest.raises(NotImplementedError, match="cannot say"):
            SFSSStorage(gateways=gateway.url).listdir("")
    finally:
        gateway.stop()


def test_texts_are_stored_compressed(tmp_path):
    gateway = Sfss("--data", tmp_path, "--gzip-texts")
    try:
        plain, packing = SFSSStorage(gateways=gateway.url), SFSSStorage(gateways=gateway.url, gzip=True)
        content = b"body { color: red }\n" * 1000
        assert packing.save("a/site.css", ContentFile(content)) == "a/site.css"
        stored = plain.open("a/site.css").read()
        assert len(stored) < 1000 and gzip.decompress(stored) == content
        assert packing.open("a/site.css").read() == content and packing.size("a/site.css") == len(content)
        for method in ("GET", "HEAD"):
            request = urllib.request.Request(packing.url("a/site.css"), method=method)
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert answer.headers["Content-Encoding"] == "gzip"
                assert answer.headers["Content-Type"].startswith("text/css")
                assert int(answer.headers["Content-Length"]) == len(stored)
        with packing.open("a/site.css", "ab") as file:
            file.write(b"more")
        assert packing.open("a/site.css").read() == content + b"more"
        # What is no text, or does not become shorter, is as it was; what is compressed already comes back so.
        for name, saved in (("b.jpg", content), ("c.css", b"x"), ("d.svg", gzip.compress(content))):
            packing.save(name, ContentFile(saved))
            assert packing.open(name).read() == saved
        with urllib.request.urlopen(packing.url("b.jpg"), timeout=5) as answer:
            assert answer.headers["Content-Encoding"] is None and answer.read() == content
        assert plain.open("c.css").read() == b"x"
        plain.save("cut.css", ContentFile(stored[:-5]))
        with pytest.raises(OSError, match="cut off"):
            packing.open("cut.css")
    finally:
        gateway.stop()
    gateway = Sfss("--data", tmp_path)
    try:
        with urllib.request.urlopen(f"{gateway.url}/file?path=cut.css", timeout=5) as answer:
            assert answer.headers["Content-Encoding"] is None and answer.read() == stored[:-5]
    finally:
        gateway.stop()


def test_static_files_are_compressed_once(tmp_path):
    gateway = Sfss("--data", tmp_path / "data", "--gzip-texts")
    try:
        storage = SFSSStaticStorage(gateways=gateway.url, gzip=True)
        assert storage.put_if_new("a.css", b"x" * 1000) and not storage.put_if_new("a.css", b"x" * 1000)
    finally:
        gateway.stop()
