import asyncio

import pytest

from sfss.errors import FileTooLarge, InvalidPath, NotFound
from sfss.service import FileService, Shared
from sfss.stores.memory import MemoryStore


async def test_the_rules_hold_for_whoever_calls():
    service = FileService(MemoryStore(), max_file_size=3)
    await service.put("a", b"123")
    with pytest.raises(FileTooLarge, match="at most 3 bytes"):
        await service.put("a", b"1234")
    room = service.room_to_read()
    for call in (
        service.get("/a", room),
        service.stat("/a", room),
        service.put("/a", b""),
        service.delete("/a"),
    ):
        with pytest.raises(InvalidPath):
            await call
    # This store answers nothing at once.
    assert not service.begin_get("a", room, None)
    assert not service.begin_put("a", b"x", None, None)
    assert not service.begin_stat("a", room, None)
    assert not service.begin_delete("a", None, None)


async def test_those_who_ask_at_once_share_an_answer():
    asked = 0

    async def ask():
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return asked

    shared = Shared(ask)
    waiting = [asyncio.create_task(shared.answer()) for _ in range(50)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    assert await asyncio.gather(*waiting) == [1] * 49
    assert await shared.answer() == 2  # a new question has a new answer


async def test_a_failure_is_shared_and_not_kept():
    answers = iter([NotFound("no"), "yes"])

    async def ask():
        await asyncio.sleep(0)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    shared = Shared(ask)
    found = await asyncio.gather(shared.answer(), shared.answer(), return_exceptions=True)
    assert [type(each) for each in found] == [NotFound, NotFound]
    assert await shared.answer() == "yes"
