"""What ``manage.py check`` says of the storages of a site."""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import storages

from sfss.django.cockatiel import CockatielStorage
from sfss.django.replicated import ReplicatedStorage
from sfss.django.storage import SFSSStorage

_LOCAL = ("127.0.0.1", "localhost", "::1")


def storages_of_site() -> Iterable[tuple[str, Any]]:
    """Name and storage of each of ours in STORAGES. :raises ImproperlyConfigured:"""
    for alias in settings.STORAGES:
        storage = storages[alias]
        if isinstance(storage, SFSSStorage | ReplicatedStorage | CockatielStorage):
            yield alias, storage


@checks.register(checks.Tags.files)
def check_storages(app_configs: Sequence[Any] | None, **_: Any) -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    try:
        ours = list(storages_of_site())
    except (ImproperlyConfigured, ImportError) as error:
        return [checks.Error(str(error), id="sfss.E001")]
    queues: dict[str, tuple[str, object]] = {}
    for alias, storage in ours:
        if isinstance(storage, ReplicatedStorage):
            found += _check_replicated(alias, storage)
            if queue := storage.options["queue"]:
                what = storage.hosts, storage.base_url, storage.options["location"]
                if queues.setdefault(queue, (alias, what))[1] != what:
                    found.append(
                        checks.Error(
                            f"STORAGES[{alias!r}] and STORAGES[{queues[queue][0]!r}] have one queue and other servers.",
                            hint="Give each a queue of its own: the option queue, any name.",
                            id="sfss.E004",
                        )
                    )
        if isinstance(storage, SFSSStorage) and storage.options["signing_key"]:
            options = storage.options
            if options["querystring_auth"] and (options["base_url"] or options["custom_domain"]):
                found.append(
                    checks.Warning(
                        f"STORAGES[{alias!r}]: URLs with base_url or custom_domain are not signed.",
                        hint="Leave out signing_key, or let URLs go to the gateway itself.",
                        id="sfss.W004",
                    )
                )
    return found


def _check_replicated(alias: str, storage: ReplicatedStorage) -> Iterable[checks.CheckMessage]:
    options = storage.options
    if options["queue"] and not apps.is_installed("sfss.django"):
        yield checks.Error(
            f"STORAGES[{alias!r}] has a queue, and its tables are not there.",
            hint="Put 'sfss.django' into INSTALLED_APPS, or set queue to ''.",
            id="sfss.E002",
        )
    if not storage.hosts:
        yield checks.Error(f"STORAGES[{alias!r}] names no media server.", hint="Set hosts.", id="sfss.E003")
    if storage.own is None and storage.quorum() == 0:
        yield checks.Warning(
            f"STORAGES[{alias!r}]: a file that no media server takes is lost without an error.",
            hint="Set write_quorum to 1 at least, or keep a local copy.",
            id="sfss.W001",
        )
    if options["queue"] and not options["on_commit"] and _is_atomic():
        yield checks.Warning(
            f"STORAGES[{alias!r}]: with ATOMIC_REQUESTS a rollback takes back what the queue has written down, and not "
            "what was sent.",
            hint="Set on_commit, or keep the tables of sfss in a database of their own (DATABASE_ROUTERS).",
            id="sfss.W005",
        )
    if options["queue"] and options["quarantine"] < 2 * options["timeout"]:
        yield checks.Warning(
            f"STORAGES[{alias!r}]: a quarantine of less than two time-outs may end before a late write arrives.",
            id="sfss.W002",
        )


@checks.register(checks.Tags.security, deploy=True)
def check_deployment(app_configs: Sequence[Any] | None, **_: Any) -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    for alias, storage in storages_of_site():
        token = storage.options.get("write_token") or storage.options.get("token")
        hosts = storage.hosts if isinstance(storage, ReplicatedStorage) else []
        urls = [f"//{host}" for host in hosts]
        urls += storage.options.get("gateways", ()) or storage.options.get("storage_nodes", ())
        if not token and any(urlsplit(url).hostname not in _LOCAL for url in urls):
            found.append(
                checks.Warning(
                    f"STORAGES[{alias!r}]: files are written without a token.",
                    hint="Anyone in that network may then write and delete. Set a token, or see that only this "
                    "machine gets there.",
                    id="sfss.W003",
                )
            )
    return found


def _is_atomic() -> bool:
    return any(database.get("ATOMIC_REQUESTS") for database in settings.DATABASES.values())
