"""The contract of a catalog (:mod:`sfss.objects.catalog`)."""

import asyncio
import itertools
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfss.errors import (
    AlreadyThere,
    ContainerNotEmpty,
    InvalidRequest,
    NoStoreAvailable,
    NoSuchContainer,
    NoSuchUpload,
    NoSuchUser,
    NotFound,
    PreconditionFailed,
)
from sfss.objects.clock import now_us
from sfss.objects.contents import new_content
from sfss.objects.models import IN_PARTS, Garbage, ObjectInfo, Query, Upload, UploadedPart
from sfss.objects.postgres_catalog import PostgresCatalog
from sfss.objects.sqlite_catalog import FILE_NAME, SqliteCatalog

CATALOG = "c" * 16


def info(name: str, size: int = 1, **more) -> ObjectInfo:
    content = new_content(CATALOG) if size else ""
    return ObjectInfo(name, size, "e" * 32, "a/b", now_us(), content, 10, {"X-Object-Meta-A": "é"}, **more)


async def test_users(catalog):
    assert await catalog.users() == []
    user = await catalog.add_user("a", "u", "key", read_only=True)
    other = await catalog.add_user("a", "v", "key", read_only=False)
    assert user.account == other.account and user.read_only and user.full_name == "a:u"
    with pytest.raises(AlreadyThere):
        await catalog.add_user("a", "u", "x", read_only=False)
    await catalog.change_user("a", "u", key="other", disabled=True)
    found = await catalog.user("a", "u")
    assert (found.key, found.disabled, found.read_only) == ("other", True, True)
    assert found.generation == 1 and await catalog.user_with(found.access_key) == found
    await catalog.change_user("a", "u", read_only=False, disabled=False)
    assert not (await catalog.user("a", "u")).read_only
    assert not (await catalog.user("a", "u")).disabled and (await catalog.user("a", "u")).key == "other"
    for name in (("a", "x"), ("x", "u")):
        assert await catalog.user(*name) is None
        with pytest.raises(NoSuchUser):
            await catalog.change_user(*name, disabled=True)
    assert await catalog.account_named("a") == user.account and await catalog.account_named("x") is None
    secret = await catalog.secret()
    assert len(secret) == 32 and await catalog.secret() == secret


async def test_containers(catalog, account):
    assert await catalog.make_container(account, "c", {"X-Container-Meta-A": "1"})
    assert not await catalog.make_container(account, "c", {"X-Container-Meta-B": "2"})
    found = await catalog.container(account, "c")
    assert found.metadata == {"X-Container-Meta-A": "1", "X-Container-Meta-B": "2"}
    await catalog.change_container(account, "c", {"X-Container-Meta-A": None})
    assert (await catalog.container(account, "c")).metadata == {"X-Container-Meta-B": "2"}
    await catalog.put_object(account, "c", info("o"))
    with pytest.raises(ContainerNotEmpty):
        await catalog.delete_container(account, "c")
    await catalog.delete_object(account, "c", "o")
    await catalog.delete_container(account, "c")
    for call in (
        catalog.container(account, "c"),
        catalog.delete_container(account, "c"),
        catalog.change_container(account, "c", {}),
        catalog.objects(account, "c", Query(1)),
        catalog.object(account, "c", "o"),
        catalog.put_object(account, "c", info("o")),
        catalog.delete_object(account, "c", "o"),
        catalog.change_object(account, "c", "o", {}, None),
    ):
        with pytest.raises(NoSuchContainer):
            await call
    await catalog.change_account(account, {"X-Account-Meta-A": "é"})
    assert (await catalog.account(account)).metadata == {"X-Account-Meta-A": "é"}


async def test_objects_and_what_they_leave(catalog, account):
    await catalog.make_container(account, "c", {})
    first, second = info("o", 25), info("o", 5)
    await catalog.begin_content(first.content)
    assert await catalog.known([first.content, second.content]) == {first.content}
    await catalog.put_object(account, "c", first)
    assert await catalog.object(account, "c", "o") == first
    assert await catalog.abandoned(now_us() + 1) == []
    with pytest.raises(PreconditionFailed):
        await catalog.put_object(account, "c", second, must_be_new=True)
    assert await catalog.garbage(now_us() + 1, 10) == []
    await catalog.put_object(account, "c", second)
    found = await catalog.object(account, "c", "o")
    assert found.content == second.content and found.modified > first.modified
    assert await catalog.garbage(now_us() + 1, 10) == [Garbage(first.content, 3)]
    counts = await catalog.container(account, "c")
    assert (counts.objects, counts.bytes) == (1, 5)
    await catalog.change_object(account, "c", "o", {"X-Object-Meta-B": "2"}, "c/d")
    found = await catalog.object(account, "c", "o")
    assert (found.metadata, found.content_type) == ({"X-Object-Meta-B": "2"}, "c/d")
    await catalog.give_up(second.content, 1)  # an object has it: so it is no garbage
    assert [each.content for each in await catalog.garbage(now_us() + 1, 10)] == [first.content]
    await catalog.delete_object(account, "c", "o")
    with pytest.raises(NotFound):
        await catalog.object(account, "c", "o")
    assert len(await catalog.garbage(now_us() + 1, 10)) == 2
    assert await catalog.garbage(0, 10) == []
    await catalog.put_off(first.content)
    assert [each.content for each in await catalog.garbage(now_us() + 1, 10)] == [
        second.content,
        first.content,
    ]
    await catalog.removed([first.content, second.content])
    assert await catalog.garbage(now_us() + 1, 10) == []
    # Whoever still writes one must not get it named.
    assert await catalog.known([first.content]) == {first.content}
    with pytest.raises(NoStoreAvailable):
        await catalog.put_object(account, "c", first)
    await catalog.forget_removed(now_us() + 1)
    assert await catalog.known([first.content, second.content]) == set()
    counts = await catalog.account(account)
    assert (counts.containers, counts.objects, counts.bytes) == (1, 0, 0)


async def test_what_expires(catalog, account):
    await catalog.make_container(account, "c", {})
    over, later = info("over", 25, expires=int(time.time()) - 1), info("later", expires=2**40)
    for each in (over, later, info("always")):
        await catalog.put_object(account, "c", each)
    assert await catalog.object(account, "c", "later") == later
    for call in (
        catalog.object(account, "c", "over"),
        catalog.change_object(account, "c", "over", {}, None),
        catalog.set_properties(account, "c", "over", {"tags": "a=b"}),
        catalog.put_object(account, "c", info("over"), must_have="*"),
    ):
        with pytest.raises(NotFound):
            await call
    assert await catalog.expire(int(time.time()), 10) == 1 and await catalog.expire(int(time.time()), 10) == 0
    assert await catalog.garbage(now_us() + 1, 10) == [Garbage(over.content, 3)]
    counts = await catalog.container(account, "c")
    assert (counts.objects, counts.bytes) == (2, 2)
    # What has expired, and is not removed yet, is in nobody's way.
    await catalog.put_object(account, "c", over._replace(content=new_content(CATALOG)))
    await catalog.put_object(account, "c", info("over"), must_be_new=True)
    assert (await catalog.object(account, "c", "over")).expires == 0
    await catalog.change_object(account, "c", "later", {}, None)
    assert (await catalog.object(account, "c", "later")).expires == 0


async def test_properties(catalog, account):
    await catalog.make_container(account, "c", {})
    put = info("o", properties={"tags": "a=b", "acl": "private"})
    await catalog.put_object(account, "c", put)
    assert await catalog.object(account, "c", "o") == put
    await catalog.set_properties(account, "c", "o", {"tags": None, "acl": "public-read"})
    await catalog.change_object(account, "c", "o", {"X-Object-Meta-B": "1"}, None)
    found = await catalog.object(account, "c", "o")
    assert (found.properties, found.metadata) == ({"acl": "public-read"}, {"X-Object-Meta-B": "1"})
    with pytest.raises(NotFound):
        await catalog.set_properties(account, "c", "x", {"tags": "a=b"})
    with pytest.raises(NoSuchContainer):
        await catalog.set_properties(account, "x", "o", {"tags": "a=b"})
    await catalog.put_object(account, "c", info("o"))
    assert (await catalog.object(account, "c", "o")).properties == {}


async def test_a_put_that_happens_twice_is_as_one(catalog, account):
    """The writer may repeat a group of which it does not know whether it is on disk."""
    await catalog.make_container(account, "c", {})
    once = info("o", 25)
    await catalog.put_object(account, "c", once)
    await catalog.put_object(account, "c", once)
    assert await catalog.garbage(now_us() + 1, 10) == []
    counts = await catalog.container(account, "c")
    assert (counts.objects, counts.bytes) == (1, 25)


async def test_metadata_does_not_grow_without_bound(catalog, account):
    await catalog.make_container(account, "c", {})
    with pytest.raises(InvalidRequest):
        for number in range(200):
            await catalog.change_container(account, "c", {f"X-Container-Meta-{number}": "x"})
    assert len((await catalog.container(account, "c")).metadata) == 90


async def test_uploads_in_parts(catalog, account):
    await catalog.make_container(account, "c", {})
    upload = Upload("id", "o", "a/b", {"X-Object-Meta-A": "1"}, now_us(), {"tags": "a=b"})
    await catalog.begin_upload(account, "c", upload)
    assert await catalog.upload(account, "c", "o", "id") == upload
    assert (await catalog.uploads(account, "c", Query(10))).files == [upload]
    parts = [UploadedPart(n, 25, "e" * 32, now_us(), new_content(CATALOG), 10, f"s{n}") for n in (1, 2, 3, 2)]
    for part in parts:
        await catalog.put_part("id", part)
    await catalog.put_part("id", parts[0])  # the same once more
    assert await catalog.parts("id") == [parts[0], parts[3], parts[2]]
    assert await catalog.garbage(now_us() + 1, 10) == [Garbage(parts[1].content, 3)]
    assert await catalog.known([part.content for part in parts]) == {part.content for part in parts}
    whole = ObjectInfo("o", 50, "e" * 32 + "-2", "a/b", now_us(), "id", 10, upload.metadata, IN_PARTS)
    with pytest.raises(NoSuchUpload):
        await catalog.complete_upload(account, "c", whole, [parts[0], parts[2]._replace(number=4)])
    with pytest.raises(NoSuchUpload):  # it was replaced meanwhile
        await catalog.complete_upload(account, "c", whole, [parts[0], parts[1]])
    await catalog.complete_upload(account, "c", whole, [parts[0], parts[2]])
    assert await catalog.parts("id") == [parts[0], parts[2]]
    assert {each.content for each in await catalog.garbage(now_us() + 1, 10)} == {
        parts[1].content,
        parts[3].content,
    }
    for call in (
        catalog.put_part("id", parts[1]),
        catalog.abort_upload("id"),
        catalog.upload(account, "c", "o", "id"),
        catalog.complete_upload(account, "c", whole, [parts[0]]),
    ):
        with pytest.raises(NoSuchUpload):
            await call
    await catalog.put_object(account, "c", info("o"))
    assert len(await catalog.garbage(now_us() + 1, 10)) == 4 and await catalog.parts("id") == []
    # What is not complete goes with its container.
    await catalog.begin_upload(account, "c", upload._replace(id="other"))
    last = UploadedPart(1, 5, "e" * 32, now_us(), new_content(CATALOG), 10)
    await catalog.put_part("other", last)
    await catalog.delete_object(account, "c", "o")
    await catalog.delete_container(account, "c")
    assert last.content in {each.content for each in await catalog.garbage(now_us() + 1, 10)}


async def test_tables_of_an_earlier_release(make_catalog, tmp_path):
    """Which had no checksums of parts. A service of that release goes on working until it is replaced."""
    catalog = make_catalog()
    await catalog.start()
    account = (await catalog.add_user("a", "u", "key", read_only=False)).account
    await catalog.make_container(account, "c", {})
    await catalog.begin_upload(account, "c", Upload("id", "o", "a/b", {}, now_us()))
    first = UploadedPart(1, 25, "e" * 32, now_us(), new_content(CATALOG), 10)
    await catalog.put_part("id", first)
    await catalog.close()
    place = tmp_path / "catalog" / FILE_NAME
    if isinstance(catalog, SqliteCatalog):
        with closing(sqlite3.connect(place)) as database:
            database.execute("DROP TABLE part_checksums")
            database.execute("DROP TRIGGER part_gone")
    else:
        await in_postgres(
            catalog,
            "DROP TABLE sfss.part_checksums",
            "DROP FUNCTION sfss.part_gone CASCADE",
            "DROP FUNCTION sfss.put_part(text, integer, bigint, text, bigint, text, integer, text)",
        )
    catalog = make_catalog()
    await catalog.start()
    second = first._replace(number=2, content=new_content(CATALOG), checksum="c")
    await catalog.put_part("id", second)
    assert await catalog.parts("id") == [first, second]
    # One of the other release replaces that.
    third = second._replace(content=new_content(CATALOG), checksum="")
    if isinstance(catalog, SqliteCatalog):
        with closing(sqlite3.connect(place, isolation_level=None)) as database:
            database.execute("DELETE FROM parts WHERE number = 2")
            database.execute("INSERT INTO parts VALUES ('id', ?, ?, ?, ?, ?, ?)", third[:6])
            left = database.execute("SELECT count(*) FROM part_checksums").fetchone()
    else:
        values = ", ".join(map(repr, third[:6]))
        await in_postgres(catalog, f"SELECT sfss.put_part('id', {values})")
        left = await in_postgres(catalog, "SELECT count(*) FROM sfss.part_checksums")
    assert await catalog.parts("id") == [first, third] and tuple(left) == (0,)
    await catalog.close()


async def in_postgres(catalog: PostgresCatalog, *statements: str) -> Sequence[Any]:
    """The first row of the last one's answer."""
    import asyncpg  # which the environments of other releases of Django have not

    connection = await asyncpg.connect(catalog._database._url)
    try:
        for statement in statements:
            row = await connection.fetchrow(statement)
    finally:
        await connection.close()
    return row


async def test_what_is_begun_and_not_finished(catalog):
    content = new_content(CATALOG)
    await catalog.begin_content(content)
    assert await catalog.abandoned(now_us() - 10_000_000) == []
    assert await catalog.abandoned(now_us() + 1) == [content]
    await catalog.give_up(content, None)
    assert await catalog.garbage(now_us() + 1, 10) == [Garbage(content, None)]


async def test_counts_are_right_while_many_write(catalog, account):
    await catalog.make_container(account, "c", {})
    sizes: dict[str, int] = {}

    async def work(number: int) -> None:
        for round in range(20):
            name = f"{number}-{round % 3}"
            if random.random() < 0.3 and name in sizes:
                await catalog.delete_object(account, "c", name)
                del sizes[name]
            else:
                size = random.randrange(100)
                await catalog.put_object(account, "c", info(name, size))
                sizes[name] = size

    await asyncio.gather(*(work(number) for number in range(10)))
    found = await catalog.container(account, "c")
    assert (found.objects, found.bytes) == (len(sizes), sum(sizes.values()))


names = st.lists(st.text("ab/é\U0010ffff", min_size=1, max_size=5), unique=True, max_size=12)
texts = st.text("ab/é\U0010ffff", max_size=3)


queries = st.builds(
    Query,
    limit=st.integers(1, 5),
    prefix=texts,
    delimiter=st.sampled_from(["", "/", "b", "/a"]),
    marker=texts,
    end_marker=texts,
    reverse=st.booleans(),
)


def test_listings(make_catalog):
    """Against a model: all names sorted, cut, and folded."""
    catalog = make_catalog()
    containers = itertools.count()

    async def check(account: int, names: list[str], queries: list[Query]) -> None:
        container = f"c{next(containers)}"
        await catalog.make_container(account, container, {})
        await asyncio.gather(*(catalog.put_object(account, container, info(name)) for name in names))
        for query in queries:
            found: list[str] = []
            cursor: str | None = query.marker
            while cursor is not None:
                page = await catalog.objects(account, container, query._replace(marker=cursor))
                entries = [file.path for file in page.files] + page.folders
                assert len(entries) <= query.limit
                found += sorted(entries, reverse=query.reverse)
                cursor = page.cursor
            assert found == expected(names, query)

    with asyncio.Runner() as runner:
        runner.run(catalog.start())
        account = runner.run(catalog.add_user("a", "u", "key", read_only=False)).account

        @given(names=names, queries=st.lists(queries, min_size=1, max_size=4))
        @settings(max_examples=40, deadline=None)
        def checks(names, queries):
            runner.run(check(account, names, queries))

        try:
            checks()
        finally:
            runner.run(catalog.close())


def expected(names: list[str], query: Query) -> list[str]:
    found = []
    for name in sorted(names, reverse=query.reverse):
        low, high = (query.end_marker, query.marker) if query.reverse else (query.marker, query.end_marker)
        if not name.startswith(query.prefix) or (low and name <= low) or (high and name >= high):
            continue
        end = name.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
        if end >= 0:
            name = name[: end + len(query.delimiter)]
            if name == query.marker:
                continue
        if name not in found:
            found.append(name)
    return found
