"""The delivery queue: which host is to have what, who sends it, and what came of it (see :mod:`sfss.django.models`).

A change is written down before anything is sent, so whoever ends in between leaves what has to be done. To a host only
one sender at a time has to do with a file: who has the *lease*. It reads the file's state after it has taken it. A
lease is so long that what its owner has sent last can no longer arrive when it has expired.

A save of a new name takes four queries: looking for the name, the file, its deliveries, and what came of them.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

from django.db import IntegrityError, connections, router, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from sfss.django.http import NoAnswer
from sfss.django.models import Delivery, StoredFile, key_of

#: Seconds before the first retry, doubled each time, up to the second.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 600.0
_LOOK = 0.05
#: So often a change is begun again that somebody else has overtaken.
_TRIES = 50


class NameTaken(Exception):
    """There is a file of this name, or one is being deleted."""


class State(NamedTuple):
    """What every host is to have."""

    file: int  #: its primary key
    name: str
    version: int
    is_deleted: bool
    sha256: str
    size: int


class Ticket(NamedTuple):
    """A change that was written down. *hosts*: to which its bearer may send."""

    state: State
    lease: str
    hosts: list[str]


class Queue:
    """Of the storage with this *name*. *timeout*: the longest that one step of a request takes, seconds.

    *quarantine*: in so many seconds whatever was sent has arrived, or never will.
    """

    def __init__(self, name: str, hosts: Sequence[str], *, timeout: float, quarantine: float):
        self.name = name
        self.hosts = list(hosts)
        self._timeout = timeout
        self._quarantine = quarantine

    @property
    def database(self) -> str:
        """The alias of the database that it is in."""
        alias: str = router.db_for_write(StoredFile)
        return alias

    # Writing down.

    def is_taken(self, name: str) -> bool:
        return StoredFile.objects.filter(queue=self.name, key=key_of(name)).exists()

    def change(
        self, name: str, *, sha256: str = "", size: int = 0, is_deleted: bool = False, overwrite: bool = True
    ) -> Ticket:
        """From now on every host is to have this. :raises NameTaken:"""
        lease = secrets.token_hex(16)
        for _ in range(_TRIES):
            rows = list(self._of(name).select_related("file"))
            if not rows:
                ticket = self._begin(name, lease, sha256, size, is_deleted)
            else:
                if not overwrite:
                    raise NameTaken(name)
                ticket = self._go_on(rows, lease, sha256, size, is_deleted)
            if ticket is not None:
                return ticket
        raise TimeoutError(f"{name} is changed all the time by others")

    def _begin(self, name: str, lease: str, sha256: str, size: int, is_deleted: bool) -> Ticket | None:
        """None: somebody else has just begun."""
        now = _now_us()
        file = StoredFile(
            queue=self.name, name=name, version=now, is_deleted=is_deleted, sha256=sha256, size=size
        )
        using = self.database
        try:
            if connections[using].in_atomic_block:
                with transaction.atomic(using=using):
                    file.save(force_insert=True, using=using)
            else:
                file.save(force_insert=True, using=using)
        except IntegrityError:
            # It may have no deliveries: whoever began has ended in between.
            found = StoredFile.objects.filter(queue=self.name, key=key_of(name)).first()
            if found is not None:
                self._add_missing(found, set(), "")
            return None
        self._add_missing(file, set(), lease)
        return Ticket(state_of(file), lease, list(self.hosts))

    def _add_missing(self, file: StoredFile, known: set[str], lease: str) -> None:
        now = timezone.now()
        until = now + self._lease_time() if lease else None
        missing = [
            Delivery(file=file, host=host, next_try=now, lease=lease, lease_until=until)
            for host in self.hosts
            if host not in known
        ]
        if missing:
            Delivery.objects.bulk_create(missing, ignore_conflicts=True)

    def _go_on(
        self, rows: list[Delivery], lease: str, sha256: str, size: int, is_deleted: bool
    ) -> Ticket | None:
        """None: somebody else was faster."""
        file = rows[0].file
        known = {row.host for row in rows}
        if not known.issuperset(self.hosts):
            self._add_missing(file, known, "")
        held = self._take(file.pk, lease)
        version = max(_now_us(), file.version + 1)
        changed = StoredFile.objects.filter(pk=file.pk, version=file.version).update(
            version=version, is_deleted=is_deleted, sha256=sha256, size=size, changed=timezone.now()
        )
        if not changed:
            return None
        state = State(file.pk, file.name, version, is_deleted, sha256, size)
        return Ticket(state, lease, held)

    def _take(self, file: int, lease: str) -> list[str]:
        """Mark all as dirty, and take the leases that are free; of which hosts they are."""
        now = timezone.now()
        of_file = Delivery.objects.filter(file_id=file, host__in=self.hosts)
        free = of_file.filter(_is_free(now) | Q(lease=lease)).filter(must_verify=False)
        taken = free.update(is_dirty=True, lease=lease, lease_until=now + self._lease_time(), next_try=now)
        if taken == len(self.hosts):
            return list(self.hosts)
        of_file.update(is_dirty=True)
        return list(of_file.filter(lease=lease).values_list("host", flat=True))

    def wait_for(self, ticket: Ticket, hosts: Sequence[str], seconds: float) -> list[str]:
        """Of *hosts*, to which somebody else sends: those whose leases were taken within *seconds*."""
        held: list[str] = []
        deadline = time.monotonic() + seconds
        while len(held) < len(hosts) and time.monotonic() < deadline:
            time.sleep(_LOOK)
            held = [host for host in self._take(ticket.state.file, ticket.lease) if host in hosts]
        return held

    # What came of it.

    def done(self, ticket: Ticket, hosts: Sequence[str]) -> None:
        """They have it."""
        if not hosts:
            return
        held = Delivery.objects.filter(file_id=ticket.state.file, lease=ticket.lease, host__in=hosts)
        clean = held.filter(file__version=ticket.state.version).update(
            is_dirty=False, lease="", lease_until=None, failures=0, must_verify=False, last_error=""
        )
        if clean < len(hosts):
            held.update(lease="", lease_until=None)  # it was changed meanwhile: that is still to be sent

    def failed(self, ticket: Ticket, host: str, error: Exception) -> None:
        """It does not have it, or nobody knows."""
        is_ambiguous = isinstance(error, NoAnswer) and error.is_ambiguous
        held = Delivery.objects.filter(file_id=ticket.state.file, lease=ticket.lease, host=host)
        row = held.first()
        if row is None:
            return
        pause = min(_FIRST_PAUSE * 2**row.failures, _LONGEST_PAUSE)
        if is_ambiguous:
            pause = max(pause, self._quarantine)
        held.update(
            lease="",
            lease_until=None,
            failures=row.failures + 1,
            next_try=timezone.now() + timedelta(seconds=pause),
            must_verify=row.must_verify or is_ambiguous,
            last_error=f"{type(error).__name__}: {error}"[:1000],
        )

    def leave(self, ticket: Ticket) -> None:
        """To whoever sends next."""
        held = Delivery.objects.filter(file_id=ticket.state.file, lease=ticket.lease)
        held.update(lease="", lease_until=None, next_try=timezone.now())

    # Sending later.

    def due(self, most: int) -> Iterator[tuple[Ticket, Delivery]]:
        """What is to be sent now, each with its lease; nobody else gets it meanwhile."""
        lease = secrets.token_hex(16)
        now = timezone.now()
        waiting = (
            Delivery.objects.filter(file__queue=self.name, is_dirty=True, next_try__lte=now)
            .filter(_is_free(now), host__in=self.hosts)
            .order_by("next_try")
        )
        using = self.database
        until = now + self._lease_time()

        def take(rows: QuerySet[Delivery]) -> None:
            keys = list(rows.values_list("pk", flat=True)[:most])
            mine = Delivery.objects.using(using).filter(_is_free(now), pk__in=keys, is_dirty=True)
            mine.update(lease=lease, lease_until=until)

        if connections[using].features.has_select_for_update_skip_locked:
            with transaction.atomic(using=using):
                take(waiting.using(using).select_for_update(skip_locked=True, of=("self",)))
        else:
            # One statement, which gets those that nobody else has taken in between.
            take(waiting.using(using))
        # The states are read after the leases were taken.
        for row in Delivery.objects.using(using).filter(lease=lease).select_related("file"):
            yield Ticket(state_of(row.file), lease, [row.host]), row

    def mark(self, host: str, files: Sequence[int]) -> None:
        """A host was found not to have these (their primary keys)."""
        now = timezone.now()
        known = Delivery.objects.filter(host=host, file_id__in=files)
        missing = set(files) - set(known.values_list("file_id", flat=True))
        Delivery.objects.bulk_create(
            [Delivery(file_id=file, host=host, next_try=now) for file in missing], ignore_conflicts=True
        )
        known.filter(is_dirty=False).update(is_dirty=True, next_try=now)

    def clean_hosts(self, state: State) -> list[str]:
        """Those that have this version."""
        of_file = Delivery.objects.filter(file_id=state.file, is_dirty=False, file__version=state.version)
        return list(of_file.filter(host__in=self.hosts).values_list("host", flat=True))

    def forget(self, older_than: timedelta) -> int:
        """Remove tombstones that every host has, and that are so old; how many."""
        old = StoredFile.objects.filter(
            queue=self.name, is_deleted=True, changed__lt=timezone.now() - older_than
        ).exclude(deliveries__is_dirty=True)
        count, _ = old.delete()
        return count

    def _of(self, name: str) -> QuerySet[Delivery]:
        return Delivery.objects.filter(file__queue=self.name, file__key=key_of(name))

    def _lease_time(self) -> timedelta:
        return timedelta(seconds=4 * self._timeout + self._quarantine)


def _is_free(now: object) -> Q:
    return Q(lease="") | Q(lease_until__lt=now)


def state_of(file: StoredFile) -> State:
    return State(file.pk, file.name, file.version, file.is_deleted, file.sha256, file.size)


def _now_us() -> int:
    return time.time_ns() // 1000
