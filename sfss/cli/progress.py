"""How far something is: bars on a terminal; without one, a line now and then for what takes long."""

import sys
import time

from tqdm import tqdm

#: Seconds from one line to the next.
_EVERY = 10.0
#: So many failures are remembered.
_MOST_REMEMBERED = 10_000


class Bar(tqdm):  # type: ignore[type-arg]  # it is generic in its stubs only
    def show(self, share: float) -> None:
        """How far it is, 0 to 1, where the bar has 100 units."""
        self.update(round(share * 100) - self.n)

    def update_to(self, done: int, of: int) -> None:
        self.total = of
        self.update(done - self.n)


def printable(text: str) -> str:
    """*text* in one line, and without what a terminal would take for a command: names come from anybody."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def percent(what: str) -> Bar:
    return Bar(desc=what, total=100, unit="%", disable=None, file=sys.stderr, leave=False)


def files(what: str) -> Bar:
    return Bar(desc=what, unit="file", disable=None, file=sys.stderr)


class Course:
    """Of *what*, where nobody knows how much there is to do. All of it goes to standard error."""

    def __init__(self, what: str):
        self._what = what
        self._bar = files(what)
        self._begun = self._said = time.monotonic()
        self.failed = 0
        self._complained: set[str] = set()

    def __enter__(self) -> "Course":
        return self

    def __exit__(self, *problem: object) -> None:
        self._bar.close()

    @property
    def seconds(self) -> float:
        """Since it has begun."""
        return time.monotonic() - self._begun

    def show(self, done: int, words: str) -> None:
        """*done*: files. *words*: what there is to say."""
        if not self._bar.disable:
            self._bar.set_postfix_str(words, refresh=False)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._said >= _EVERY:
            self._said = time.monotonic()
            print(f"sfss: {self._what}: {words}, {self.seconds:.0f} s", file=sys.stderr, flush=True)

    def complain(self, path: str, reason: str) -> None:
        """Say what has failed, once for each."""
        if path in self._complained:
            return
        if len(self._complained) < _MOST_REMEMBERED:
            self._complained.add(path)
        self.failed += 1
        self._bar.clear()
        print(f"sfss: {printable(f'{path}: {reason}')}", file=sys.stderr, flush=True)
