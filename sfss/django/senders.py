"""The senders of a site: one for each of its storages that has a queue."""

from collections.abc import Iterable

from django.core.management.base import CommandError

from sfss.django.checks import storages_of_site
from sfss.django.replicated import ReplicatedStorage
from sfss.django.sender import Sender, Sent


def senders(queues: Iterable[str] = ()) -> dict[str, Sender]:
    """By the name of the queue; *queues*: only these. :raises KeyError: if one of them is no storage's."""
    wanted = set(queues)
    found: dict[str, Sender] = {}
    for _, storage in storages_of_site():
        if isinstance(storage, ReplicatedStorage) and (name := storage.options["queue"]):
            found.setdefault(name, storage.sender)
    if missing := wanted - found.keys():
        raise KeyError(", ".join(sorted(missing)))
    return {name: sender for name, sender in found.items() if not wanted or name in wanted}


def senders_for_a_command(queues: Iterable[str]) -> dict[str, Sender]:
    """As :func:`senders`. :raises CommandError: if there is none."""
    try:
        found = senders(queues)
    except KeyError as error:
        raise CommandError(f"no storage has the queue {error.args[0]}") from None
    if not found:
        raise CommandError("no storage of this site has a queue")
    return found


def deliver(*queues: str) -> Sent:
    """Send what is due in the *queues*, or in all: how many were delivered, and how many failed.

    For task queues: ``app.task(deliver)`` (Celery), ``queue.enqueue(deliver)`` (RQ), ``task(deliver)`` (Django 6).
    """
    total = Sent(0, 0)
    for sender in senders(queues).values():
        sent = sender.send_all()
        total = Sent(total.delivered + sent.delivered, total.failed + sent.failed)
    return total
