"""When, and for how long, something is tried again."""

import random
import time
from collections.abc import Mapping

#: Answers that may be others the next time.
WORTH_A_RETRY = frozenset({408, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds; doubled each time
#: Seconds: for a server that asks for more there is no next try, if nobody has said how long to go on.
_LONGEST_WISH = 60.0


class Retries:
    """Of one operation: *count* times, or for as many *seconds* from its first failure, if that is said."""

    def __init__(self, count: int, seconds: float | None):
        self._count = count
        self._seconds = seconds
        self._until: float | None = None
        self.tries = 0  #: that have failed, and were followed by another one

    def next_pause(self, headers: Mapping[str, str] | None = None) -> float | None:
        """After a failure: the seconds until the next try; None: there is none. *headers*: of the answer that was no
        success, if there was one; its ``Retry-After`` counts.
        """
        pause: float = min(_FIRST_PAUSE * 2**self.tries, _LONGEST_PAUSE) * random.uniform(0.5, 1.5)
        wish = _retry_after(headers or {})
        pause = max(pause, wish)
        if self._seconds is None:
            if self.tries >= self._count or wish > _LONGEST_WISH:
                return None
        else:
            now = time.monotonic()
            self._until = self._until or now + self._seconds
            if now >= self._until:
                return None
            pause = min(pause, self._until - now)
        self.tries += 1
        return pause


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds (RFC 9110 10.2.3; a date is not looked at)."""
    text = headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0.0
