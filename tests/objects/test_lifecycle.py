"""What the rules of buckets do, over days."""

import time

import pytest

from sfss.errors import NotFound, PreconditionFailed
from sfss.objects.clock import now_us
from sfss.objects.lifecycle import LIFECYCLE, Lifecycle, Rule, written
from sfss.objects.models import Query, Upload
from tests.objects.test_catalog import info

DAY = 86_400.0


async def names(catalog, account, container) -> list[str]:
    return [each.path for each in (await catalog.objects(account, container, Query(100))).files]


async def test_objects_end_after_days(catalog, account):
    rules = [
        Rule("", "logs/", True, 2, "", None, None),
        Rule("", "off/", False, 1, "", None, None),
        Rule("", "day/", True, None, "2100-01-01", None, None),
        Rule("", "", True, None, "", 3, None),
    ]
    await catalog.make_container(account, "c", {LIFECYCLE: written(rules)})
    await catalog.make_container(account, "d", {})
    for container in ("c", "d"):
        for name in ("logs/a", "off/a", "day/a", "logs", "other"):
            await catalog.put_object(account, container, info(name))
    await catalog.begin_upload(account, "c", Upload("id", "o", "a/b", {}, now_us()))
    lifecycle = Lifecycle(catalog)
    now = time.time()
    assert await lifecycle.apply() == 0
    assert await lifecycle.apply(now=now + 2 * DAY - 60) == 0  # whole days, from the next midnight
    assert await lifecycle.apply(now=now + 3 * DAY) == 1
    assert await names(catalog, account, "c") == ["day/a", "logs", "off/a", "other"]
    assert await lifecycle.apply(now=now + 4 * DAY) == 1  # the upload
    assert (await catalog.uploads(account, "c", Query(10))).files == []
    assert await lifecycle.apply(now=4_102_444_800.0) == 1  # 2100
    assert await names(catalog, account, "c") == ["logs", "off/a", "other"]
    assert len(await names(catalog, account, "d")) == 5


async def test_what_is_put_meanwhile_stays(catalog, account):
    await catalog.make_container(account, "c", {})
    old = info("o")
    await catalog.put_object(account, "c", old)
    with pytest.raises(PreconditionFailed):
        await catalog.delete_object(account, "c", "o", before=old.modified)
    with pytest.raises(PreconditionFailed):
        await catalog.delete_object(account, "c", "o", must_have="another")
    await catalog.delete_object(account, "c", "o", must_have=old.etag, before=old.modified + 1)
    for condition in ({}, {"must_have": "*"}, {"before": 2**60}):
        with pytest.raises(NotFound):
            await catalog.delete_object(account, "c", "o", **condition)


async def test_one_of_all_has_its_turn(make_catalog):
    one, other = make_catalog(), make_catalog()
    await one.start()
    await other.start()
    try:
        assert await one.take_turn("work", 100) and not await other.take_turn("work", 100)
        assert await other.take_turn("else", 100)
        assert await other.take_turn("work", 0) and not await one.take_turn("work", 100)
    finally:
        await one.close()
        await other.close()


async def test_containers_of_all_accounts(catalog, account):
    other = (await catalog.add_user("b", "u", "key", read_only=False)).account
    for key in (other, account):
        await catalog.make_container(key, "same", {"X-Container-Meta-A": str(key)})
    found = await catalog.containers_named("same")
    assert [(key, name, each.metadata["X-Container-Meta-A"]) for key, name, each in found] == [
        (other, "b", str(other)),
        (account, "a", str(account)),
    ]
    assert await catalog.containers_named("none") == []
