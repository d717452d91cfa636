"""sfss backup and restore: one consistent copy, whole or not there, while a server is written to."""

import errno
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from sfss.errors import StoreUnusable
from sfss.stores.sqlite_backup import back_up, restore
from tests.http import RawClient, ask, request
from tests.programs import ROOT, Sfss, SmallDisk, can_mount


def sfss(*arguments: object, env: dict | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sfss", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=env)


def put(client: RawClient, path: str, content: bytes) -> None:
    answer = client.ask(request("PUT", f"/file?path={path}", content))
    assert answer.status == 200, answer


def content_of(server: Sfss, path: str) -> bytes:
    return ask(server.port, request("GET", f"/file?path={path}")).body


class Writers:
    """32 clients that write all the time: each writes its two files one after the other, with one number."""

    def __init__(self, server: Sfss, count: int = 32):
        self._over = threading.Event()
        self.acknowledged = [0] * count
        self._threads = [threading.Thread(target=self._write, args=(server, n)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _write(self, server: Sfss, number: int) -> None:
        with RawClient(server.port) as client:
            round = 0
            while not self._over.is_set():
                round += 1
                put(client, f"w/{number}/first", b"%d" % round + bytes(2000))
                put(client, f"w/{number}/second", b"%d" % round + bytes(2000))
                self.acknowledged[number] = round

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def number_in(content: bytes) -> int:
    return int(content.rstrip(b"\0"))


def test_a_copy_under_load_is_one_moment_and_all_that_was_acknowledged_before(tmp_path):
    server = Sfss("--data", tmp_path / "data", "--no-access-log")
    with RawClient(server.port) as client:
        for number in range(300):
            put(client, f"f/{number}", random.Random(number).randbytes(number * 20))
    writers = Writers(server)
    time.sleep(0.5)
    before = list(writers.acknowledged)
    done = sfss("backup", "--data", tmp_path / "data", tmp_path / "copy.sqlite3")
    writers.stop()
    assert done.returncode == 0, done.stderr
    assert "364 files" in done.stdout
    server.stop()
    assert (tmp_path / "copy.sqlite3").stat().st_mode & 0o777 == 0o600
    assert [f.name for f in tmp_path.iterdir()].count("copy.sqlite3") == 1 and len(
        list(tmp_path.iterdir())
    ) == 2
    restored = sfss("restore", "--data", tmp_path / "new", tmp_path / "copy.sqlite3")
    assert restored.returncode == 0, restored.stderr
    server = Sfss("--data", tmp_path / "new")
    for number in range(300):
        assert content_of(server, f"f/{number}") == random.Random(number).randbytes(number * 20)
    for number, acknowledged in enumerate(before):
        first = number_in(content_of(server, f"w/{number}/first"))
        second = number_in(content_of(server, f"w/{number}/second"))
        assert first - 1 <= second <= first and second >= acknowledged
    with RawClient(server.port) as client:
        put(client, "goes/on", b"x")
    assert server.stop() == 0


@pytest.fixture
def store(tmp_path):
    """A folder with a store of one file, and a copy of it."""
    server = Sfss("--data", tmp_path / "data")
    with RawClient(server.port) as client:
        put(client, "a", b"content")
    server.stop()
    assert sfss("backup", "--data", tmp_path / "data", tmp_path / "copy").returncode == 0
    return tmp_path


def test_what_a_backup_refuses(store):
    for arguments, complaint in [
        ((store / "data", store / "copy"), "is there already"),
        ((store / "data", store), "is a folder"),
        ((store / "nowhere", store / "new"), "There is no embedded store"),
        ((store / "data", store / "nowhere" / "new"), "No such file or directory"),
    ]:
        done = sfss("backup", "--data", *arguments)
        assert done.returncode == 1 and complaint in done.stderr, done
        assert "Traceback" not in done.stderr
    assert sorted(f.name for f in store.iterdir()) == ["copy", "data"]


def damage(file) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE files SET content = 'c0ntent'")
        database.commit()


def test_a_damaged_store_makes_no_backup_and_a_damaged_copy_no_store(store):
    damage(store / "copy")
    done = sfss("restore", "--data", store / "new", store / "copy")
    assert done.returncode == 1 and "'a' is damaged" in done.stderr
    assert not (store / "new" / "files.sqlite3").exists()
    damage(store / "data" / "files.sqlite3")
    done = sfss("backup", "--data", store / "data", store / "second")
    assert done.returncode == 1 and not (store / "second").exists()


def test_what_a_restore_refuses(store):
    (store / "other").write_bytes(b"no database")
    with closing(sqlite3.connect(store / "others")) as database:
        database.execute("CREATE TABLE t (x)")
    for source, folder, complaint in [
        (store / "copy", store / "data", "--replace"),
        (store / "nowhere", store / "new", "There is no file"),
        (store / "other", store / "new", "not a database"),
        (store / "others", store / "new", "is no embedded store"),
    ]:
        done = sfss("restore", "--data", folder, source)
        assert done.returncode == 1 and complaint in done.stderr, done
    server = Sfss("--data", store / "data")
    done = sfss("restore", "--replace", "--data", store / "data", store / "copy")
    assert done.returncode == 1 and "A server runs over" in done.stderr
    assert content_of(server, "a") == b"content"
    server.stop()


def test_a_store_that_is_replaced_is_put_aside(store):
    server = Sfss("--data", store / "data")
    with RawClient(server.port) as client:
        put(client, "a", b"newer")
    server.kill()  # what it has acknowledged is in its log
    done = sfss("restore", "--replace", "--data", store / "data", store / "copy")
    assert done.returncode == 0, done.stderr
    (aside,) = (store / "data").glob("*.replaced-*")
    assert str(aside) in done.stdout
    server = Sfss("--data", store / "data")
    assert content_of(server, "a") == b"content"
    server.stop()
    with closing(sqlite3.connect(aside)) as database:
        assert database.execute("SELECT content FROM files").fetchall() == [(b"newer",)]


def test_a_full_disk_leaves_nothing_under_the_name(tmp_path):
    (tmp_path / "disk").mkdir()
    if not can_mount(tmp_path / "disk"):
        pytest.skip("this machine does not let us mount a small disk")
    server = Sfss("--data", tmp_path / "data")
    with RawClient(server.port) as client:
        for number in range(4):
            put(client, f"f/{number}", bytes(1_000_000))
    disk = SmallDisk(tmp_path / "disk", 2)
    command = [*disk.inside, sys.executable, "-m", "sfss", "backup", "--data", tmp_path / "data"]
    done = subprocess.run(
        list(map(str, [*command, tmp_path / "disk" / "copy"])), capture_output=True, text=True
    )
    assert done.returncode == 1 and "full" in done.stderr, done
    assert list(disk.outside.iterdir()) == []
    disk.remove()
    server.stop()


def test_the_folder_may_come_from_the_environment_or_before_the_command(store):
    env = os.environ | {"SFSS_DATA": str(store / "data")}
    assert sfss("backup", store / "second", env=env).returncode == 0
    assert sfss("--data", store / "data", "backup", store / "third").returncode == 0
    done = sfss("--port", "1", "backup", store / "fourth", env=env)
    assert done.returncode == 2 and "--port" in done.stderr


def test_a_store_that_somebody_reads_is_not_put_aside(store):
    """What its log holds could not go into it, and would be lost."""
    server = Sfss("--data", store / "data")
    assert sfss("backup", "--data", store / "data", store / "newer").returncode == 0
    with closing(sqlite3.connect(store / "data" / "files.sqlite3", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM files").fetchall()
        with RawClient(server.port) as client:
            put(client, "acknowledged", b"1")
        server.kill()
        done = sfss("restore", "--data", store / "data", "--replace", store / "newer")
        assert done.returncode == 1 and "Somebody still reads" in done.stderr
        reader.execute("COMMIT")
    server = Sfss("--data", store / "data")
    assert content_of(server, "acknowledged") == b"1"
    server.stop()


def test_the_age_of_the_last_backup_is_known(store, tmp_path):
    server = Sfss("--data", store / "data")
    name = "sfss_store_last_backup_timestamp_seconds"

    def known() -> float:
        metrics = ask(server.port, request("GET", "/metrics")).body.decode()
        (line,) = [line for line in metrics.splitlines() if line.startswith(name + "{")]
        (figures,) = json.loads(ask(server.port, request("GET", "/status")).body).values()
        assert abs(float(line.split()[-1]) - float(figures["last_backup"])) < 1
        return float(figures["last_backup"])

    assert time.time() - 60 < known() <= time.time()
    os.utime(store / "data" / "last-backup", (1, 1))
    assert sfss("backup", "--data", store / "data", store / "copy").returncode != 0  # it is there already
    assert (store / "data" / "last-backup").stat().st_mtime == 1
    assert sfss("backup", "--data", store / "data", store / "newer").returncode == 0
    assert (store / "data" / "last-backup").stat().st_mtime > time.time() - 60
    server.stop()
    server = Sfss("--data", tmp_path / "new")
    assert name not in ask(server.port, request("GET", "/metrics")).body.decode()
    server.stop()


@pytest.mark.parametrize("damage", ["garbage", "cut off"])
def test_a_damaged_store_is_put_aside_as_it_is(store, damage):
    server = Sfss("--data", store / "data")
    with RawClient(server.port) as client:
        put(client, "kept", b"1")
    assert sfss("backup", "--data", store / "data", store / "newer").returncode == 0
    server.stop()
    file = store / "data" / "files.sqlite3"
    if damage == "garbage":
        file.write_bytes(os.urandom(20_000))
    else:
        os.truncate(file, 5000)
    damaged = file.read_bytes()
    done = sfss("restore", "--data", store / "data", "--replace", store / "newer")
    assert done.returncode == 0, done.stderr
    (aside,) = (store / "data").glob("files.sqlite3.replaced-*")
    assert aside.read_bytes() == damaged
    server = Sfss("--data", store / "data")
    assert content_of(server, "kept") == b"1"
    server.stop()


def test_onto_a_file_system_without_hard_links(store, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    copy = back_up(store / "data", store / "newer")
    assert copy.files >= 0 and (store / "newer").exists()
    with pytest.raises(StoreUnusable, match="there already"):
        back_up(store / "data", store / "newer")
    _, aside = restore(store / "newer", store / "data", replace=True)
    assert aside.exists() and (store / "data" / "files.sqlite3").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root restores for others")
def test_what_root_restores_belongs_to_who_has_the_folder(store):
    assert sfss("backup", "--data", store / "data", store / "newer").returncode == 0
    (store / "other").mkdir()
    os.chown(store / "other", 65534, 65534)
    assert sfss("restore", "--data", store / "other", store / "newer").returncode == 0
    assert {file.stat().st_uid for file in (store / "other").glob("files.sqlite3")} == {65534}
