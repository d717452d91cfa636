"""Several workers that share what is to be done."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


async def together(work: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    """Run *work* so many times at once. What one of them raises ends the others, too, before it is raised here."""
    tasks = [asyncio.create_task(work()) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
