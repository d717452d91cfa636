"""Coroutines that most often have no need to wait: they run at once, without a task, up to where they do wait."""

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """A coroutine that has begun: what it waits for, and then its rest, can be awaited (in a task)."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], waits_for: Any):
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine, waits_for = self._coroutine, self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except BaseException as error:  # (a cancellation, too)
                    waits_for = coroutine.throw(error)
                else:
                    waits_for = coroutine.send(sent)
        except StopIteration as end:
            found: T = end.value
            return found
