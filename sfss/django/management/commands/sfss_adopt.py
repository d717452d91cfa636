"""Copies what another storage has into one of ours."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from sfss.django.files import sha256_of
from sfss.django.replicated import ReplicatedStorage

#: Seconds between two lines of progress, where there is no terminal.
_EVERY = 10.0


class Command(BaseCommand):
    help = (
        "Copy every file of a folder or of another storage into one of ours, under the same names. It may be stopped, "
        "and called again: what is there in the same size is left out (or, with --verify, with the same content)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="a folder (as MEDIA_ROOT), or the alias of a storage in STORAGES")
        parser.add_argument("--to", default="default", metavar="ALIAS", help="(default: %(default)s)")
        parser.add_argument("--prefix", default="", help="only what is in this folder")
        parser.add_argument("--verify", action="store_true", help="compare contents, and not only sizes")
        parser.add_argument("--dry-run", action="store_true", help="say what would be copied")

    def handle(self, *_: Any, **options: Any) -> None:
        source, target = _storage(options["source"]), _storage(options["to"], may_be_folder=False)
        if source is target:
            raise CommandError("source and target are one storage")
        copied = skipped = size = 0
        failed: list[str] = []
        bar = tqdm(unit="file", disable=None, file=sys.stderr, leave=False)
        told = time.monotonic()
        for name in files(source, options["prefix"]):
            bar.update()
            if bar.disable and time.monotonic() - told > _EVERY:
                told = time.monotonic()
                self.stdout.write(f"{copied} copied, {skipped} there already, {len(failed)} failed")
            try:
                if _is_there(source, target, name, options["verify"]):
                    skipped += 1
                    continue
                if not options["dry_run"]:
                    size += _copy(source, target, name)
                else:
                    self.stdout.write(name)
                copied += 1
            except (OSError, SuspiciousOperation) as error:
                failed.append(f"{name}: {error}")
        bar.close()
        what = "would be copied" if options["dry_run"] else f"copied ({size} bytes)"
        self.stdout.write(f"{copied} files {what}, {skipped} were there already, {len(failed)} failed")
        for line in failed:
            self.stderr.write(line)
        if failed:
            sys.exit(1)


def _storage(name: str, *, may_be_folder: bool = True) -> Storage:
    from django.conf import settings

    if name in settings.STORAGES:
        return storages[name]
    if may_be_folder and Path(name).is_dir():
        return FileSystemStorage(location=name)
    raise CommandError(f"{name} is no alias in STORAGES{' and no folder' if may_be_folder else ''}")


def files(storage: Storage, folder: str = "") -> Iterator[str]:
    """The names of all files in a folder, one after the other."""
    waiting = [folder.strip("/")]
    while waiting:
        folder = waiting.pop()
        folders, names = storage.listdir(folder)
        begin = f"{folder}/" if folder else ""
        for name in sorted(names):
            yield begin + name
        waiting += [begin + name for name in sorted(folders, reverse=True)]


def _is_there(source: Storage, target: Storage, name: str, verify: bool) -> bool:
    if isinstance(target, ReplicatedStorage) and target.options["queue"]:
        # What every server is to have; a copy on this machine says nothing of them.
        state, _ = target.sender.queue.look(name)
        if state is None or state.is_deleted or state.size != source.size(name):
            return False
        return not verify or sha256_of(_content(source, name)) == state.sha256
    if not target.exists(name) or target.size(name) != source.size(name):
        return False
    return not verify or _content(source, name) == _content(target, name)


def _copy(source: Storage, target: Storage, name: str) -> int:
    content = _content(source, name)
    with target.open(name, "wb") as file:
        file.write(content)
    return len(content)


def _content(storage: Storage, name: str) -> bytes:
    with storage.open(name) as file:
        content: bytes = file.read()
        return content
