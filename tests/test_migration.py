"""A store that moves into another one while it is served: the contract, and what a kill leaves."""

import asyncio
import os
import random
import re
import signal
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sfss.cli.gateway import _see_that_they_are_two, _wait_until_alone, make_store
from sfss.config.sources import load
from sfss.disk.path_locks import PathLocks
from sfss.errors import (
    NoStoreAvailable,
    NotFound,
    PreconditionFailed,
    SettingsError,
    SfssError,
    StoreFull,
    StoreRefused,
    StoreUnusable,
)
from sfss.models import Precondition
from sfss.stores.base import Lists, Store
from sfss.stores.migrating import MigratingStore
from sfss.stores.sqlite import FILE_NAME, SqliteStore
from tests.beansdb import Nodes, plain_route, store_over, trusted
from tests.conftest import need
from tests.contract import StoreContract
from tests.programs import Sfss


def embedded(folder: Path) -> SqliteStore:
    return SqliteStore(folder, request_timeout=10.0)


class FromTheOldOne(MigratingStore):
    """What is put without a condition lies in the old store, and nowhere else, when that is acknowledged."""

    async def put(self, path, content, precondition=None):
        if precondition is not None:
            return await MigratingStore.put(self, path, content, precondition)
        try:
            await self._new.delete(path)
        except NotFound:
            pass
        return await self._old.put(path, content)


async def migrating(
    tmp_path, new: Store, old: Store, kind=MigratingStore, *, moves: bool = False
) -> MigratingStore:
    store = kind(new, old, PathLocks(tmp_path / "locks", 10.0), largest=3_000_000)
    if not moves:
        store._mover.start = lambda: None
    await store.start()
    return store


class TestMigrating(StoreContract):
    @pytest.fixture(params=["as it is", "moving", "from the old one", "from the old one, moving"])
    async def store(self, request, tmp_path) -> AsyncIterator[MigratingStore]:
        kind = FromTheOldOne if "old" in request.param else MigratingStore
        store = await migrating(
            tmp_path,
            embedded(tmp_path / "new"),
            embedded(tmp_path / "old"),
            kind,
            moves="moving" in request.param,
        )
        yield store
        await store.close()


class TestIntoBeansdb(StoreContract):
    """Where there is no order, and a read is as dear as a write."""

    @pytest.fixture(params=["into", "out of"])
    async def store(self, request, tmp_path, beansdb_nodes) -> AsyncIterator[MigratingStore]:
        stores = [store_over(plain_route(beansdb_nodes)), embedded(tmp_path / "one")]
        new, old = stores if request.param == "into" else stores[::-1]
        store = await migrating(
            tmp_path, new, old, FromTheOldOne if request.param == "into" else MigratingStore
        )
        await trusted(stores[0])
        yield store
        await store.close()


@pytest.fixture
async def store(tmp_path) -> AsyncIterator[MigratingStore]:
    """From one embedded store to another; nothing moves by itself."""
    store = await migrating(tmp_path, embedded(tmp_path / "new"), embedded(tmp_path / "old"))
    yield store
    await store.close()


async def names(store: Store) -> list[str]:
    assert isinstance(store, Lists)
    return [file.path for file in (await store.list_files()).files]


async def test_what_is_read_has_moved(store):
    await store._old.put("a", b"content")
    assert (await store.stat("a")).size == 7
    assert (await names(store._new), await names(store._old)) == ([], ["a"])
    assert (await store.get("a")).content == b"content"
    assert (await names(store._new), await names(store._old)) == (["a"], [])


async def test_a_write_leaves_nothing_old_behind(store):
    for path in ("put", "deleted", "in both"):
        await store._old.put(path, b"old")
    await store._new.put("in both", b"new")
    await store.put("put", b"new")
    await store.delete("deleted")
    assert await names(store) == ["in both", "put"]
    assert (await store.get("in both")).content == b"new"
    await store.delete("in both")
    assert (await names(store._old), await names(store)) == ([], ["put"])


async def test_what_is_in_both_is_the_new_one(store):
    await store._old.put("a", b"old")
    await store._new.put("a", b"new")
    assert (await store.get("a")).content == b"new"
    assert [file.etag for file in (await store.list_files()).files] == [(await store.stat("a")).etag]
    await store._move_one("a")
    assert (await store.get("a")).content == b"new" and await names(store._old) == []
    await store._move_one("a")  # once more, of what has gone meanwhile
    assert (await store.get("a")).content == b"new"


async def test_conditions_are_about_what_is_seen(store):
    info = await store._old.put("a", b"old")
    await store._old.put("in both", b"old")
    newer = await store._new.put("in both", b"new")
    with pytest.raises(PreconditionFailed):
        await store.put("a", b"x", Precondition(if_none_match=("*",)))
    with pytest.raises(PreconditionFailed):
        await store.delete("in both", Precondition(if_match=(info.etag,)))
    assert (await store.get("in both")).content == b"new"
    await store.put("a", b"changed", Precondition(if_match=(info.etag,)))
    await store.delete("in both", Precondition(if_match=(newer.etag,)))
    assert [(await store.get(path)).content for path in await names(store)] == [b"changed"]


async def test_what_a_client_does_not_wait_for_is_finished(store):
    for n in range(50):
        await store._old.put(f"{n}", b"old")
    for n in range(50):
        call = store.delete(f"{n}") if n % 2 else store.put(f"{n}", b"new")
        task = asyncio.create_task(call)
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
        task.cancel()
    while store._under_way:
        await asyncio.sleep(0.01)
    for n in range(50):  # either nothing has happened, or all of it
        kept = [f"{n}" in await names(place) for place in (store._new, store._old)]
        assert kept in ([False, True], [True, False] if n % 2 == 0 else [False, False])


async def test_a_full_store_loses_nothing_and_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("sfss.stores.mover._FIRST_PAUSE", 0.01)
    old, new = embedded(tmp_path / "old"), embedded(tmp_path / "new")
    await old.start()
    for n in range(30):
        await old.put(f"{n:02}", b"%d" % n)
    await old.close()
    put, room = new.put, 5

    async def small_put(path, content, precondition=None):
        nonlocal room
        if room == 0:
            raise StoreFull("There is no room.")
        room -= 1
        return await put(path, content, precondition)

    new.put = small_put
    store = await migrating(tmp_path, new, old, moves=True)
    while not store._mover._failed:
        await asyncio.sleep(0.01)
    assert not store._mover.is_over
    for n in range(30):
        assert (await store.get(f"{n:02}")).content == b"%d" % n
    room = 100
    while not store._mover.is_over:
        await asyncio.sleep(0.01)
    assert (len(await names(new)), await names(old)) == (30, [])
    await store.close()


async def test_a_file_that_cannot_be_read_does_not_keep_the_others(tmp_path, caplog):
    old, new = embedded(tmp_path / "old"), embedded(tmp_path / "new")
    await old.start()
    for n in range(20):
        await old.put(f"{n:02}", b"x")
    await old.close()
    get = old.get

    async def damaged(path):
        if path == "03":
            raise StoreRefused("The content of '03' is damaged on the store's disk.")
        return await get(path)

    old.get = damaged
    store = await migrating(tmp_path, new, old, moves=True)
    while len(await names(new)) < 19 or not store._mover._failed:
        await asyncio.sleep(0.01)
    assert await names(old) == ["03"] and not store._mover.is_over
    told = [record for record in caplog.records if "not all files" in record.message]
    assert told[0].failed == 1 and "03: The content" in told[0].reason
    await store.close()


async def test_what_many_ask_for_is_looked_for_once(store):
    asked = 0
    get = store._old.get

    async def slow_get(path):
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        return await get(path)

    store._old.get = slow_get
    outcomes = await asyncio.gather(*(store.get("missing") for _ in range(300)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {NotFound} and asked == 1
    await store._old.put("there", b"content")
    files = await asyncio.gather(*(store.get("there") for _ in range(300)))
    assert {bytes(file.content) for file in files} == {b"content"} and asked == 2
    assert not store._getting
    # Who comes after a write never joins those who came before it.
    reading = asyncio.create_task(store.get("missing"))
    await asyncio.sleep(0.01)
    await store.put("missing", b"new")
    assert (await store.get("missing")).content == b"new"
    with pytest.raises(NotFound):
        await reading


async def test_an_old_store_that_is_away_is_not_an_empty_one(store):
    async def away(*arguments):
        raise NoStoreAvailable("It is away.")

    await store._new.put("in both", b"new")
    for call in ("get", "stat", "delete"):
        setattr(store._old, call, away)
    assert (await store.get("in both")).content == b"new"
    for ask in (store.get, store.stat, store.delete):
        with pytest.raises(NoStoreAvailable):
            await ask("elsewhere")
    await store.put("a", b"new")  # its old content, if there is one, is deleted later
    assert (await store.get("a")).content == b"new"


async def test_listings_while_files_move_leave_none_out(tmp_path):
    old, new = embedded(tmp_path / "old"), embedded(tmp_path / "new")
    await old.start()
    paths = [f"{n % 7}/{n:03}" for n in range(300)]
    await asyncio.gather(*(old.put(path, b"x") for path in paths))
    await old.close()
    store = await migrating(tmp_path, new, old, moves=True)
    rounds = 0
    while not store._mover.is_over or not rounds:
        found, cursor = [], ""
        while cursor is not None:
            listing = await store.list_files("", cursor, 40)
            found += [file.path for file in listing.files]
            cursor = listing.cursor
        assert found == sorted(paths)
        assert (await store.list_files("", "", 10, "/")).folders == [f"{n}/" for n in range(7)]
        rounds += 1
    await store.close()


@pytest.mark.parametrize(
    "value, reason",
    [
        ("nothing", "it must be embedded:FOLDER"),
        ("embedded:HERE/new", "that is the store itself"),
        ("embedded:HERE/absent", "nothing to migrate"),
        ("directory:HERE/absent", "it must be embedded:FOLDER"),
        ("beansdb:nowhere", "is not an address"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, value, reason):
    value = value.replace("HERE", str(tmp_path))
    with pytest.raises(SfssError, match=re.escape(reason)):
        make_store(load({"data": str(tmp_path / "new"), "migrate_from": value}, {}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("new", [{"store": "directory:files"}, {"proxy": ("127.0.0.1:1",)}])
def test_files_move_where_it_is_known_what_has_come_of_a_write(new):
    with pytest.raises(SettingsError, match="files move into an embedded store"):
        load({**new, "migrate_from": "beansdb:127.0.0.1:2"}, {})


async def test_two_names_of_one_store_are_one(tmp_path):
    """A volume that is mounted twice: moving a file would delete it."""
    for name in ("old", "new"):
        store = embedded(tmp_path / name)
        await store.start()
        await store.close()
    _see_that_they_are_two(tmp_path / "old", tmp_path / "new")
    (tmp_path / "new" / FILE_NAME).unlink()
    os.link(tmp_path / "old" / FILE_NAME, tmp_path / "new" / FILE_NAME)
    with pytest.raises(StoreUnusable, match="the same folder"):
        _see_that_they_are_two(tmp_path / "old", tmp_path / "new")


def test_it_does_not_begin_beside_a_server_that_still_uses_the_old_store(tmp_path, monkeypatch):
    server = Sfss("--data", tmp_path / "old")
    settings = load({"data": str(tmp_path / "new"), "migrate_from": f"embedded:{tmp_path / 'old'}"}, {})
    monkeypatch.setattr("sfss.cli.gateway._PATIENCE", 0.2)
    with pytest.raises(StoreUnusable, match="that has to end first"):
        _wait_until_alone(settings)
    server.stop()
    _wait_until_alone(settings)


async def test_what_is_too_large_stays_and_can_be_read(tmp_path):
    old = embedded(tmp_path / "old")
    await old.start()
    large = bytes(3_000_001)
    for path, content in (("large", large), ("small", b"x")):
        await old.put(path, content)
    await old.close()
    store = await migrating(tmp_path, embedded(tmp_path / "new"), old, moves=True)
    while not store._mover._failed:
        await asyncio.sleep(0.01)
    assert (await names(store._new), await names(old)) == (["small"], ["large"])
    assert (await store.get("large")).content == large
    await store.delete("large")
    with pytest.raises(NotFound):
        await store.get("large")
    await store.close()


async def test_one_file_does_not_stop_the_others_whatever_its_trouble(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("sfss.stores.mover._FIRST_PAUSE", 0.05)
    old, new = embedded(tmp_path / "old"), embedded(tmp_path / "new")
    await old.start()
    for n in range(100):
        await old.put(f"{n:02}", b"x")
    await old.close()
    put, get = new.put, old.get

    async def bad_put(path, content, precondition=None):
        if path == "07":
            raise ValueError("embedded null byte")
        return await put(path, content, precondition)

    async def bad_get(path):
        if path == "03":
            raise NoStoreAvailable("The disk did not answer.")
        if path == "05":  # it is listed all the same
            raise NotFound.of(path)
        return await get(path)

    new.put, old.get = bad_put, bad_get
    lists = 0
    list_files = old.list_files

    async def counted(*arguments):
        nonlocal lists
        lists += 1
        return await list_files(*arguments)

    old.list_files = counted
    store = await migrating(tmp_path, new, old, moves=True)
    while len(await names(new)) < 97:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    assert lists < 12  # it does not spin
    old.list_files = list_files
    assert await names(old) == ["03", "05", "07"] and not store._mover.is_over
    assert any("ValueError" in (record.exc_text or "") for record in caplog.records)
    await store.close()


async def test_a_lock_file_that_is_replaced_is_none(store, tmp_path):
    await store.put("a", b"1")
    (tmp_path / "locks").unlink()
    (tmp_path / "locks").touch()
    with pytest.raises(StoreRefused, match="start the gateway again"):
        await store.put("a", b"2")
    assert (await store.get("a")).content == b"1"


def test_between_two_clusters_nobody_could_agree():
    with pytest.raises(SettingsError, match="sfss mirror"):
        load({"beansdb": ("127.0.0.1:1",), "migrate_from": "beansdb:127.0.0.1:2"}, {})


def test_a_reload_does_not_begin_a_migration(tmp_path):
    config = tmp_path / "sfss.toml"
    config.write_text(f'data = "{tmp_path / "old"}"\n')
    server = Sfss("--config", config)
    urllib.request.urlopen(urllib.request.Request(f"{server.url}/file?path=a", b"x", method="PUT"))
    config.write_text(f'data = "{tmp_path / "new"}"\nmigrate_from = "embedded:{tmp_path / "old"}"\n')
    server.send(signal.SIGHUP)
    server.wait_for_line("at a restart only")
    assert urllib.request.urlopen(f"{server.url}/file?path=a").read() == b"x"
    assert server.stop() == 0
    server = Sfss("--config", config)
    server.wait_for_line("the old store is empty and can go.*moved=1 ")
    assert urllib.request.urlopen(f"{server.url}/file?path=a").read() == b"x"
    server.stop()


class Site:
    """A client that changes files of its own, and knows what may be in each of them."""

    def __init__(self, number: int, contents: dict[str, bytes]):
        self.possible: dict[str, set[bytes | None]] = {path: {content} for path, content in contents.items()}
        self._random = random.Random(number)
        self.acknowledged = 0

    async def use(self, session: aiohttp.ClientSession, url: str) -> None:
        """Until the server is gone."""
        while True:
            path = self._random.choice(list(self.possible))
            action = self._random.choice(["PUT", "DELETE", "GET", "GET"])
            content = self._random.randbytes(300) if action == "PUT" else None
            before = self.possible[path]
            if action != "GET":
                self.possible[path] = before | {content}
            try:
                async with session.request(
                    action, f"{url}/file", params={"path": path}, data=content
                ) as answer:
                    body = await answer.read()
            except (aiohttp.ClientError, OSError):
                return
            if answer.status >= 500:
                await asyncio.sleep(0.05)
                continue
            self.acknowledged += 1
            if action == "GET":
                assert (body if answer.status == 200 else None) in before, (path, answer.status)
            else:
                assert answer.status in ((200, 201, 204) if None not in before or content else (204, 404))
                self.possible[path] = {content}


@pytest.mark.parametrize("direction", ["into Beansdb", "out of Beansdb"])
async def test_kills_in_the_middle_lose_and_revive_nothing(tmp_path, direction):
    need("gobeansdb")
    nodes = Nodes(tmp_path / "nodes")
    old_flags, new_flags = ["--data", tmp_path / "one"], nodes.flags()
    old = f"embedded:{tmp_path / 'one'}"
    if direction == "out of Beansdb":
        old_flags, new_flags = new_flags, old_flags
        old = "beansdb:" + ",".join(f"127.0.0.1:{port}" for port in nodes.ports)
    contents = [{f"{n}/{m:03}": random.randbytes(300) for m in range(150)} for n in range(5)]
    server = Sfss(*old_flags)
    async with aiohttp.ClientSession() as session:
        for path, content in [pair for part in contents for pair in part.items()]:
            for _ in range(200):
                async with session.put(f"{server.url}/file", params={"path": path}, data=content) as answer:
                    if answer.ok:
                        break
                await asyncio.sleep(0.05)  # the nodes are not trusted yet
            else:
                raise AssertionError("the old store was not filled")
        server.stop()
        sites = [Site(number, part) for number, part in enumerate(contents)]
        flags = ("--workers", 2, "--no-access-log", "--migrate-from", old, *new_flags)
        for _ in range(2):
            server = Sfss(*flags)
            using = asyncio.gather(*(site.use(session, server.url) for site in sites))
            before = sum(site.acknowledged for site in sites)
            deadline = time.monotonic() + 60
            while sum(site.acknowledged for site in sites) < before + 150:
                assert time.monotonic() < deadline, server.printed()
                assert not using.done() or await using
                await asyncio.sleep(0.02)
            server.kill()
            await using
        server = Sfss(*flags)
        await asyncio.to_thread(server.wait_for_line, "the old store is empty and can go")
        for site in sites:
            for path, possible in site.possible.items():
                async with session.get(f"{server.url}/file", params={"path": path}) as answer:
                    body = await answer.read()
                assert (body if answer.status == 200 else None) in possible, (path, answer.status)
        server.stop()
        # And without the old one it is the same.
        server = Sfss(*new_flags)
        for site in sites:
            for path, possible in site.possible.items():
                deadline = time.monotonic() + 20
                while True:
                    async with session.get(f"{server.url}/file", params={"path": path}) as answer:
                        body = await answer.read()
                    if answer.status < 500:
                        break
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
                assert (body if answer.status == 200 else None) in possible, (path, answer.status)
        server.stop()
    for node in nodes.running:
        node.stop()


def test_how_far_it_is_can_be_seen(tmp_path):
    server = Sfss("--data", tmp_path / "old")
    for n in range(20):
        urllib.request.urlopen(urllib.request.Request(f"{server.url}/file?path={n}", b"xy", method="PUT"))
    server.stop()
    flags = ("--data", tmp_path / "new", "--migrate-from", f"embedded:{tmp_path / 'old'}")
    server = Sfss("--workers", 2, *flags)
    server.wait_for_line("the old store is empty and can go.*moved=20 ")
    deadline = time.monotonic() + 20
    while True:
        metrics = urllib.request.urlopen(f"{server.url}/metrics").read().decode()
        figures = dict(re.findall(r"^(sfss_migration_\w+) (\S+)$", metrics, re.MULTILINE))
        if figures["sfss_migration_finished"] == "1.0" or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert figures == {
        "sfss_migration_finished": "1.0",
        "sfss_migration_failed_files": "0.0",
        "sfss_migration_moved_files_total": "20.0",
        "sfss_migration_moved_bytes_total": "40.0",
        "sfss_migration_read_failures_total": "0.0",
    }
    status = urllib.request.urlopen(f"{server.url}/status").read().decode()
    assert '"sfss_migration": ' in status and '"curr_items": "0"' in status
    server.stop()
