"""Several servers that know the same: one after the other, until one answers."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sfss.django.http import Answer, NoAnswer

#: A server that has failed is asked last for so long, seconds.
_AVOIDED = 5.0


class Asked(NamedTuple):
    """What came of it. *answer*: the first that is one, or else the last; None: nobody has answered."""

    answer: Answer | None
    tries: int
    reasons: list[str]  #: of those that gave no answer


class Failover:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: dict[str, float] = {}  # url -> when (monotonic)

    def ask(
        self, urls: Sequence[str], ask: Callable[[str], Answer], is_answer: Callable[[Answer], bool]
    ) -> Asked:
        """*ask* each of *urls*, those last that have failed a moment ago. 5xx of HTTP counts as a failure, too, if it
        is no answer.
        """
        last: Answer | None = None
        reasons: list[str] = []
        tries = 0
        for url in self.in_order(urls):
            tries += 1
            try:
                answer = ask(url)
            except NoAnswer as error:
                self._note_failure(url)
                reasons.append(f"{url}: {error}")
                continue
            if is_answer(answer):
                return Asked(answer, tries, reasons)
            if answer.status >= 500:
                self._note_failure(url)
            last = answer
        return Asked(last, tries, reasons)

    def in_order(self, urls: Sequence[str]) -> list[str]:
        now = time.monotonic()
        with self._lock:
            failed = {url for url, when in self._failed.items() if now - when < _AVOIDED}
        return sorted(urls, key=lambda url: url in failed)

    def _note_failure(self, url: str) -> None:
        with self._lock:
            self._failed[url] = time.monotonic()
