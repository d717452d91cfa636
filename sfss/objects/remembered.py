"""What was read of a catalog a moment ago, for as long as nothing has changed in it, whoever changes it."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

#: So many values are remembered: of a hot set that is larger, each is read again now and then.
_MOST = 4096


class Remembered(Generic[T]):
    """Values by their keys. *state*: what is another one after each change, and costs much less than to read.

    (A change forgets all of them. Where every request changes something, this costs what asking for the state does.)
    """

    def __init__(self, state: Callable[[], bytes]):
        self._state = state
        self._seen = b""
        self._values: dict[object, T] = {}

    def get(self, key: object) -> T | None:
        state = self._state()
        if state != self._seen:
            self._values.clear()
            self._seen = state
        return self._values.get(key)

    def put(self, key: object, value: T) -> None:
        """Of what was read after :meth:`get`, with no wait between them: it may be newer than the state that was
        seen, and then the next *get* forgets it.
        """
        if len(self._values) >= _MOST:
            self._values.clear()
        self._values[key] = value
