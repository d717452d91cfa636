"""The directory store: the contract, names that are hostile, and files that are none of ours."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from sfss.disk import folder, folder_reading
from sfss.disk.folder import RESERVED, Folder
from sfss.disk.openat import open_by_parts
from sfss.errors import NotFound, PreconditionFailed, StoreUnusable
from sfss.models import Precondition
from sfss.stores.directory import DirectoryStore
from tests.contract import StoreContract


async def opened(root: Path) -> DirectoryStore:
    store = DirectoryStore(root, max_file_size=3_000_000, request_timeout=10.0)
    await store.start()
    return store


@pytest.fixture
async def store(tmp_path):
    store = await opened(tmp_path / "files")
    yield store
    await store.close()


class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def store(self, store):
        return store


def files_in(folder: Path) -> dict[str, bytes]:
    """All files that are not under a name of ours."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and RESERVED not in file.parts
    }


async def test_files_lie_at_their_own_paths_for_others_to_read(store, tmp_path):
    await store.put("a/b/ü.txt", b"content")
    await store.put("top", b"2")
    assert files_in(tmp_path / "files") == {"a/b/ü.txt": b"content", "top": b"2"}
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "files/a/b/ü.txt").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "files/a").stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((tmp_path / "files" / RESERVED).stat().st_mode) == 0o700


async def test_empty_folders_go_away_with_their_last_file(store, tmp_path):
    await store.put("a/b/c", b"1")
    await store.put("a/d", b"2")
    await store.delete("a/b/c")
    assert not (tmp_path / "files/a/b").exists()
    await store.delete("a/d")
    assert not (tmp_path / "files/a").exists()


@pytest.mark.parametrize("first, second", [("a", "a/b"), ("a/b", "a"), ("a/b/c/d", "a/b")])
async def test_a_file_where_others_have_a_folder(store, first, second):
    await store.put(first, b"first")
    await store.put(second, b"second")
    assert (await store.get(first)).content == b"first"
    assert (await store.get(second)).content == b"second"
    await store.delete(first)
    assert (await store.get(second)).content == b"second"
    with pytest.raises(NotFound):
        await store.get(first)
    await store.put(first, b"again")
    await store.put(second, b"again")
    await store.delete(second)
    with pytest.raises(NotFound):
        await store.get(second)
    assert (await store.get(first)).content == b"again"


async def test_a_file_finds_its_own_place_again(store, tmp_path):
    await store.put("a/b", b"1")
    await store.put("a", b"hashed")
    await store.delete("a/b")
    assert files_in(tmp_path / "files") == {}
    await store.put("a", b"own")
    assert files_in(tmp_path / "files") == {"a": b"own"}
    assert (await store.get("a")).content == b"own"
    await store.delete("a")
    with pytest.raises(NotFound):
        await store.get("a")


HOSTILE = [RESERVED, f"{RESERVED}/owner", f"{RESERVED}/lock", ".SFSS/temporary/x", ".sfss/names/00"]


@pytest.mark.parametrize("path", HOSTILE)
async def test_our_own_names_are_names_like_others(store, tmp_path, path):
    with pytest.raises(NotFound):
        await store.get(path)
    await store.put(path, b"mine")
    assert (await store.get(path)).content == b"mine"
    await store.delete(path)
    again = await opened(tmp_path / "files")  # nothing of ours was harmed
    await again.close()


@pytest.mark.parametrize(
    "one, other", [("A/x", "a/x"), ("caf\u00e9", "cafe\u0301"), ("ß", "ss"), ("\u212b", "\u00c5")]
)
@pytest.mark.parametrize("folds", [False, True])
def test_names_that_some_file_systems_take_for_one(tmp_path, one, other, folds):
    folder = Folder(tmp_path, folds=folds)
    for name in (one, other):
        folder.place(folder.write_temporary(name.encode(), sync=False), name)
    assert folder.read(one) == one.encode()
    assert folder.read(other) == other.encode()
    assert folder.remove(one)
    assert folder.read(one) is None
    assert folder.read(other) == other.encode()
    if folds:  # no two that lie at their own place are one when they are folded
        assert len({name.casefold() for name in folder.walk()}) == len(list(folder.walk()))
    folder.close()


@pytest.mark.parametrize("kernel", ["new", "old"])
async def test_symbolic_links_lead_nowhere(store, tmp_path, monkeypatch, kernel):
    if kernel == "old":
        for module in (folder, folder_reading):
            monkeypatch.setattr(module, "open_beneath", lambda *wanted, at_once=False: open_by_parts(*wanted))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root = tmp_path / "files"
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "up").symlink_to("../outside")
    for path in ("folder/secret", "file", "up/secret"):
        for ask in (store.get, store.stat, store.delete):
            with pytest.raises(NotFound):
                await ask(path)
        await store.put(path, b"mine")
        assert (await store.get(path)).content == b"mine"
        await store.delete(path)
    assert (outside / "secret").read_bytes() == b"secret"
    assert sorted(os.listdir(outside)) == ["secret"]
    await store.put("folder/new", b"x")
    assert sorted(os.listdir(outside)) == ["secret"]


async def test_what_is_no_file_is_none(store, tmp_path):
    os.mkfifo(tmp_path / "files/fifo")
    (tmp_path / "files/folder").mkdir()
    for path in ("fifo", "folder"):
        with pytest.raises(NotFound):
            await asyncio.wait_for(store.get(path), 5)
        with pytest.raises(NotFound):
            await store.delete(path)


async def test_several_stores_share_a_folder(store, tmp_path):
    other = await opened(tmp_path / "files")
    writes = [s.put(f"same/{n % 3}", b"%d" % n) for n in range(60) for s in (store, other)]
    deletes = [other.delete(f"same/{n}") for n in range(3)]
    results = await asyncio.gather(*writes, *deletes, return_exceptions=True)
    assert all(
        result is None or not isinstance(result, Exception) or isinstance(result, NotFound)
        for result in results
    )
    created = [
        s.put("once", b"%d" % n, Precondition(if_none_match=("*",)))
        for n in range(20)
        for s in (store, other)
    ]
    results = await asyncio.gather(*created, return_exceptions=True)
    assert sum(isinstance(result, PreconditionFailed) for result in results) == 39
    await other.close()


async def test_a_folder_that_is_taken_or_cannot_be_made(tmp_path):
    alone = Folder(tmp_path / "node", alone=True)
    with pytest.raises(StoreUnusable, match="in use"):
        await opened(tmp_path / "node")
    alone.close()
    await (await opened(tmp_path / "node")).close()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnusable):
        await opened(tmp_path / "file/below")


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    folder = Folder(tmp_path, alone=True)
    folder.write_temporary(b"half", sync=False)
    assert os.listdir(tmp_path / RESERVED / "temporary")
    folder.close()
    folder = Folder(tmp_path, alone=True)
    assert not os.listdir(tmp_path / RESERVED / "temporary")
    folder.close()
