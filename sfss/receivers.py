"""Who waits for an answer without a task of its own."""

from typing import Any, Protocol


class Receiver(Protocol):
    """An :class:`asyncio.Future`, or something cheaper that is called back at once, in the turn of
    the event loop in which the answer came. Of the two answers it gets one, once.
    """

    def done(self) -> bool:
        """Whether nobody waits any more; then neither of the others is called."""

    def set_result(self, result: Any) -> None: ...

    def set_exception(self, error: Exception) -> None: ...
