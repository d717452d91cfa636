"""Completions: how an answer reaches what waits for it without a task of its own."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

log = logging.getLogger("sfss")

#: Says whether the client of the request, in whose context it is asked, still waits for its answer. (A write
#: goes on to its end without it: what it holds is let go then. But it is not tried again.)
is_waited_for: ContextVar[Callable[[], bool]] = ContextVar("is_waited_for", default=lambda: True)


class Completion(Protocol):
    """An :class:`asyncio.Future`, or something cheaper that is called back at once, in the turn of
    the event loop in which the answer came. Of the two answers it gets one, once.
    """

    def done(self) -> bool:
        """Whether nobody waits any more; then neither of the others is called."""

    def set_result(self, result: Any) -> None: ...

    def set_exception(self, error: Exception) -> None: ...


class WriteCompletion(Completion, Protocol):
    """That of a write. It gets its answer even if its client has gone meanwhile."""

    def is_waited_for(self) -> bool:
        """Whether there is still somebody to tell. If not, what has failed is not tried again."""


def tell(completion: Completion, outcome: Any) -> None:
    """Give *completion* its result, or its exception, if it still waits; whatever it makes of it."""
    if completion.done():
        return
    try:
        if isinstance(outcome, Exception):
            completion.set_exception(outcome)
        else:
            completion.set_result(outcome)
    except Exception:  # one receiver's bug must not keep the others waiting
        log.exception("a completion callback failed")
