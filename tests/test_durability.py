"""What is acknowledged is on disk: after a power cut at that moment it is there, and what was deleted is not."""

import asyncio
import fcntl
import os
import re
import shutil
import subprocess
import threading
import time

import pytest

from sfss.disk.folder import Folder
from sfss.disk.group_commit import Changes
from sfss.errors import PreconditionFailed
from sfss.models import Precondition
from sfss.replication.clock import Version
from sfss.replication.engine import Engine
from sfss.replication.operations import Heal
from sfss.replication.quorum import Quorums
from sfss.stores.directory import DirectoryStore
from sfss.stores.sqlite import SqliteStore
from tests.conftest import need
from tests.disk import Disk, make_folder
from tests.http import ask, request
from tests.programs import Sfss
from tests.test_replica import Home, put

#: One that needs no folder, two that need new ones, one that cannot lie at its own path, a file beside a folder.
PATHS = ["a", "new/folder/b", "new/folder/c", "n" * 300, "new"]


@pytest.fixture
def place():
    folder = make_folder()
    yield folder
    shutil.rmtree(folder)


def directory(place) -> DirectoryStore:
    return DirectoryStore(place / "files", max_file_size=1_000_000, request_timeout=10.0)


async def left_of(place) -> dict[str, bytes]:
    """What a power cut leaves in a directory store: it is opened again."""
    store = directory(place)
    await store.start()
    found = {path: store._read(path) for path in PATHS}
    await store.close()
    return {path: bytes(file.content) for path, file in found.items() if file is not None}


async def test_a_directory_store(place):
    wanted: dict[str, bytes] = {}
    with Disk(place).watching() as disk:
        for number, path in enumerate([*PATHS, "a", "new"]):
            store = directory(place)
            await store.start()
            wanted[path] = b"%d" % number * 1000
            await store.put(path, wanted[path])
            disk.cut_power(place / "files")
            await store.close()
            assert await left_of(place) == wanted, path
        for path in PATHS:
            store = directory(place)
            await store.start()
            await store.delete(path)
            del wanted[path]
            disk.cut_power(place / "files")
            await store.close()
            assert await left_of(place) == wanted, path


def test_a_healed_file_of_a_node(place):
    """Its content is on disk before it gets its name: a power cut leaves the damaged one, or the healed one."""
    replica = Home(place).replica
    replica.apply([put("x", b"content")])
    replica.checkpoint()
    with Disk(place).watching() as disk:
        (outcome,) = replica.apply([Heal("x", b"content")])
        assert outcome.changed
        file = replica.folder.root / "x"
        assert disk._contents[file.stat().st_ino] == b"content"
    replica.close()


async def test_the_embedded_store_syncs_each_commit(tmp_path):
    store = SqliteStore(tmp_path, request_timeout=10.0)
    await store.start()
    database = store._database.writer._database

    def setting(name: str):
        return database.execute(f"PRAGMA {name}").fetchone()[0]

    # https://sqlite.org/pragma.html#pragma_synchronous: with WAL, only FULL (2) syncs the log at each commit.
    assert (setting("synchronous"), setting("journal_mode")) == (2, "wal")
    await store.close()


def test_the_catalog_of_a_node_is_consistent_and_its_checkpoints_are_on_disk(place):
    replica = Home(place).replica
    database = replica.catalog._database
    # NORMAL (1) syncs at checkpoints: the log of changes goes only then.
    assert database.execute("PRAGMA synchronous").fetchone()[0] == 1
    assert database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    replica.close()


def test_the_order_of_a_real_process(tmp_path):
    """Of a PUT: SQLite writes it into its log, then syncs that, then it is answered; as the kernel sees it."""
    need("strace")
    server = Sfss("--data", tmp_path / "data", "--workers", 1)
    (worker,) = server.workers
    ask(server.port, request("PUT", "/file?path=before", b"x"))
    trace = tmp_path / "trace"
    calls = "write,writev,pwrite64,fsync,fdatasync,sendto,sendmsg"
    command = ["strace", "-f", "-y", "-s", "40", "-o", trace, "-e", f"trace={calls}", "-p", worker]
    tracer = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    if "attached" not in tracer.stderr.readline():
        pytest.skip("strace may not look at other processes here; the tests above see most of it")
    try:
        time.sleep(0.5)  # until it sees each thread
        assert ask(server.port, request("PUT", "/file?path=new/f", b"y" * 500)).status == 200
        time.sleep(0.5)
    finally:
        tracer.terminate()
        tracer.communicate(timeout=10)
    server.stop()
    lines = [line for line in trace.read_text().splitlines() if "resumed" not in line]
    answered = next(n for n, line in enumerate(lines) if "HTTP/1.1 200" in line)
    written = [n for n, line in enumerate(lines) if re.search(r" pwrite64\(\d+<[^>]*sqlite3-wal>", line)]
    synced = [n for n, line in enumerate(lines) if re.search(r" f(data)?sync\(\d+<[^>]*sqlite3-wal>", line)]
    assert written and synced, lines
    assert written[-1] < synced[-1] < answered, lines


# Groups have limits.


async def test_a_group_of_the_embedded_store_has_a_limit_of_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("sfss.disk.group_commit.MOST_BYTES", 5000)
    store = SqliteStore(tmp_path, request_timeout=10.0)
    await store.start()
    groups = []
    commit = store._database.writer._commit
    monkeypatch.setattr(
        store._database.writer, "_commit", lambda group: groups.append(group) or commit(group)
    )
    turn = os.open(tmp_path / "files.sqlite3-turn", os.O_RDWR)
    fcntl.flock(turn, fcntl.LOCK_EX)
    puts = [asyncio.ensure_future(store.put(f"f/{n}", bytes(1000))) for n in range(30)]
    await asyncio.sleep(0.1)
    os.close(turn)
    await asyncio.gather(*puts)
    assert max(sum(write.size for write in group) for group in groups) <= 6000
    assert len(groups) < 20  # and they are groups
    await store.close()


# Temporary files.


async def test_a_write_that_is_refused_leaves_no_temporary_file(place):
    store = directory(place)
    await store.start()
    await store.put("a", b"1")
    with pytest.raises(PreconditionFailed):
        await store.put("a", b"2", Precondition(if_match=("another",)))
    assert os.listdir(place / "files/.sfss/temporary") == []
    await store.close()


def test_a_second_process_sweeps_nothing_that_the_first_is_writing(place):
    first = Folder(place)
    temporary = first.write_temporary(b"content", sync=True)
    old = first.write_temporary(b"left over", sync=True)
    os.utime(place / old, (0, 0))
    second = Folder(place)
    assert not (place / old).exists()
    first.place(temporary, "a")
    assert second.read("a") == b"content"
    second.close()
    first.close()


# A quorum is of those who have the file as it was written, or newer.


async def test_an_older_version_is_no_vote():
    quorums = Quorums()
    old, new = (Version(stamp, "a" * 16) for stamp in (1000, 2000))
    with quorums.of("x", 1) as quorum:
        quorums.has("one", [("x", old), ("y", new)])
        waiting = asyncio.ensure_future(quorum.reached(new))
        await asyncio.sleep(0.01)
        assert quorum.nodes == 0 and not waiting.done()
        quorums.has("one", [("x", old)])
        await asyncio.sleep(0.01)
        assert not waiting.done()
        quorums.has("two", [("x", new)])
        await asyncio.wait_for(waiting, 1.0)
        assert quorum.nodes == 1


async def test_a_group_of_a_node_has_a_limit_of_bytes(place, monkeypatch):
    monkeypatch.setattr("sfss.disk.group_commit.MOST_BYTES", 5000)
    replica = Home(place).replica
    groups: list[int] = []
    apply = replica.apply
    monkeypatch.setattr(replica, "apply", lambda wanted: groups.append(len(wanted)) or apply(wanted))
    engine = Engine(replica, asyncio.get_running_loop(), lambda: None, 10.0)
    go_on = threading.Event()
    waiting = asyncio.ensure_future(engine.run(go_on.wait))
    await asyncio.sleep(0.05)
    puts = [asyncio.ensure_future(engine.change(put(f"f/{n}", bytes(1000)), 1000)) for n in range(30)]
    await asyncio.sleep(0.05)
    go_on.set()
    await asyncio.gather(waiting, *puts)
    assert sum(groups) == 30 and max(groups) <= 6
    await engine.close()
    replica.close()


class Sized:
    size = 1


async def test_changes_of_one_turn_are_one_group_and_none_is_left_at_the_end():
    changes: Changes[Sized] = Changes(asyncio.get_running_loop())
    all_of_them = [Sized() for _ in range(10)]
    for each in all_of_them:
        changes.add(each)
    assert changes._waiting.empty()  # the other thread sleeps on
    await asyncio.sleep(0)
    assert changes.group(changes.wait()) == (all_of_them, True)
    last = Sized()
    changes.add(last)
    changes.end()  # in the same turn
    assert changes.group(changes.wait()) == ([last], False)
