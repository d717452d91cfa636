"""Bars, which show themselves on a terminal only."""

import sys

from tqdm import tqdm


class Bar(tqdm):  # type: ignore[type-arg]  # it is generic in its stubs only
    def show(self, share: float) -> None:
        """How far it is, 0 to 1, where the bar has 100 units."""
        self.update(round(share * 100) - self.n)

    def update_to(self, done: int, of: int) -> None:
        self.total = of
        self.update(done - self.n)


def percent(what: str) -> Bar:
    return Bar(desc=what, total=100, unit="%", disable=None, file=sys.stderr, leave=False)


def files(what: str) -> Bar:
    return Bar(desc=what, unit="file", disable=None, file=sys.stderr)
