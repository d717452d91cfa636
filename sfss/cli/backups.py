"""``sfss backup`` and ``sfss restore``: copies of the embedded store."""

import sys
from pathlib import Path

from tqdm import tqdm

from sfss.stores.sqlite_backup import Copy, back_up, restore


def run_backup(data: str, target: str) -> int:
    """Copy the store in the folder *data* to the file *target*; returns the exit code."""
    with _bar("backup") as bar:
        copy = back_up(Path(data), Path(target), bar.update_to)
    print(f"{_described(copy)} in {target}")
    return 0


def run_restore(data: str, source: str, replace: bool) -> int:
    """Make the file *source* the store in the folder *data*; returns the exit code."""
    with _bar("restore") as bar:
        copy, aside = restore(Path(source), Path(data), replace=replace, progress=bar.update_to)
    print(f"{_described(copy)} in {data}")
    if aside is not None:
        print(f"what was there before is now {aside}")
    return 0


def _described(copy: Copy) -> str:
    return f"{copy.files} {'file' if copy.files == 1 else 'files'}, {copy.bytes} bytes, each read again and whole,"


class _Bar(tqdm):  # type: ignore[type-arg]  # it is generic in its stubs only
    def update_to(self, done: int, of: int) -> None:
        self.total = of
        self.update(done - self.n)


def _bar(what: str) -> _Bar:
    # It shows itself on a terminal only.
    return _Bar(desc=what, unit="file", disable=None, file=sys.stderr)
