"""Contents in pieces: nothing half visible, nothing in use removed, nothing left."""

import asyncio
import gc
import hashlib
import os
import random

import pytest

from sfss.errors import (
    ContentMismatch,
    FileTooLarge,
    InvalidRequest,
    NoStoreAvailable,
    NotFound,
    StoreRefused,
)
from sfss.objects import writing
from sfss.objects.cleaning import Cleaner
from sfss.objects.contents import new_content, piece_path
from sfss.objects.service import Objects
from sfss.service import FileService
from sfss.stores.memory import MemoryStore


async def body_of(content: bytes, step: int = 3):
    for start in range(0, len(content), step):
        yield content[start : start + step]


async def put(objects: Objects, account: int, name: str, content: bytes, **more):
    body = body_of(content)
    return await objects.put(account, "c", name, body, content_type="a/b", metadata={}, **more)


async def got(objects: Objects, account: int, name: str, start: int = 0, stop: int | None = None) -> bytes:
    found = await objects.find(account, "c", name)
    async with objects.reading(found, start, found.size if stop is None else stop) as pieces:
        return b"".join([bytes(piece) async for piece in pieces])


@pytest.fixture(autouse=True)
async def container(catalog, account):
    await catalog.make_container(account, "c", {})


async def left_in(store: MemoryStore) -> int:
    return len((await store.list_files()).files)


async def test_random_histories(objects, account, store, catalog):
    """Against a dictionary. At the end the store has what objects have, and nothing else."""
    randomly = random.Random(20261126)
    model: dict[str, bytes] = {}
    cleaner = Cleaner(objects.service, catalog)
    for _ in range(400):
        name = randomly.choice("abcdefg")
        choice = randomly.random()
        if choice < 0.5:
            content = randomly.randbytes(randomly.choice((0, 1, 9, 10, 11, 20, 35)))
            info = await put(objects, account, name, content)
            assert info.etag == hashlib.md5(content).hexdigest()
            model[name] = content
        elif choice < 0.6:
            with pytest.raises(ContentMismatch):
                await put(objects, account, name, randomly.randbytes(25), etag="x")
        elif choice < 0.75 and name in model:
            await catalog.delete_object(account, "c", name)
            del model[name]
        elif choice < 0.8:
            await cleaner.clean(grace=0.0)
        if name in model:
            start = randomly.randrange(len(model[name]) + 1)
            stop = randomly.randrange(start, len(model[name]) + 1)
            assert await got(objects, account, name, start, stop) == model[name][start:stop]
        else:
            with pytest.raises(NotFound):
                await objects.find(account, "c", name)
    await cleaner.clean(grace=0.0)
    assert await left_in(store) == sum(-(-len(content) // 10) for content in model.values())
    assert await cleaner.orphans(older_than=-1.0) == []


class FailingStore(MemoryStore):
    """Its *number*-th put fails, before or after it has happened."""

    def __init__(self, number: int, has_happened: bool):
        super().__init__()
        self._left = number
        self._has_happened = has_happened

    async def put(self, path, content, precondition=None):
        self._left -= 1
        if self._left == 0 and not self._has_happened:
            raise NoStoreAvailable("no")
        info = await super().put(path, content, precondition)
        if self._left == 0:
            raise NoStoreAvailable("no")
        return info


@pytest.mark.parametrize("has_happened", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_a_store_that_fails_half_way(catalog, account, number, has_happened):
    store = FailingStore(number, has_happened)
    objects = Objects(FileService(store, max_file_size=10), catalog)
    with pytest.raises(NoStoreAvailable):
        await put(objects, account, "o", bytes(35))
    with pytest.raises(NotFound):
        await objects.find(account, "c", "o")
    await Cleaner(objects.service, catalog).clean(grace=0.0)
    assert await left_in(store) == 0


async def test_a_client_that_goes_away(objects, account, store, catalog):
    never = asyncio.Event()

    async def body():
        yield bytes(25)
        await never.wait()

    task = asyncio.create_task(
        objects.put(account, "c", "o", body(), content_type="a/b", metadata={}, length=30)
    )
    while not await left_in(store):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await Cleaner(objects.service, catalog).clean(grace=0.0)
    assert await left_in(store) == 0


async def test_a_body_of_another_length(objects, account):
    with pytest.raises(InvalidRequest):
        await put(objects, account, "o", b"123", length=4)


async def test_what_a_killed_process_leaves(objects, account, store, catalog):
    await put(objects, account, "o", bytes(35))
    cleaner = Cleaner(objects.service, catalog)
    several, one = new_content(catalog.id), new_content(catalog.id)
    await catalog.begin_content(several)
    for number in (0, 1, 2):
        await store.put(piece_path(several, number), b"x")
    await store.put(piece_path(one, 0), b"x")
    await store.put("objects/readme.txt", b"of somebody else")
    await store.put(f"objects/{catalog.id}/readme.txt", b"of somebody else")
    other = new_content("0" * 16)
    await store.put(piece_path(other, 0), b"of another catalog over the same store")
    assert await cleaner.clean(grace=0.0) == 0 and await cleaner.orphans() == []
    assert await cleaner.orphans(older_than=-1.0) == [one]
    await catalog.give_up(one, None)
    assert await cleaner.clean(grace=0.0, abandoned=-1.0) == 2
    assert await left_in(store) == 7 and await got(objects, account, "o") == bytes(35)


async def test_what_was_given_up_is_named_by_nobody(objects, account, store, catalog):
    """A PUT that takes longer than anybody believed: its client is told, and nothing looks as if it were."""
    cleaner = Cleaner(objects.service, catalog)
    gave_up = asyncio.Event()

    async def body():
        yield bytes(25)
        await gave_up.wait()
        yield bytes(5)

    task = asyncio.create_task(
        objects.put(account, "c", "o", body(), content_type="a/b", metadata={}, length=30)
    )
    while await left_in(store) < 1:
        await asyncio.sleep(0.001)
    await cleaner.clean(grace=0.0, abandoned=-1.0)
    gave_up.set()
    with pytest.raises(NoStoreAvailable):
        await task
    with pytest.raises(NotFound):
        await objects.find(account, "c", "o")


async def test_a_content_that_cannot_be_removed_stops_no_other(objects, account, store, catalog, monkeypatch):
    for name in "ab":
        await put(objects, account, name, b"x")
        await catalog.delete_object(account, "c", name)
    (first, _) = await catalog.garbage(2**62, 10)
    delete = store.delete

    async def failing(path, precondition=None):
        if path.startswith(f"objects/{first.content}"):
            raise StoreRefused("no")
        await delete(path, precondition)

    monkeypatch.setattr(store, "delete", failing)
    cleaner = Cleaner(objects.service, catalog)
    assert await cleaner.clean(grace=0.0) == 1 and await left_in(store) == 1
    monkeypatch.undo()
    assert await cleaner.clean(grace=0.0) == 1 and await left_in(store) == 0


async def test_a_piece_that_is_missing_or_damaged(objects, account, store):
    info = await put(objects, account, "o", bytes(range(35)))
    assert await got(objects, account, "o") == bytes(range(35))
    await store.put(piece_path(info.content, 2), b"short")
    assert await got(objects, account, "o", 0, 20) == bytes(range(20))
    with pytest.raises(StoreRefused, match="damaged"):
        await got(objects, account, "o")
    await store.delete(piece_path(info.content, 0))
    with pytest.raises(StoreRefused, match="not in the store"):
        await got(objects, account, "o", 3, 4)


async def test_an_object_that_is_too_large(objects, account, store, catalog, monkeypatch):
    monkeypatch.setattr(writing, "MAX_OBJECT_SIZE", 30)
    with pytest.raises(FileTooLarge):
        await put(objects, account, "o", bytes(31))
    with pytest.raises(FileTooLarge):
        await put(objects, account, "o", b"", length=31)
    await Cleaner(objects.service, catalog).clean(grace=0.0)
    assert await left_in(store) == 0


async def test_a_small_one_that_is_not_what_it_says_is_not_stored(objects, account, store):
    with pytest.raises(ContentMismatch):
        await put(objects, account, "o", b"abc", etag=hashlib.md5(b"abd").hexdigest(), length=3)
    for length in (2, 4):
        with pytest.raises(InvalidRequest):
            await put(objects, account, "o", b"abc", length=length)
    assert await left_in(store) == 0
    with pytest.raises(NotFound):
        await objects.find(account, "c", "o")


def test_a_fork_gets_other_names_for_its_contents():
    """Their random bytes are fetched many at a time."""
    new_content("c")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, new_content("c").encode())
        os._exit(0)
    os.waitpid(child, 0)
    names = [new_content("c"), new_content("c"), os.read(read, 1000).decode()]
    assert len({name[-32:] for name in names}) == 3
    os.close(read)
    os.close(write)


async def test_what_has_failed_keeps_no_memory(objects, account):
    """Not even until somebody looks for cycles."""

    async def broken():
        yield bytes(20)
        raise InvalidRequest("the client has gone")

    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            with pytest.raises(InvalidRequest):
                await objects.put(account, "c", "o", broken(), content_type="a/b", metadata={})
        assert not [each for each in gc.get_objects() if isinstance(each, writing.Writing)]
    finally:
        gc.enable()
