"""The delivery queue: which host is to have what, who sends it, and what came of it (see :mod:`sfss.django.models`).

A change is written down before anything is sent, so whoever ends in between leaves what has to be done. To a host only
one sender at a time has to do with a file: who has the *lease*. A lease is so long that what its owner has sent last
can no longer arrive when it has expired, and it is renewed directly before each send.

A change takes four queries: the file, its deliveries, which of them are ours, and what came of it.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import IntegrityError, connections, router, transaction
from django.db.models import Case, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone

from sfss.django.models import Delivery, StoredFile, key_of

#: Seconds before the first retry, doubled each time, up to the second.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 600.0
_MOST_DOUBLED = 10
_LOOK = 0.05
#: So often a change is begun again that somebody else has overtaken.
_TRIES = 50
_FORGOTTEN_AT_ONCE = 500


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
    """A change that was written down. *hosts*: to which its bearer may send. *is_new*: there was no such file."""

    state: State
    lease: str
    hosts: list[str]
    is_new: bool = False


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

    # What is known.

    def look(self, name: str) -> tuple[State | None, list[str]]:
        """What every host is to have, if the queue knows the name, and which hosts have it."""
        rows = list(self._deliveries(name).select_related("file"))
        if not rows:
            file = self._files(name).first()
            return (state_of(file) if file else None), []
        clean = [row.host for row in rows if not row.is_dirty and row.host in self.hosts]
        return state_of(rows[0].file), clean

    def is_taken(self, name: str) -> bool:
        """Whether a new file cannot have this name: there is one, or one is still being deleted."""
        rows = self._files(name).values_list("is_deleted", "deliveries__is_dirty")
        return any(not is_deleted or is_dirty for is_deleted, is_dirty in rows)

    # Writing down.

    def change(
        self,
        name: str,
        *,
        sha256: str = "",
        size: int = 0,
        is_deleted: bool = False,
        overwrite: bool = True,
        only: int | None = None,
    ) -> Ticket | None:
        """From now on every host is to have this. *only*: if the newest is this version; else None is returned.

        :raises NameTaken: unless *overwrite*, if there is such a file.
        """
        lease = secrets.token_hex(16)
        new = {"sha256": sha256, "size": size, "is_deleted": is_deleted}
        if not overwrite and self.is_taken(name):
            raise NameTaken(name)
        for _ in range(_TRIES):
            if not overwrite and (ticket := self._begin(name, lease, new)):
                return ticket
            try:
                ticket = self._go_on(name, lease, new, overwrite, only)
            except StoredFile.DoesNotExist:
                ticket = None
            if ticket is not None or only is not None:
                return ticket
            if overwrite and (ticket := self._begin(name, lease, new)):
                return ticket
        raise TimeoutError(f"{name} is changed all the time by others")

    def _begin(self, name: str, lease: str, new: dict[str, Any]) -> Ticket | None:
        """None: the queue knows the name already."""
        file = StoredFile(queue=self.name, name=name, version=_now_us(), **new)
        using = self.database
        try:
            with transaction.atomic(using=using):
                file.save(force_insert=True, using=using)
                self._add_missing(file, set(), lease)
        except IntegrityError:
            return None
        return Ticket(state_of(file), lease, list(self.hosts), is_new=True)

    def _add_missing(self, file: StoredFile, known: set[str], lease: str) -> None:
        now = timezone.now()
        until = now + self._lease_time() if lease else None
        missing = [
            Delivery(file=file, host=host, version=file.version, next_try=now, lease=lease, lease_until=until)
            for host in self.hosts
            if host not in known
        ]
        if missing:
            Delivery.objects.using(self.database).bulk_create(missing, ignore_conflicts=True)

    def _go_on(
        self, name: str, lease: str, new: dict[str, Any], overwrite: bool, only: int | None
    ) -> Ticket | None:
        """None: *only* is no more. :raises NameTaken: :raises StoredFile.DoesNotExist:"""
        now = timezone.now()
        files, deliveries = self._files(name), self._deliveries(name)
        if only is not None:
            files = files.filter(version=only)
        if not overwrite:
            files = files.filter(is_deleted=True).exclude(deliveries__is_dirty=True)
        with transaction.atomic(using=self.database):
            # This also locks the file's row: nobody else changes it until the deliveries say the same.
            changed = files.update(version=Greatest(F("version") + 1, Value(_now_us())), changed=now, **new)
            if not changed:
                if not self._files(name).exists():
                    raise StoredFile.DoesNotExist
                if not overwrite:
                    raise NameTaken(name)
                return None
            is_mine = Q(must_verify=False) & _is_free(now)
            version = StoredFile.objects.filter(pk=OuterRef("file_id")).values("version")
            deliveries.update(
                is_dirty=True,
                version=Subquery(version),
                lease=Case(When(is_mine, then=Value(lease)), default=F("lease")),
                lease_until=Case(
                    When(is_mine, then=Value(now + self._lease_time())), default=F("lease_until")
                ),
            )
            rows = list(deliveries.select_related("file"))
            if not {row.host for row in rows}.issuperset(self.hosts):
                file = rows[0].file if rows else self._files(name).get()
                self._add_missing(file, {row.host for row in rows}, lease)
                rows = list(deliveries.select_related("file"))
        held = [row.host for row in rows if row.lease == lease and row.host in self.hosts]
        return Ticket(state_of(rows[0].file), lease, held, is_new=not overwrite)

    # Leases.

    def wait_for(self, ticket: Ticket, hosts: Sequence[str], seconds: float) -> tuple[list[str], list[str]]:
        """Of *hosts*, to which somebody else sends: those whose leases were taken within *seconds*, and those that are
        to have something newer by now. (What rests is not waited for.)
        """
        deadline = time.monotonic() + seconds
        of_file = Delivery.objects.filter(file_id=ticket.state.file, host__in=hosts)
        while True:
            now = timezone.now()
            free = of_file.filter(_is_free(now), must_verify=False, version=ticket.state.version)
            free.update(lease=ticket.lease, lease_until=now + self._lease_time())
            rows = list(of_file.all())
            newer = [row.host for row in rows if row.version > ticket.state.version]
            held = [row.host for row in rows if row.lease == ticket.lease and row.host not in newer]
            resting = [row.host for row in rows if row.must_verify]
            if len({*newer, *held, *resting}) >= len(rows) or time.monotonic() >= deadline:
                return held, newer
            time.sleep(_LOOK)

    def renew(self, ticket: Ticket) -> list[str]:
        """Its hosts to which it may still send."""
        now = timezone.now()
        held = self._held(ticket, ticket.hosts).filter(version=ticket.state.version, lease_until__gt=now)
        if held.update(lease_until=now + self._lease_time()) == len(ticket.hosts):
            return ticket.hosts
        return list(held.values_list("host", flat=True))

    def leave(self, ticket: Ticket) -> None:
        """To whoever sends next."""
        self._held(ticket, self.hosts).update(lease="", lease_until=None, next_try=timezone.now())

    # What came of it.

    def done(self, ticket: Ticket, hosts: Sequence[str]) -> None:
        """They have it."""
        if not hosts:
            return
        held = self._held(ticket, hosts)
        clean = held.filter(version=ticket.state.version).update(
            is_dirty=False, lease="", lease_until=None, failures=0, must_verify=False, last_error=""
        )
        if clean < len(hosts):
            held.update(lease="", lease_until=None)  # it was changed meanwhile: that is still to be sent

    def failed(self, ticket: Ticket, host: str, error: Exception) -> None:
        """It does not have it, or nobody knows."""
        is_ambiguous = getattr(error, "is_ambiguous", False)
        held = self._held(ticket, [host])
        row = held.first()
        if row is None:
            return
        pause = min(_FIRST_PAUSE * 2.0 ** min(row.failures, _MOST_DOUBLED), _LONGEST_PAUSE)
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

    # Sending later.

    def due(self, most: int) -> Iterator[tuple[Ticket, Delivery]]:
        """What is to be sent now, each with its lease, which is to be renewed before it is sent."""
        lease = secrets.token_hex(16)
        now = timezone.now()
        is_due = Q(is_dirty=True, next_try__lte=now) & _is_free(now)
        waiting = Delivery.objects.filter(is_due, file__queue=self.name, host__in=self.hosts)
        using = self.database
        until = now + self._lease_time()

        def take(rows: QuerySet[Delivery]) -> None:
            keys = list(rows.order_by("next_try").values_list("pk", flat=True)[:most])
            Delivery.objects.using(using).filter(is_due, pk__in=keys).update(lease=lease, lease_until=until)

        features = connections[using].features
        if features.has_select_for_update_skip_locked:
            # (MariaDB cannot leave out the rows of the files.)
            only = ("self",) if features.has_select_for_update_of else ()
            with transaction.atomic(using=using):
                take(waiting.using(using).select_for_update(skip_locked=True, of=only))
        else:
            # One statement, which gets those that nobody else has taken in between.
            take(waiting.using(using))
        for row in Delivery.objects.using(using).filter(lease=lease).select_related("file"):
            yield Ticket(state_of(row.file), lease, [row.host]), row

    def mark(self, host: str, files: Sequence[int]) -> None:
        """A host was found not to have these (their primary keys)."""
        now = timezone.now()
        known = Delivery.objects.filter(host=host, file_id__in=files)
        missing = set(files) - set(known.values_list("file_id", flat=True))
        for file in StoredFile.objects.filter(pk__in=missing):
            Delivery.objects.bulk_create(
                [Delivery(file=file, host=host, version=file.version, next_try=now)], ignore_conflicts=True
            )
        known.filter(is_dirty=False).update(is_dirty=True, next_try=now)

    def forget(self, older_than: timedelta) -> int:
        """Remove tombstones that every host has, and that are so old; how many."""
        old = StoredFile.objects.filter(
            queue=self.name, is_deleted=True, changed__lt=timezone.now() - older_than
        ).exclude(deliveries__is_dirty=True)
        count = 0
        for key, version in list(old.values_list("pk", "version")[:_FORGOTTEN_AT_ONCE]):
            with transaction.atomic(using=self.database):
                same = StoredFile.objects.filter(pk=key, version=version, is_deleted=True)
                if same.update(version=F("version")):  # and nobody changes it until it has gone
                    Delivery.objects.filter(file_id=key).delete()
                    count += same.delete()[0]
        return count

    def _files(self, name: str) -> QuerySet[StoredFile]:
        return StoredFile.objects.using(self.database).filter(queue=self.name, key=key_of(name))

    def _deliveries(self, name: str) -> QuerySet[Delivery]:
        of_queue = Delivery.objects.using(self.database).filter(file__queue=self.name)
        return of_queue.filter(file__key=key_of(name))

    def _held(self, ticket: Ticket, hosts: Sequence[str]) -> QuerySet[Delivery]:
        of_file = Delivery.objects.using(self.database).filter(file_id=ticket.state.file)
        return of_file.filter(lease=ticket.lease, host__in=hosts)

    def _lease_time(self) -> timedelta:
        return timedelta(seconds=8 * self._timeout + self._quarantine)


def _is_free(now: object) -> Q:
    return Q(lease="") | Q(lease_until__lt=now)


def state_of(file: StoredFile) -> State:
    return State(file.pk, file.name, file.version, file.is_deleted, file.sha256, file.size)


def _now_us() -> int:
    return time.time_ns() // 1000
