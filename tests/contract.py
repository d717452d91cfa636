"""The contract of every store, as tests. A store's own test module only says how to open it."""

import asyncio
import random

import pytest

from sfss.errors import NotFound, PreconditionFailed
from sfss.models import FileInfo, Precondition, etag_of
from sfss.stores.base import AnswersAtOnce, Lists, Store

LIMIT = 2 * 1024 * 1024
#: Contents that a careless protocol or database would change.
CONTENTS = [
    b"",
    b"x",
    b"\r\n",
    b"END\r\n",
    b"VALUE a 0 1\r\nb\r\nEND\r\n",
    b"\x00" * 1000,
    bytes(range(256)) * 40,
    b"STORED\r\n" * 20_000,
    random.Random(1).randbytes(LIMIT),
]
PATHS = [
    "a",
    "a/b/c.txt",
    "with space",
    "per%cent",
    "ünïcödé/名前.png",
    "?key",
    "@0",
    "~tilde",
    "'; DROP TABLE files; --",
    "x" * 187,  # base64: 252 bytes, over the limit of a memcache key
    "x" * 1024,
    "/".join(["p"] * 512),
]
ANY = ("*",)


class StoreContract:
    """For a class with a fixture ``store``, an open store. Other tests may use the same one."""

    @pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
    async def test_what_was_put_is_got(self, store: Store, content: bytes):
        info = await store.put("contract/content", content)
        assert info == FileInfo(len(content), etag_of(content))
        file = await store.get("contract/content")
        assert (bytes(file.content), file.etag) == (content, etag_of(content))
        assert (await store.stat("contract/content"))[:2] == info[:2]
        assert (await store.stat("contract/content")).modified == file.modified

    @pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
    async def test_paths_are_kept_apart(self, store: Store, path: str):
        await store.put(path, path.encode())
        await store.put(path[:-1] + "!", b"another")
        assert (await store.get(path)).content == path.encode()
        await store.delete(path)
        assert (await store.get(path[:-1] + "!")).content == b"another"

    async def test_a_put_replaces(self, store: Store):
        await store.put("contract/replaced", b"a longer first version")
        await store.put("contract/replaced", b"second")
        assert (await store.get("contract/replaced")).content == b"second"

    async def test_missing_is_not_found(self, store: Store):
        for ask in (store.get, store.stat, store.delete):
            with pytest.raises(NotFound, match="contract/missing"):
                await ask("contract/missing")

    async def test_deleted_is_gone(self, store: Store):
        await store.put("contract/deleted", b"x")
        await store.delete("contract/deleted")
        with pytest.raises(NotFound):
            await store.get("contract/deleted")
        with pytest.raises(NotFound):
            await store.delete("contract/deleted")
        await store.put("contract/deleted", b"again")
        assert (await store.get("contract/deleted")).content == b"again"

    async def test_empty_is_not_missing(self, store: Store):
        await store.put("contract/empty", b"")
        assert (await store.get("contract/empty")).content == b""
        assert (await store.stat("contract/empty")).size == 0

    async def test_bytearray_is_content_too(self, store: Store):
        await store.put("contract/bytearray", bytearray(b"mutable"))
        assert (await store.get("contract/bytearray")).content == b"mutable"

    async def test_preconditions_on_put(self, store: Store):
        path = f"contract/new-{random.random()}"
        with pytest.raises(PreconditionFailed):
            await store.put(path, b"no", Precondition(if_match=ANY))
        with pytest.raises(NotFound):
            await store.get(path)
        first = await store.put(path, b"first", Precondition(if_none_match=ANY))
        with pytest.raises(PreconditionFailed):
            await store.put(path, b"no", Precondition(if_none_match=ANY))
        with pytest.raises(PreconditionFailed):
            await store.put(path, b"no", Precondition(if_match=("another",)))
        with pytest.raises(PreconditionFailed):
            await store.put(path, b"no", Precondition(if_none_match=(first.etag,)))
        assert (await store.get(path)).content == b"first"
        await store.put(path, b"second", Precondition(if_match=("another", first.etag)))
        assert (await store.get(path)).content == b"second"

    async def test_preconditions_on_delete(self, store: Store):
        info = await store.put("contract/guarded", b"x")
        with pytest.raises(PreconditionFailed):
            await store.delete("contract/guarded", Precondition(if_match=("another",)))
        assert (await store.get("contract/guarded")).content == b"x"
        await store.delete("contract/guarded", Precondition(if_match=(info.etag,)))
        with pytest.raises(PreconditionFailed):
            await store.delete("contract/guarded", Precondition(if_match=ANY))

    async def test_of_many_that_must_be_first_one_is(self, store: Store):
        path = f"contract/race-{random.random()}"
        outcomes = await asyncio.gather(
            *(store.put(path, b"%d" % n, Precondition(if_none_match=ANY)) for n in range(50)),
            return_exceptions=True,
        )
        won = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, FileInfo)]
        assert len(won) == 1
        assert all(isinstance(o, (FileInfo, PreconditionFailed)) for o in outcomes)
        assert (await store.get(path)).content == b"%d" % won[0]

    async def test_of_a_put_and_a_delete_with_one_condition_one_happens(self, store: Store):
        for n in range(20):
            path = f"contract/either-{random.random()}"
            info = await store.put(path, b"before")
            condition = Precondition(if_match=(info.etag,))
            put, delete = store.put(path, b"after", condition), store.delete(path, condition)
            both = await asyncio.gather(*((put, delete) if n % 2 else (delete, put)), return_exceptions=True)
            put_outcome, delete_outcome = both if n % 2 else both[::-1]
            if isinstance(put_outcome, FileInfo):
                assert isinstance(delete_outcome, PreconditionFailed)
                assert (await store.get(path)).content == b"after"
            else:
                assert isinstance(put_outcome, PreconditionFailed) and delete_outcome is None
                with pytest.raises(NotFound):
                    await store.get(path)

    async def test_many_at_once_are_not_mixed_up(self, store: Store):
        contents = {f"contract/many/{n}": random.Random(n).randbytes(n * 37 % 5000) for n in range(300)}
        await asyncio.gather(*(store.put(path, c) for path, c in contents.items()))
        for _ in range(3):
            asked = random.sample(list(contents), len(contents))
            files = await asyncio.gather(*(store.get(path) for path in asked))
            assert [f.content for f in files] == [contents[path] for path in asked]

    async def test_cancelled_calls_disturb_no_other(self, store: Store):
        contents = {f"contract/cancel/{n}": b"%d" % n * 500 for n in range(100)}
        await asyncio.gather(*(store.put(path, c) for path, c in contents.items()))
        for _ in range(5):
            tasks = {path: asyncio.ensure_future(store.get(path)) for path in contents}
            await asyncio.sleep(0)
            left = random.sample(list(contents), 50)
            for path in contents.keys() - set(left):
                tasks[path].cancel()
            for path in left:
                assert (await tasks[path]).content == contents[path]

    async def test_answers_at_once(self, store: Store):
        if not isinstance(store, AnswersAtOnce):
            return  # it is free not to
        content = random.Random(7).randbytes(300_000)
        path = f"contract/at-once-{random.random()}"
        info = FileInfo(len(content), etag_of(content))
        completion = WriteFuture()
        if store.begin_put(path, content, None, completion):
            assert await completion.future == info
        else:
            await store.put(path, content)
        for asked, expected in [(path, content), ("contract/missing", None)]:
            if expected is None:  # (a file system may have to look on its disk, the first time)
                with pytest.raises(NotFound):
                    await store.get(asked)
            completion = WriteFuture()
            assert store.begin_get(asked, completion)  # of all it is what comes most often
            file = await completion.future
            assert (file and file.content) == expected
            completion = WriteFuture()
            if store.begin_stat(asked, completion):
                found = await completion.future
                assert (found and found[:2]) == (file and info[:2])
        completion = WriteFuture()
        if store.begin_put(path, b"no", Precondition(if_none_match=ANY), completion):
            with pytest.raises(PreconditionFailed):
                await completion.future
        for error in (None, NotFound):
            completion = WriteFuture()
            if not store.begin_delete(path, None, completion):
                break
            if error is None:
                assert await completion.future is None
            else:
                with pytest.raises(error):
                    await completion.future

    async def test_listings(self, store: Store):
        if not isinstance(store, Lists):
            return  # it is free not to
        folder = f"list-{random.random()}"
        paths = {f"{folder}/{n:02}" for n in range(25)} | {
            f"{folder}/07/inner",
            f"{folder}/07.x",
            f"{folder}/ü/名",
        }
        long = f"{folder}/" + "x" * 300  # some stores do not have its path
        paths -= {f"{folder}/07"}
        for path in [*paths, long]:
            await store.put(path, path.encode())
        await store.put(f"{folder}/gone", b"x")
        await store.delete(f"{folder}/gone")
        for prefix, limit in [
            (f"{folder}/", 1000),
            (f"{folder}/", 4),
            (f"{folder}/07", 1),
            (f"{folder}/", 1),
        ]:
            found, cursor, rounds = [], "", 0
            while cursor is not None:
                listing = await store.list_files(prefix, cursor, limit)
                assert len(listing.files) <= limit
                assert listing.cursor is None or listing.cursor != cursor
                found += listing.files
                cursor = listing.cursor
                rounds += 1
                assert rounds < 5000
            wanted = sorted(path for path in [*paths, long] if path.startswith(prefix))
            names = [file.path for file in found]
            assert sorted(names) in (wanted, [path for path in wanted if path != long])
            if store.is_ordered:
                assert names == wanted
            for file in found:
                assert file.size in (None, len(file.path.encode()))
                assert file.etag in (None, etag_of(file.path.encode()))
        assert (await store.list_files("no such prefix/")).files == []
        for prefix, limit in [(f"{folder}/", 1000), (f"{folder}/", 1), (f"{folder}/0", 3), (folder, 2)]:
            files, folders, cursor = [], [], ""
            while cursor is not None:
                listing = await store.list_files(prefix, cursor, limit, "/")
                assert len(listing.files) + len(listing.folders) <= limit
                files += [file.path for file in listing.files]
                folders += listing.folders
                cursor = listing.cursor
            rest = {path: path[len(prefix) :].partition("/") for path in paths if path.startswith(prefix)}
            flat = sorted(path for path, (_, slash, _) in rest.items() if not slash)
            wanted = sorted({prefix + head + "/" for head, slash, _ in rest.values() if slash})
            assert sorted(path for path in files if path != long) == flat
            assert sorted(set(folders)) == wanted
            if store.is_ordered:
                assert (sorted(folders), sorted(files)) == (folders, files) and len(set(folders)) == len(
                    folders
                )

    async def test_it_is_ready(self, store: Store):
        await store.ready()

    async def test_stats_are_text_by_address(self, store: Store):
        stats = await store.stats()
        assert stats
        for address, figures in stats.items():
            assert isinstance(address, str)
            assert all(isinstance(v, str) for pair in figures.items() for v in pair)


class WriteFuture:
    """Waits for a write; *waits*: whether its client does."""

    def __init__(self, waits: bool = True):
        self.waits = waits
        self.future = asyncio.get_running_loop().create_future()
        self.done = self.future.done
        self.set_result = self.future.set_result
        self.set_exception = self.future.set_exception

    def is_waited_for(self) -> bool:
        return self.waits
