"""Compares what every media server has with what the database says, and heals."""

import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from sfss.django.files import sha256_of
from sfss.django.inventory import Inventory
from sfss.django.models import StoredFile
from sfss.django.queue import State, state_of
from sfss.django.sender import Sender
from sfss.django.senders import senders_for_a_command

#: So many files are compared at once, by so many threads.
_BATCH, _THREADS = 500, 16
_EVERY = 10.0
_WELL = "as it should be"


class Command(BaseCommand):
    help = (
        "Compare every media server, and this site's own copies, with what the database says that they are to have. "
        "What a server lacks is written into the queue and sent. Exit code 1 if something could not be healed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queues", nargs="*", help="only these (default: those of all storages)")
        parser.add_argument("--verify", action="store_true", help="compare contents, and not only sizes")
        parser.add_argument("--dry-run", action="store_true", help="compare, and change nothing")

    def handle(self, *_: Any, **options: Any) -> None:
        mine = senders_for_a_command(options["queues"])
        is_well = True
        for name, sender in mine.items():
            is_well &= self._reconcile(name, sender, options["verify"], options["dry_run"])
        if not is_well:
            sys.exit(1)

    def _reconcile(self, name: str, sender: Sender, verify: bool, dry_run: bool) -> bool:
        counts: Counter[tuple[str, str]] = Counter()
        files = 0
        inventories = {} if verify else self._inventories(name, sender)
        told = time.monotonic()
        with ThreadPoolExecutor(_THREADS) as pool:
            for batch in _batches(sender.queue.name):
                files += len(batch)
                for state in batch:
                    if (of_own := _own(sender, state, verify)) is not None:
                        counts["here", of_own] += 1
                work: list[tuple[str, State, bool]] = []
                for state in batch:
                    for host in sender.queue.hosts:
                        told_by = inventories.get(host)
                        if told_by and told_by.is_as_it_should_be(state.file, state.is_deleted):
                            counts[host, _WELL] += 1
                        else:
                            work.append((host, state, verify or told_by is not None))
                found = pool.map(lambda item: _compare(sender, *item), work)
                lacking: dict[str, list[int]] = {}
                for (host, state, _), result in zip(work, found):
                    counts[host, result] += 1
                    if result == "lacking":
                        lacking.setdefault(host, []).append(state.file)
                if not dry_run:
                    for host, keys in lacking.items():
                        sender.queue.mark(host, keys)
                if time.monotonic() - told > _EVERY:
                    told = time.monotonic()
                    self.stdout.write(f"{name}: {files} files compared")
        for host, inventory in inventories.items():
            if inventory.unknown:
                self.stdout.write(
                    f"{name}: {host}: {inventory.unknown} files that the database does not know"
                )
        for where in ["here", *sender.queue.hosts]:
            of_place = {result: count for (place, result), count in counts.items() if place == where}
            if of_place:
                words = ", ".join(f"{count} {result}" for result, count in sorted(of_place.items()))
                self.stdout.write(f"{name}: {where}: {words}")
        trouble = sum(count for (_, result), count in counts.items() if result != _WELL)
        if dry_run or not trouble:
            return not trouble
        sent = sender.send_all()
        self.stdout.write(f"{name}: {sent.delivered} healed, {sent.failed} failed")
        unreachable = any(result == "unreachable" for _, result in counts)
        return sent.failed == 0 and not unreachable and counts["here", "lacking"] == 0

    def _inventories(self, name: str, sender: Sender) -> dict[str, Inventory]:
        """Of servers that say what they have, a request for each 1,000 files; others are asked for each file."""
        found = {}
        for host in sender.queue.hosts:
            inventory = Inventory(sender, host)
            try:
                if inventory.take():
                    found[host] = inventory
            except OSError as error:
                self.stderr.write(f"{name}: {host} does not say what it has: {error}")
        return found


def _batches(queue: str) -> Iterable[list[State]]:
    rows = StoredFile.objects.filter(queue=queue).order_by("pk").iterator(chunk_size=_BATCH)
    while batch := [state_of(row) for row in islice(rows, _BATCH)]:
        yield batch


def _compare(sender: Sender, host: str, state: State, verify: bool) -> str:
    url = sender.url_of(state.name)
    try:
        if verify:
            has = sender.has(host, state)
        elif state.is_deleted:
            has = not sender.transport.exists(host, url)
        else:
            has = sender.transport.size(host, url) == state.size
    except FileNotFoundError:
        has = False
    except OSError:
        return "unreachable"
    return _WELL if has else "lacking"


def _own(sender: Sender, state: State, verify: bool) -> str | None:
    """None: the site keeps no copies."""
    if not sender.has_own or state.is_deleted:
        return None
    try:
        content = sender.own_content(state.name)
    except OSError:
        return "lacking"
    good = sha256_of(content) == state.sha256 if verify else len(content) == state.size
    return _WELL if good else "lacking"
