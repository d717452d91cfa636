"""Long reads of a database: in a thread of their own, so that nobody else waits for them."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sfss.errors import NoStoreAvailable

T = TypeVar("T")


class Reader:
    """*connect* opens the database, for any thread. *timeout*: seconds that a read may take, its turn included."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], timeout: float):
        self._connect = connect
        self._timeout = timeout
        self._thread = ThreadPoolExecutor(1, "database-reader")
        self._database: sqlite3.Connection | None = None

    async def read(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """What *ask* returns. :raises sqlite3.Error: :raises NoStoreAvailable: if it takes too long."""
        asking = asyncio.get_running_loop().run_in_executor(self._thread, self._ask, ask)
        try:
            # (Not asyncio.timeout: there may be no task, see Call in sfss.web.operations.)
            await asyncio.wait([asking], timeout=self._timeout)
            if not asking.done():
                raise NoStoreAvailable(f"The disk did not answer within {self._timeout:g} s.")
        finally:
            asking.cancel()  # if it has not begun; what has ended stays
        return asking.result()

    def _ask(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        if self._database is None:
            self._database = self._connect()
        return ask(self._database)

    async def close(self) -> None:
        """What is under way ends first; what waits for its turn is not begun."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        if self._database is not None:
            self._database.close()
