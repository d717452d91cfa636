"""The embedded store: the contract, groups, and files that are not its own."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from sfss.errors import NoStoreAvailable, NotFound, StoreFull, StoreRefused, StoreUnusable
from sfss.stores.sqlite import FILE_NAME, SqliteStore
from tests.contract import StoreContract


async def opened(folder: Path, request_timeout: float = 10.0) -> SqliteStore:
    store = SqliteStore(folder, request_timeout=request_timeout)
    await store.start()
    return store


@pytest.fixture
async def store(tmp_path):
    store = await opened(tmp_path / "data")
    yield store
    await store.close()


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, store):
        return store


def figures(stats) -> dict[str, int]:
    (only,) = stats.values()
    return {name: int(value) for name, value in only.items()}


async def test_files_outlive_the_process(tmp_path):
    store = await opened(tmp_path)
    await store.put("a", b"kept")
    await store.close()
    store = await opened(tmp_path)
    assert (await store.get("a")).content == b"kept"
    await store.close()


async def test_many_writes_share_a_transaction(store):
    before = figures(await store.stats())["flushes"]
    await asyncio.gather(*(store.put(f"f/{n}", b"x" * 1000) for n in range(500)))
    after = figures(await store.stats())
    assert after["flushed_writes"] >= 500
    assert after["flushes"] - before < 100


async def test_figures_are_true(store):
    await asyncio.gather(*(store.put(f"f/{n}", b"x" * n) for n in range(100)))
    await store.put("f/10", b"y" * 1000)
    await store.delete("f/20")
    with pytest.raises(NotFound):
        await store.get("missing")
    await store.get("f/1")
    got = figures(await store.stats())
    assert got["curr_items"] == 99
    assert got["bytes"] == sum(range(100)) - 10 + 1000 - 20
    assert (got["cmd_get"], got["get_hits"], got["get_misses"]) == (2, 1, 1)
    assert got["cmd_set"] == 101
    folder = Path(next(iter(await store.stats())).removeprefix("sqlite:")).parent
    on_disk = sum(f.stat().st_size for f in folder.iterdir() if f.name.endswith(("sqlite3", "-wal")))
    assert got["disk_bytes"] == on_disk


async def test_a_reader_does_not_wait_for_a_writer(tmp_path):
    store = await opened(tmp_path, request_timeout=0.5)
    await store.put("a", b"x")
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # another process is in the middle of writing
    try:
        assert (await store.get("a")).content == b"x"
        # SQLite and the deadline give up at one moment; which is first differs from run to run.
        with pytest.raises(NoStoreAvailable, match="0.5 s|locked"):
            await store.put("a", b"y")
        store._database.writer._database.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(NoStoreAvailable, match="locked.*Nothing was changed"):
            await store.put("a", b"y")
        assert (await store.get("a")).content == b"x"
    finally:
        other.execute("ROLLBACK")
        other.close()
    await store.put("a", b"z")
    assert (await store.get("a")).content == b"z"
    await store.close()


async def test_two_stores_on_one_folder_see_each_other(tmp_path):
    one, other = await opened(tmp_path), await opened(tmp_path)
    await asyncio.gather(
        *(one.put(f"one/{n}", b"1") for n in range(50)),
        *(other.put(f"other/{n}", b"2") for n in range(50)),
    )
    assert (await one.get("other/49")).content == b"2"
    assert (await other.get("one/49")).content == b"1"
    assert figures(await one.stats())["curr_items"] == 100
    await one.close()
    await other.close()


async def test_one_that_does_not_fit_takes_no_other_with_it(store):
    database = store._database.writer._database
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages + 40}")  # room for 320 KB
    outcomes = await asyncio.gather(
        store.put("large", b"x" * 2_000_000),
        *(store.put(f"small/{n}", b"x") for n in range(20)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], StoreFull)
    assert not any(isinstance(outcome, Exception) for outcome in outcomes[1:])
    with pytest.raises(NotFound):
        await store.get("large")
    assert (await store.get("small/19")).content == b"x"


async def test_a_file_that_is_damaged_on_disk_is_not_served(store, tmp_path):
    await store.put("a", b"content")
    store._database.writer._database.execute("UPDATE files SET content = ? WHERE path = 'a'", (b"rotten!",))
    with pytest.raises(StoreRefused, match="damaged"):
        await store.get("a")


async def test_close_does_not_wait_for_ever_for_another_process(tmp_path):
    store = await opened(tmp_path, request_timeout=0.5)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    puts = [asyncio.ensure_future(store.put(f"f/{n}", b"x")) for n in range(20)]
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert all(isinstance(outcome, (NoStoreAvailable, StoreRefused)) for outcome in outcomes)
    async with asyncio.timeout(3):
        await store.close()
    other.close()


async def test_a_failing_database_is_refused_and_logged_once(store, caplog):
    await store.put("a", b"x")
    store._database.writer._database.execute("PRAGMA query_only = ON")
    for _ in range(3):
        with pytest.raises(StoreRefused, match="readonly"):
            await store.put("a", b"y")
    store._database.writer._database.execute("PRAGMA query_only = OFF")
    caplog.set_level("INFO", "sfss.store")
    await store.put("a", b"z")
    said = [record.getMessage() for record in caplog.records]
    assert said == ["store cannot write", "store can write again"]


async def test_close_commits_what_waits(tmp_path):
    at_first = threading.active_count()  # other tests have some
    store = await opened(tmp_path)
    puts = [asyncio.ensure_future(store.put(f"f/{n}", b"x")) for n in range(200)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*puts)
    store = await opened(tmp_path)
    assert figures(await store.stats())["curr_items"] == 200
    assert threading.active_count() < at_first + 10
    await store.close()


async def refusal(folder: Path) -> str:
    with pytest.raises(StoreUnusable) as raised:
        await opened(folder)
    return str(raised.value)


async def test_refuses_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "Cannot make the folder" in await refusal(tmp_path / "file")


async def test_refuses_a_folder_that_it_cannot_make():
    assert "/proc/sfss" in await refusal(Path("/proc/sfss"))


async def test_refuses_a_file_that_is_no_database(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"something else, " * 1000)
    assert "not a database" in await refusal(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == b"something else, " * 1000


async def test_refuses_the_database_of_another_program(tmp_path):
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute("CREATE TABLE files (path TEXT)")
    database.commit()
    database.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    assert "not a store of sfss" in await refusal(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


async def test_refuses_the_database_of_a_newer_sfss(tmp_path):
    await (await opened(tmp_path)).close()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute("PRAGMA user_version = 99")
    database.close()
    assert "version 99" in await refusal(tmp_path)


async def test_takes_an_empty_file_for_its_own(tmp_path):
    (tmp_path / FILE_NAME).touch()  # what a kill in the first moment leaves
    store = await opened(tmp_path)
    await store.put("a", b"x")
    await store.close()


# Files that are taken away, and files of others.


async def test_nobody_else_can_read_or_lock_it(tmp_path):
    store = await opened(tmp_path / "new")
    await store.put("a", b"x")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "new").iterdir()}
    assert {f"{FILE_NAME}{suffix}" for suffix in ("", "-wal", "-shm", "-turn")} <= modes.keys()
    assert set(modes.values()) == {0o600}
    await store.close()
    (tmp_path / "new" / FILE_NAME).chmod(0o644)  # an earlier release has made it
    store = await opened(tmp_path / "new")
    assert (tmp_path / "new" / FILE_NAME).stat().st_mode & 0o777 == 0o600
    await store.close()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_is_taken_away_is_noticed_at_the_next_write(tmp_path, suffix, how):
    store = await opened(tmp_path)
    await store.put("a", b"x" * 5000)
    place = tmp_path / f"{FILE_NAME}{suffix}"
    place.rename(tmp_path / "elsewhere")
    if how == "replaced":
        shutil.copyfile(tmp_path / "elsewhere", place)
    for refused in (store.put("b", b"y"), store.delete("a"), store.ready()):
        with pytest.raises(StoreRefused, match="while it is in use"):
            await refused
    assert (await store.get("a")).content == b"x" * 5000
    (tmp_path / "elsewhere").rename(place)
    await store.ready()
    await store.put("b", b"y")
    await store.close()
    store = await opened(tmp_path)
    assert (await store.get("b")).content == b"y"
    await store.close()


async def test_a_log_that_is_cut_off_is_noticed_at_the_next_write(tmp_path):
    store = await opened(tmp_path)
    for number in range(20):
        await store.put(f"f/{number}", b"x" * 5000)
    os.truncate(tmp_path / f"{FILE_NAME}-wal", 40_000)
    with pytest.raises(StoreRefused, match="cut off"):
        await store.put("b", b"y")
    with pytest.raises(StoreRefused):
        await store.ready()
    await store.close()


@pytest.mark.parametrize("left", [0, 8192, 100_000])
async def test_a_database_that_is_cut_off_is_noticed_at_the_next_write(tmp_path, left):
    store = await opened(tmp_path)
    for number in range(40):
        await store.put(f"f/{number}", b"x" * 5000)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await store.put("a", b"x")  # so that the log is not empty
    os.truncate(tmp_path / FILE_NAME, left)
    with pytest.raises(StoreRefused, match="cut off"):
        await store.put("b", b"y")
    with pytest.raises(StoreRefused):
        await store.ready()
    await store.close()


async def test_the_length_of_the_log_is_right_in_every_state(tmp_path):
    """Writes and checkpoints of two processes, as the check sees them."""
    stores = [await opened(tmp_path) for _ in range(2)]
    for number in range(60):
        await stores[number % 2].put(f"f/{number % 7}", b"x" * 50_000)
        if number % 10 == 9:
            with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
                other.execute(
                    f"PRAGMA wal_checkpoint({('TRUNCATE', 'PASSIVE', 'RESTART')[number // 10 % 3]})"
                )
    for store in stores:
        await store.close()
