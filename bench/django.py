"""Saves of a Django storage over three nodes, beside a single PUT to the slowest of them."""

import contextlib
import io
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.programs import SfssNode, free_port

SIZE = 10240
SAVES = 300


def saves(folder: Path, options) -> None:
    """Of 10 KB, with and without the delivery queue, and with one node dead."""
    import django
    from django.conf import settings

    home = Path(tempfile.mkdtemp(dir=folder))
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(home / "database")}
    database["OPTIONS"] = {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"}
    settings.configure(
        USE_TZ=True, INSTALLED_APPS=["sfss.django"], DATABASES={"default": database}, MEDIA_URL="/m/"
    )
    django.setup()
    from django.core.files.base import ContentFile
    from django.core.management import call_command

    from sfss.django.replicated import ReplicatedStorage

    call_command("migrate", verbosity=0)
    ports = [free_port() for _ in range(3)]
    nodes = []
    for number, port in enumerate(ports):
        (home / str(number)).mkdir()
        nodes.append(SfssNode(home / str(number), "--names", "exact", "--no-access-log", port=port))
    hosts = [f"127.0.0.1:{port}" for port in ports]
    content = os.urandom(SIZE)
    with_queue, without = ReplicatedStorage(hosts=hosts), ReplicatedStorage(hosts=hosts, queue="")
    count = iter(range(1 << 30))

    def put(host: str) -> Callable[[], object]:
        return lambda: with_queue.transport.create(host, f"/m/put/{next(count)}", content)

    def save(storage: ReplicatedStorage) -> Callable[[], object]:
        return lambda: storage._write(f"save/{next(count)}", content)

    programs = {f"PUT to {host}": put(host) for host in hosts}
    programs |= {"save, no queue": save(without), "save, queue": save(with_queue)}
    programs["save, queue, by Django"] = lambda: with_queue.save(f"d/{next(count)}", ContentFile(content))
    try:
        times = _measure(programs, options.rounds)
        slowest = max(times[f"PUT to {host}"] for host in hosts)
        print("\nA save of 10 KB to three nodes, milliseconds (median of the rounds' medians)")
        for name, seconds in times.items():
            print(f"  {name:28} {seconds * 1e3:8.2f}   {seconds / slowest:6.2f} of the slowest PUT")
        nodes[2].kill()
        began = time.perf_counter()
        programs["save, queue"]()
        first = time.perf_counter() - began
        dead = _measure({"save, queue": programs["save, queue"]}, options.rounds)["save, queue"]
        print(f"  one node dead: the first save {first * 1e3:.1f}, then {dead * 1e3:.2f}")
    finally:
        for node in nodes:
            node.stop()


def _measure(programs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, run in programs.items():
            taken = []
            for _ in range(SAVES):
                began = time.perf_counter()
                run()
                taken.append(time.perf_counter() - began)
            found[name].append(statistics.median(taken))
    return {name: statistics.median(of) for name, of in found.items()}


def static(folder: Path, options) -> None:
    """``collectstatic`` of 2,000 files of 5 KB, beside the same number of PUTs one after the other."""
    from django.core.management import call_command, load_command_class
    from django.test import override_settings

    from sfss.django.storage import SFSSStorage
    from tests.programs import Sfss

    home = Path(tempfile.mkdtemp(dir=folder))
    source = home / "source"
    source.mkdir()
    for number in range(2000):
        (source / f"{number}.txt").write_bytes(os.urandom(5120))
    gateway = Sfss("--data", home / "data", "--no-access-log")
    try:
        url = f"http://127.0.0.1:{gateway.port}"
        single = SFSSStorage(gateways=url, file_overwrite=True)
        contents = [file.read_bytes() for file in source.iterdir()]
        began = time.perf_counter()
        for number, content in enumerate(contents):
            single._gateways.put(f"single/{number}", content, overwrite=True)
        alone = time.perf_counter() - began
        storages = {
            "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
            "staticfiles": {
                "BACKEND": "sfss.django.storage.SFSSManifestStaticStorage",
                "OPTIONS": {"gateways": url},
            },
        }
        print("\nStatic files: 2,000 of 5 KB")
        print(f"  PUT, one after the other      {alone:6.2f} s  {2000 / alone:7.0f}/s")
        with override_settings(
            STORAGES=storages,
            STATICFILES_DIRS=[source],
            STATICFILES_FINDERS=["django.contrib.staticfiles.finders.FileSystemFinder"],
            INSTALLED_APPS=["sfss.django", "django.contrib.staticfiles"],
            STATIC_URL="/static/",
        ):
            for what in ("first", "again"):
                began = time.perf_counter()
                call_command(
                    load_command_class("sfss.django", "collectstatic"), interactive=False, verbosity=0
                )
                took = time.perf_counter() - began
                print(
                    f"  collectstatic, {what}          {took:6.2f} s  {2000 / took:7.0f} files/s (each is put twice)"
                )
    finally:
        gateway.stop()


def reconcile(folder: Path, options) -> None:
    """``sfss_reconcile`` of 100,000 files that a node has, as it is after :func:`saves` has set Django up."""
    from django.core.management import call_command
    from django.test import override_settings

    from sfss.django import transport
    from sfss.django.models import StoredFile, key_of
    from sfss.replication.merkle import leaf_of

    home = Path(tempfile.mkdtemp(dir=folder))
    port, count, size = free_port(), 100_000, 20
    names = [f"photos/{number % 1000:03}/{number:08}.jpg" for number in range(count)]
    sha256 = "5" * 64
    SfssNode(home, "--names", "exact", port=port).stop()
    with contextlib.closing(sqlite3.connect(home / "queue" / "catalog.sqlite3")) as catalog, catalog:
        # Its catalog alone: that is what a node lists.
        rows = (
            (leaf_of(f"m/{n}"), f"m/{n}", 1 << 56, "a" * 16, size, sha256, "1" * 40, "e" * 32, 1)
            for n in names
        )
        catalog.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    StoredFile.objects.all().delete()
    StoredFile.objects.bulk_create(
        [StoredFile(queue="r", name=n, key=key_of(n), version=1, sha256=sha256, size=size) for n in names],
        batch_size=5000,
    )
    storage = {
        "BACKEND": "sfss.django.replicated.ReplicatedStorage",
        "OPTIONS": {"hosts": [f"127.0.0.1:{port}"], "base_url": "http://x/m/", "queue": "r"},
    }
    node = SfssNode(home, "--names", "exact", "--no-access-log", port=port)
    requests = 0
    ask = transport.ask

    def counted(*arguments, **more):
        nonlocal requests
        requests += 1
        return ask(*arguments, **more)

    transport.ask = counted
    try:
        with override_settings(STORAGES={"default": storage}):
            began = time.perf_counter()
            call_command("sfss_reconcile", stdout=io.StringIO())
            took = time.perf_counter() - began
        print(f"\nsfss_reconcile of {count} files with a node: {took:.1f} s, {requests} requests")
    finally:
        transport.ask = ask
        node.stop()
