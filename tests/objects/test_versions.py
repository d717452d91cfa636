"""The contract of a catalog's versions: examples, and random histories against a model."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfss.errors import ContainerNotEmpty, IsDeleteMarker, NoSuchVersion, NotFound
from sfss.objects.clock import now_us
from sfss.objects.contents import new_content
from sfss.objects.models import IN_PARTS, Garbage, ObjectInfo, Query, Upload, UploadedPart
from sfss.objects.versions import ENABLED, OFF, SUSPENDED, behind_all, bound_in, place_of
from tests.objects.test_catalog import CATALOG, info


def test_places():
    assert bound_in("a/b") == ("a/b", 2**62)
    assert bound_in(place_of("a", 5)) == ("a", 5) == bound_in(place_of("a", 5) + "\0")
    places = [place_of("a", 7), place_of("a", 5), behind_all("a"), place_of("a!", 9), place_of("b", 1)]
    assert places == sorted(places)


async def shown(catalog, account, limit=100, **query) -> list[tuple]:
    """Name, version, size, whether it is a marker, whether it is the latest: page by page."""
    found, marker = [], query.pop("marker", "")
    while marker is not None:
        page = await catalog.versions(account, "c", Query(limit, marker=marker, **query))
        found += [(v.info.path, v.info.version, v.info.size, v.is_marker, v.is_latest) for v in page.files]
        found += [(folder,) for folder in page.folders]
        marker = page.cursor
    return found


async def test_versions_are_kept_and_deleted(catalog, account):
    await catalog.make_container(account, "c", {})
    first, second, third = info("o", 1), info("o", 22), info("o", 333)
    assert await catalog.put_object(account, "c", first) == ""
    await catalog.set_versioning(account, "c", ENABLED)
    assert (await catalog.container(account, "c")).versioning == ENABLED
    v2, v3 = [await catalog.put_object(account, "c", each) for each in (second, third)]
    assert len({v2, v3, ""}) == 3 and v3 < v2
    assert await shown(catalog, account) == [
        ("o", v3, 333, False, True),
        ("o", v2, 22, False, False),
        ("o", "", 1, False, False),
    ]
    assert (await catalog.object_version(account, "c", "o", "")).content == first.content
    assert (await catalog.object_version(account, "c", "o", v3)).content == third.content
    assert await catalog.garbage(now_us() + 1, 10) == []
    assert await catalog.known([each.content for each in (first, second, third)]) == {
        each.content for each in (first, second, third)
    }
    await catalog.give_up(first.content, 1)  # a version has it
    assert await catalog.garbage(now_us() + 1, 10) == []
    # A delete leaves a marker; what is deleted for good brings back what was before.
    deleted = await catalog.delete_object(account, "c", "o")
    assert deleted.is_marker and deleted.version < v3
    with pytest.raises(NotFound):
        await catalog.object(account, "c", "o")
    with pytest.raises(IsDeleteMarker):
        await catalog.object_version(account, "c", "o", deleted.version)
    with pytest.raises(NoSuchVersion):
        await catalog.object_version(account, "c", "o", "none")
    with pytest.raises(NoSuchVersion):
        await catalog.delete_version(account, "c", "o", "none")
    counts = await catalog.container(account, "c")
    assert (counts.objects, counts.bytes) == (0, 0)
    with pytest.raises(ContainerNotEmpty):
        await catalog.delete_container(account, "c")
    assert (await catalog.delete_version(account, "c", "o", deleted.version)).is_marker
    assert (await catalog.object(account, "c", "o")).version == v3
    assert not (await catalog.delete_version(account, "c", "o", v3)).is_marker
    assert (await catalog.object(account, "c", "o")).content == second.content
    assert [each.content for each in await catalog.garbage(now_us() + 1, 10)] == [third.content]
    counts = await catalog.container(account, "c")
    assert (counts.objects, counts.bytes) == (1, 22)
    # Suspended: what has no version is replaced, what has one stays.
    await catalog.set_versioning(account, "c", SUSPENDED)
    assert await catalog.put_object(account, "c", info("o", 4444)) == ""
    assert [row[1:3] for row in await shown(catalog, account)] == [("", 4444), (v2, 22)]
    assert (await catalog.delete_object(account, "c", "o")) == ("", True)
    assert [row[1:] for row in await shown(catalog, account)] == [("", 0, True, True), (v2, 22, False, False)]
    await catalog.delete_version(account, "c", "o", v2)
    await catalog.delete_version(account, "c", "o", "")
    assert await shown(catalog, account) == []
    assert len(await catalog.garbage(now_us() + 1, 10)) == 4
    await catalog.delete_container(account, "c")


async def test_nothing_that_was_put_is_lost_while_others_delete(make_catalog):
    """Several services, one name that is there and not there."""
    catalogs = [make_catalog() for _ in range(3)]
    for catalog in catalogs:
        await catalog.start()
    account = (await catalogs[0].add_user("a", "u", "key", read_only=False)).account
    put: list[tuple[str, str]] = []

    async def work(catalog, number: int) -> None:
        for round in range(25):
            if (number + round) % 2:
                new = info("o", 7)
                put.append((await catalog.put_object(account, "c", new), new.content))
            else:
                await catalog.delete_object(account, "c", "o")

    try:
        await catalogs[0].make_container(account, "c", {})
        await catalogs[0].set_versioning(account, "c", ENABLED)
        await asyncio.gather(*(work(catalog, number) for number, catalog in enumerate(catalogs * 3)))
        for version, content in put:
            assert (await catalogs[0].object_version(account, "c", "o", version)).content == content
        assert await catalogs[0].garbage(now_us() + 1, 10) == []
        listed = await shown(catalogs[0], account, 7)
        assert len(listed) == 9 * 25 == len({row[1] for row in listed}) and sum(row[4] for row in listed) == 1
        await catalogs[0].set_versioning(account, "c", SUSPENDED)  # one null version, whoever comes first
        await asyncio.gather(*(work(catalog, number) for number, catalog in enumerate(catalogs * 3)))
        assert [row[1] for row in await shown(catalogs[0], account)].count("") == 1
    finally:
        for catalog in catalogs:
            await catalog.close()


async def test_a_put_that_is_repeated_late(catalog, account):
    await catalog.make_container(account, "c", {})
    await catalog.set_versioning(account, "c", ENABLED)
    first, second = info("o", 1), info("o", 2)
    versions = [await catalog.put_object(account, "c", each) for each in (first, second, first, second)]
    assert versions[0] == versions[2] and versions[1] == versions[3]
    assert (await catalog.object(account, "c", "o")).content == second.content
    await catalog.put_object(account, "c", info("o", 3))
    assert len(await shown(catalog, account)) == 3


async def test_what_was_put_in_parts_is_put_aside_with_them(catalog, account):
    await catalog.make_container(account, "c", {})
    await catalog.set_versioning(account, "c", ENABLED)
    versions, parts = [], []
    for id in ("first", "second"):
        await catalog.begin_upload(account, "c", Upload(id, "o", "a/b", {}, now_us()))
        part = UploadedPart(1, 25, "e" * 32, now_us(), new_content(CATALOG), 10)
        await catalog.put_part(id, part)
        whole = ObjectInfo("o", 25, "e" * 32 + "-1", "a/b", now_us(), id, 10, {}, IN_PARTS)
        versions.append(await catalog.complete_upload(account, "c", whole, [part]))
        parts.append(part)
    await catalog.delete_object(account, "c", "o")
    for id, version, part in zip(("first", "second"), versions, parts):
        assert (await catalog.object_version(account, "c", "o", version)).content == id
        assert await catalog.parts(id) == [part]
    assert await catalog.garbage(now_us() + 1, 10) == []
    await catalog.delete_version(account, "c", "o", versions[0])
    assert await catalog.parts("first") == [] and await catalog.parts("second") == [parts[1]]
    assert await catalog.garbage(now_us() + 1, 10) == [Garbage(parts[0].content, 3)]


async def test_what_expires_leaves_a_marker(catalog, account):
    await catalog.make_container(account, "c", {})
    await catalog.set_versioning(account, "c", ENABLED)
    first = await catalog.put_object(account, "c", info("o", 1))
    second = await catalog.put_object(account, "c", info("o", 2, expires=5))
    assert await catalog.expire(10, 10) == 1
    assert [row[3:] for row in await shown(catalog, account)] == [
        (True, True),
        (False, False),
        (False, False),
    ]
    with pytest.raises(NotFound):
        await catalog.object_version(account, "c", "o", second)
    assert (await catalog.object_version(account, "c", "o", first)).size == 1


async def test_listings_of_versions(catalog, account):
    await catalog.make_container(account, "c", {})
    await catalog.set_versioning(account, "c", ENABLED)
    for name in ("a", "d/x", "d/y", "é", "d/x", "a"):
        await catalog.put_object(account, "c", info(name))
    await catalog.delete_object(account, "c", "d/y")
    whole = await shown(catalog, account)
    assert [row[0] for row in whole] == ["a", "a", "d/x", "d/x", "d/y", "d/y", "é"]
    assert [row[3:] for row in whole[4:6]] == [(True, True), (False, False)]
    for limit in (1, 2, 3):
        assert await shown(catalog, account, limit) == whole
        folded = await shown(catalog, account, limit, delimiter="/")
        assert [row[0] for row in sorted(folded)] == ["a", "a", "d/", "é"]
    assert await shown(catalog, account, prefix="d/") == whole[2:6]
    assert await shown(catalog, account, marker=behind_all("a")) == whole[2:]
    assert await catalog.expire_versions(account, "c", "d/", now_us() + 1_000_000, 10) == 2
    assert [row[0] for row in await shown(catalog, account)] == ["a", "a", "d/x", "d/y", "é"]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("ab"), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.sampled_from("ab")),
        st.tuples(st.just("delete version"), st.sampled_from("ab"), st.integers(0, 4)),
        st.tuples(st.just("versioning"), st.sampled_from([ENABLED, SUSPENDED])),
    ),
    max_size=14,
)


class Model:
    """Of each name its versions, the newest first: id, size or None for a marker."""

    def __init__(self):
        self.versioning = OFF
        self.names: dict[str, list[tuple[str, int | None]]] = {"a": [], "b": []}

    def add(self, name: str, version: str, size: int | None) -> None:
        kept = [each for each in self.names[name] if version or each[0]]  # a null version replaces the other
        self.names[name] = [(version, size), *kept]

    def current(self, name: str) -> tuple[str, int | None] | None:
        versions = self.names[name]
        return versions[0] if versions and versions[0][1] is not None else None


def test_random_histories(make_catalog):
    catalog = make_catalog()
    containers = itertools.count()

    async def check(account: int, history) -> None:
        container, model = f"c{next(containers)}", Model()
        await catalog.make_container(account, container, {})
        named: dict[str, str] = {}  # contents, by whether they have to be known
        for step, *arguments in history:
            if step == "versioning":
                model.versioning = arguments[0]
                await catalog.set_versioning(account, container, arguments[0])
            elif step == "put":
                name, size = arguments
                put = info(name, size)
                version = await catalog.put_object(account, container, put)
                assert bool(version) == (model.versioning == ENABLED)
                model.add(name, version, size)
                named[f"{name} {version}"] = put.content
            elif step == "delete":
                (name,) = arguments
                if model.versioning == OFF and model.current(name) is None:
                    with pytest.raises(NotFound):
                        await catalog.delete_object(account, container, name)
                    continue
                deleted = await catalog.delete_object(account, container, name)
                if model.versioning == OFF:
                    model.names[name] = []
                else:
                    assert deleted.is_marker
                    model.add(name, deleted.version, None)
            else:
                name, index = arguments
                if index >= len(model.names[name]):
                    continue
                version, size = model.names[name].pop(index)
                deleted = await catalog.delete_version(account, container, name, version)
                assert deleted == (version, size is None)
            await compare(account, container, model, named)

    async def compare(account: int, container: str, model: Model, named) -> None:
        for name, versions in model.names.items():
            current = model.current(name)
            if current is None:
                with pytest.raises(NotFound):
                    await catalog.object(account, container, name)
            else:
                found = await catalog.object(account, container, name)
                assert (found.version, found.size) == current
            for version, size in versions:
                if size is not None:
                    found = await catalog.object_version(account, container, name, version)
                    assert (found.version, found.size) == (version, size)
        page = await catalog.versions(account, container, Query(100))
        listed = [
            (v.info.path, v.info.version, None if v.is_marker else v.info.size, v.is_latest)
            for v in page.files
        ]
        assert listed == [
            (name, version, size, place == 0)
            for name in sorted(model.names)
            for place, (version, size) in enumerate(model.names[name])
        ]
        counts = await catalog.container(account, container)
        there = [model.current(name)[1] for name in model.names if model.current(name)]
        assert (counts.objects, counts.bytes) == (len(there), sum(there))
        in_use = {f"{n} {v}" for n, versions in model.names.items() for v, size in versions if size}
        garbage = {each.content for each in await catalog.garbage(now_us() + 1, 100_000)}
        assert garbage.isdisjoint(content for key, content in named.items() if key in in_use and content)

    with asyncio.Runner() as runner:
        runner.run(catalog.start())
        account = runner.run(catalog.add_user("a", "u", "key", read_only=False)).account

        @given(history=steps)
        @settings(max_examples=60, deadline=None)
        def checks(history):
            runner.run(check(account, history))

        try:
            checks()
        finally:
            runner.run(catalog.close())


async def test_properties_of_versions(catalog, account):
    await catalog.make_container(account, "c", {})
    await catalog.set_versioning(account, "c", ENABLED)
    old, new = [await catalog.put_object(account, "c", info("o", size)) for size in (1, 2)]
    await catalog.set_properties(account, "c", "o", {"tags": "of=old"}, version=old)
    await catalog.set_properties(account, "c", "o", {"tags": "of=new"}, version=new)
    assert (await catalog.object(account, "c", "o")).properties == {"tags": "of=new"}
    assert (await catalog.object_version(account, "c", "o", old)).properties == {"tags": "of=old"}
    marker = (await catalog.delete_object(account, "c", "o")).version
    await catalog.set_properties(account, "c", "o", {"tags": None}, version=new)
    assert (await catalog.object_version(account, "c", "o", new)).properties == {}
    for version, problem in ((marker, IsDeleteMarker), ("none", NoSuchVersion), (None, NotFound)):
        with pytest.raises(problem):
            await catalog.set_properties(account, "c", "o", {"tags": "a=b"}, version=version)
