"""What sites moved from: django-resto, django_dust and django-cockatiel."""

import asyncio
import pickle
import threading
import urllib.request

import pytest
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from sfss.django import dust, resto
from sfss.django.cockatiel import CockatielStorage
from sfss.django.models import Delivery
from sfss.django.replicated import DistributionError
from tests.conftest import need, until
from tests.programs import SfssNode, free_port, start_nginx


@pytest.fixture
def media(tmp_path):
    """Two of django-resto's test servers, and the settings of a site that uses them."""
    servers = [resto.TestHttpServer("127.0.0.1", 0) for _ in range(2)]
    for server in servers:
        server.run()
    hosts = [f"127.0.0.1:{server.port}" for server in servers]
    with override_settings(RESTO_MEDIA_HOSTS=hosts, MEDIA_ROOT=str(tmp_path / "media"), MEDIA_URL="/media/"):
        yield servers
    for server in servers:
        server.stop()


def test_files_are_here_and_on_every_media_server(media, tmp_path):
    storage = resto.HybridStorage()
    name = storage.save("a/é.txt", ContentFile(b"x"))
    assert (tmp_path / "media" / "a" / "é.txt").read_bytes() == b"x"
    assert [server.get_file("/media/a/%C3%A9.txt") for server in media] == [b"x", b"x"]
    with storage.open(name) as file:
        assert file.read() == b"x" and storage.size(name) == 1 and storage.exists(name)
    assert storage.listdir("a") == ([], ["é.txt"]) and storage.path(name).endswith("é.txt")
    assert storage.get_modified_time(name)
    with storage.open(name, "wb") as file:
        file.write(b"y")
    assert [server.get_file("/media/a/%C3%A9.txt") for server in media] == [b"y", b"y"]
    storage.delete(name)
    assert not any(server.has_file("/media/a/%C3%A9.txt") for server in media)
    assert not storage.exists(name)


def test_files_are_on_the_media_servers_only(media, tmp_path):
    storage = resto.DistributedStorage()
    first, second = (storage.save("b.txt", ContentFile(text)) for text in (b"1", b"2"))
    assert first == "b.txt" != second
    assert storage.open(first).read() == b"1" and storage.open(second).read() == b"2"
    assert not (tmp_path / "media").exists()
    with pytest.raises(NotImplementedError):
        storage.path(first)
    with pytest.raises(NotImplementedError):
        storage.listdir("")
    # One of them is enough to read.
    media[0].delete_file("/media/b.txt")
    for _ in range(8):
        assert storage.exists(first) and storage.open(first).read() == b"1" and storage.size(first) == 1


def test_failures_are_fatal_or_logged(media, caplog):
    media[1].override_code = 500
    for storage in (resto.HybridStorage(), resto.DistributedStorage()):
        with pytest.raises(OSError, match="500"):
            storage.save("f", ContentFile(b"x"))
        with pytest.raises(DistributionError):
            storage.delete("f")
    assert "a media server has failed" in caplog.text and "Traceback" not in caplog.text
    with override_settings(RESTO_FATAL_EXCEPTIONS=False, RESTO_SHOW_TRACEBACK=True):
        storage = resto.HybridStorage()
        storage.save("g", ContentFile(b"x"))
        assert media[0].has_file("/media/g") and not media[1].has_file("/media/g")
        assert "Traceback" in caplog.text
        with pytest.warns(UserWarning, match="lost without an error"):
            resto.DistributedStorage()
    media[1].override_code = None
    media[1].readonly = True
    with pytest.raises(DistributionError, match="403"):
        resto.DistributedStorage().save("h", ContentFile(b"x"))


def test_in_the_background(media, caplog):
    storage = resto.AsyncStorage()
    begun = []

    class Queued(resto.AsyncStorage):
        def execute_one(self, func, host, url, *args):
            begun.append((func.__name__, host, url, args))

    storage.save("a", ContentFile(b"x"))
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    assert [server.get_file("/media/a") for server in media] == [b"x", b"x"]
    Queued().save("b", ContentFile(b"y"))
    assert sorted(begun) == sorted(("create", host, "/media/b", (b"y",)) for host in storage.hosts)
    media[0].override_code = 503
    storage.execute_one(storage.transport.create, storage.hosts[0], "/media/c", b"").join()
    assert "a media server has failed" in caplog.text


def test_the_transport(media, caplog):
    transport = resto.DefaultTransport(timeout=3)
    host = f"127.0.0.1:{media[0].port}"
    assert transport.create(host, "/t", b"abc") is False
    assert transport.create(host, "/t", b"abcd") is True and "written over" in caplog.text
    assert (
        transport.exists(host, "/t")
        and transport.size(host, "/t") == 4
        and transport.content(host, "/t") == b"abcd"
    )
    assert transport.delete(host, "/t") is True
    assert transport.delete(host, "/t") is False and "no file to delete" in caplog.text
    assert not transport.exists(host, "/t")
    for ask in (transport.size, transport.content):
        with pytest.raises(FileNotFoundError):
            ask(host, "/t")
    media[0].override_code = 302
    for ask in (transport.content, transport.exists, transport.size, transport.delete):
        with pytest.raises(resto.UnexpectedStatusCode, match="302 Found"):
            ask(host, "/t")
    assert media[0].log[0] == "PUT /t 201"
    assert resto.get_setting("RESTO_TIMEOUT") == 2
    with pytest.raises(KeyError):
        resto.get_setting("RESTO_OTHER")


def test_with_a_queue_a_server_that_was_away_gets_it(media, database):
    storage = resto.HybridStorage(queue="default", write_quorum=1)
    media[1].override_code = 503
    storage.save("q", ContentFile(b"x"))
    assert not media[1].has_file("/media/q")
    media[1].override_code = None
    Delivery.objects.update(next_try="2020-01-01T00:00:00Z")
    assert storage.sender.send_all() == (1, 0)
    assert media[1].get_file("/media/q") == b"x"
    again = pickle.loads(pickle.dumps(storage))
    assert again == storage and again.deconstruct()[2] == {"queue": "default", "write_quorum": 1}


def test_nginx_as_django_resto_configures_it(tmp_path):
    need("nginx")
    port, root = free_port(), tmp_path / "www"
    (root / "media").mkdir(parents=True)
    root.chmod(0o777)
    (root / "media").chmod(0o777)
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    nginx = start_nginx(
        tmp_path,
        f"server {{ listen 127.0.0.1:{port}; location / {{ root {root}; dav_methods PUT DELETE;"
        " create_full_put_path on; dav_access user:rw group:r all:r; } }",
        port,
    )
    try:
        with override_settings(MEDIA_URL="http://media.example/media/"):
            storage = resto.DistributedStorage(hosts=[f"127.0.0.1:{port}"])
            name = storage.save("deep/er/ü.txt", ContentFile(b"x" * 20_000))
            assert storage.open(name).read() == b"x" * 20_000 and storage.size(name) == 20_000
            assert storage.save("deep/er/ü.txt", ContentFile(b"")) != name
            with storage.open(name, "wb") as file:
                file.write(b"over")
            assert storage.open(name).read() == b"over"
            storage.delete(name)
            assert not storage.exists(name)
            storage.delete(name)
    finally:
        nginx.stop()


def test_dust(servers, database, tmp_path):
    with override_settings(DUST_HOSTS=servers.hosts, MEDIA_ROOT=str(tmp_path), MEDIA_URL="/m/"):
        storage = dust.DistributedStorage()
        assert storage.options["timeout"] == 2 and storage.options["write_quorum"] == 1
        servers.kill(0)
        servers.kill(1)
        name = storage.save("d", ContentFile(b"x"))
        assert storage.open(name).read() == b"x"
        servers.kill(2)
        with pytest.raises(DistributionError):
            storage.save("e", ContentFile(b"x"))
        with override_settings(DUST_USE_LOCAL_FS=True):
            assert dust.DistributedStorage().options["local"] is True
            local = dust.DistributedStorage(use_local=True, write_quorum=0)
            local.save("l", ContentFile(b"x"))
            assert (tmp_path / "l").read_bytes() == b"x"
        for number in range(3):
            servers.start(number)
        Delivery.objects.update(next_try="2020-01-01T00:00:00Z")
        local.sender.send_all()
        assert {local.transport.content(host, "/m/l") for host in servers.hosts} == {b"x"}
        assert {local.transport.content(host, "/m/d") for host in servers.hosts} == {b"x"}
        assert not any(local.transport.exists(host, "/m/e") for host in servers.hosts)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    ports = [free_port(), free_port()]
    started = [
        SfssNode(tmp_path_factory.mktemp("node"), "--node", f"http://127.0.0.1:{ports[1 - n]}", port=ports[n])
        for n in range(2)
    ]
    yield started
    for node in started:
        node.stop()


def test_cockatiel(nodes):
    urls = [f"http://127.0.0.1:{node.port}" for node in nodes]
    options = {
        "PUBLIC_URL": "https://files.example/",
        "STORAGE_NODES": [f"http://127.0.0.1:{free_port()}", *urls],
    }
    with override_settings(COCKATIEL_STORAGE_OPTIONS=options):
        storage = CockatielStorage()
        name = storage.save("a/ü.txt", ContentFile(b"x"), max_length=120)
        assert name.startswith("a/ü_") and name.endswith(".txt") and len(name) <= 120
        assert storage.url(name).startswith("https://files.example/a/%C3%BC_")
        assert storage.open(name).read() == b"x" and storage.size(name) == 1 and not storage.exists(name)
        again = storage.save("a/ü.txt", ContentFile(b"other"))
        assert again != name

        path = storage.url(name).removeprefix("https://files.example")

        def asked(node_url: str) -> int:
            try:
                return urllib.request.urlopen(node_url + path, timeout=5).status
            except urllib.error.HTTPError as error:
                return error.code

        # A node that has not heard of it yet has nothing either, so first both are to have it.
        asyncio.run(until(lambda: {asked(url) for url in urls} == {200}))
        storage.delete(name)
        asyncio.run(until(lambda: {asked(url) for url in urls} == {404}))
    with pytest.raises(FileNotFoundError):
        CockatielStorage(storage_nodes=urls).open(name)
    with pytest.raises(NotImplementedError, match="never change"):
        CockatielStorage(storage_nodes=urls).open(again, "wb")
    with pytest.raises(OSError, match="no node answers"):
        CockatielStorage(storage_nodes=[f"http://127.0.0.1:{free_port()}"]).save("a", ContentFile(b"x"))
    with pytest.raises(ImproperlyConfigured, match="storage_nodes"):
        CockatielStorage()
    with pytest.raises(SuspiciousFileOperation):
        CockatielStorage(storage_nodes=urls).save("../a", ContentFile(b"x"))
    long = CockatielStorage(storage_nodes=urls).save("n" * 200 + ".txt", ContentFile(b"x"), max_length=100)
    assert len(long) <= 100
    storage = CockatielStorage(storage_nodes=urls, token="secret")
    assert "secret" not in str(storage.deconstruct()) and pickle.loads(pickle.dumps(storage)) == storage


def test_what_django_dust_still_had_to_send(servers, database, tmp_path, capsys):
    storages = {
        "default": {"BACKEND": "sfss.django.dust.DistributedStorage", "OPTIONS": {"base_url": "/m/"}},
        "staticfiles": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    transport = resto.DefaultTransport()
    transport.create(servers.hosts[0], "/m/dust-deleted", b"old")
    for host in servers.hosts[1:]:
        transport.create(host, "/m/dust-again", b"new")
    transport.create(servers.hosts[1], "/m/dust-put", b"put")
    with override_settings(DUST_HOSTS=servers.hosts, STORAGES=storages):
        with pytest.raises(CommandError, match="no table django_dust_retry"):
            call_command("import_dust_retries")
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE django_dust_retry (id integer, created text, operation text, target_host text,"
                " filename text, source_host text)"
            )
            for row in (
                (1, "2014-01-01", "put", servers.hosts[0], "dust-deleted", servers.hosts[1]),
                (2, "2014-01-02", "delete", servers.hosts[0], "dust-deleted", servers.hosts[1]),
                (3, "2014-01-03", "put", servers.hosts[2], "dust-put", servers.hosts[1]),
                (4, "2014-01-03", "put", servers.hosts[2], "dust-gone", servers.hosts[1]),
                (5, "2014-01-04", "delete", servers.hosts[0], "dust-again", servers.hosts[1]),
            ):
                cursor.execute("INSERT INTO django_dust_retry VALUES (%s, %s, %s, %s, %s, %s)", row)
        try:
            call_command("import_dust_retries")
            printed = capsys.readouterr()
            assert "1 files to send, 1 to delete, 1 known or there again, 1 that no server has" in printed.out
            assert "nowhere: dust-gone" in printed.err
            call_command("process_failed_media")
            assert not any(transport.exists(host, "/m/dust-deleted") for host in servers.hosts)
            assert {transport.content(host, "/m/dust-put") for host in servers.hosts} == {b"put"}
            assert transport.exists(servers.hosts[1], "/m/dust-again")
            call_command("import_dust_retries")
            assert "0 files to send, 0 to delete, 3 known" in capsys.readouterr().out
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE django_dust_retry")


def test_a_folder_is_adopted(servers, database, tmp_path, capsys):
    for name in ("a", "b/c", "b/d/ü"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    options = {"hosts": servers.hosts, "base_url": "/adopted/"}
    storages = {
        "default": {"BACKEND": "sfss.django.replicated.ReplicatedStorage", "OPTIONS": options},
        "other": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
        "staticfiles": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    with override_settings(STORAGES=storages):
        call_command("sfss_adopt", str(tmp_path), "--dry-run")
        assert "3 files would be copied" in capsys.readouterr().out
        call_command("sfss_adopt", str(tmp_path), "--prefix", "b")
        assert "2 files copied (9 bytes), 0 were there already, 0 failed" in capsys.readouterr().out
        call_command("sfss_adopt", str(tmp_path))
        assert "1 files copied (1 bytes), 2 were there already" in capsys.readouterr().out
        (tmp_path / "a").write_bytes(b"b")
        call_command("sfss_adopt", str(tmp_path))
        assert "0 files copied" in capsys.readouterr().out  # the size is the same
        call_command("sfss_adopt", str(tmp_path), "--verify")
        assert "1 files copied" in capsys.readouterr().out
        transport = resto.DefaultTransport()
        for host in servers.hosts:
            assert transport.content(host, "/adopted/a") == b"b"
            assert transport.content(host, "/adopted/b/d/%C3%BC") == "b/d/ü".encode()
        (tmp_path / "a").unlink()
        (tmp_path / "bad\x01").write_bytes(b"x")
        with pytest.raises(SystemExit):
            call_command("sfss_adopt", str(tmp_path))
        printed = capsys.readouterr()
        assert "1 failed" in printed.out and "cannot be the name of a file" in printed.err
        for source, complaint in (
            ("nowhere", "no alias in STORAGES and no folder"),
            ("default", "one storage"),
        ):
            with pytest.raises(CommandError, match=complaint):
                call_command("sfss_adopt", source)


def test_in_the_background_with_a_queue(media, database):
    storage = resto.AsyncStorage(queue="default")
    storage.save("later", ContentFile(b"x"))
    assert not any(server.has_file("/media/later") for server in media)
    assert storage.sender.send_all() == (2, 0)
    assert [server.get_file("/media/later") for server in media] == [b"x", b"x"]
