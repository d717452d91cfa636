"""The same question about many files, some of them at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from sfss.client.values import OF_THE_SERVER
from sfss.errors import NotFound, SfssError

T = TypeVar("T")

#: How many are under way at once.
AT_ONCE = 16


async def each(
    paths: Iterable[str], ask: Callable[[str], Awaitable[T]], failed: Callable[[str, SfssError], object]
) -> dict[str, T]:
    """What *ask* returns of those that are there, by their paths. *failed*: takes what is wrong with one of them.

    :raises SfssError: what is wrong with the server (:data:`OF_THE_SERVER`). Nothing more is asked then.
    """
    found: dict[str, T] = {}
    left = iter(paths)

    async def work() -> None:
        for path in left:
            try:
                found[path] = await ask(path)
            except NotFound:
                continue
            except OF_THE_SERVER:
                raise
            except SfssError as error:
                failed(path, error)

    tasks = [asyncio.create_task(work()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return found
