"""``sfss backup`` and ``sfss restore``: copies of the embedded store."""

from pathlib import Path

from sfss.cli import progress
from sfss.stores.sqlite_backup import Copy, back_up, restore


def run_backup(data: str, target: str) -> int:
    """Copy the store in the folder *data* to the file *target*; returns the exit code."""
    with progress.files("backup") as bar:
        copy = back_up(Path(data), Path(target), bar.update_to)
    print(f"{_described(copy)} in {target}")
    return 0


def run_restore(data: str, source: str, replace: bool) -> int:
    """Make the file *source* the store in the folder *data*; returns the exit code."""
    with progress.files("restore") as bar:
        copy, aside = restore(Path(source), Path(data), replace=replace, progress=bar.update_to)
    print(f"{_described(copy)} in {data}")
    if aside is not None:
        print(f"what was there before is now {aside}")
    return 0


def _described(copy: Copy) -> str:
    return f"{copy.files} {'file' if copy.files == 1 else 'files'}, {copy.bytes} bytes, each read again and whole,"
