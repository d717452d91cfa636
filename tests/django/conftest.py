"""A Django site in this process, its databases, and the servers that its storages speak to."""

import os
import shutil

import pytest

django = pytest.importorskip("django", reason="Django is not installed in this environment")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.site")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402

from sfss.django.models import Delivery, StoredFile  # noqa: E402
from sfss.django.transport import DOWN  # noqa: E402
from tests.django import site  # noqa: E402
from tests.django.databases import MariaDB, Router, has_mariadb  # noqa: E402
from tests.programs import SfssNode, free_port  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def folder():
    yield
    for connection in connections.all():
        connection.close()
    shutil.rmtree(site.FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite():
    call_command("migrate", verbosity=0)
    return "default"


@pytest.fixture(scope="session")
def postgres(postgres_server):
    settings = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": str(postgres_server.port),
        "USER": "sfss",
        "NAME": "postgres",
    }
    yield from _served("postgres", settings)


@pytest.fixture(scope="session")
def mariadb():
    server = MariaDB()
    yield from _served("mariadb", server.settings)
    server.stop()


def _served(alias, settings):
    """That database, under this alias."""
    connections.settings[alias] = connections.configure_settings({"default": {}, alias: settings})[alias]
    call_command("migrate", database=alias, verbosity=0)
    yield alias
    connections[alias].close()


def _empty(alias):
    Router.alias = alias
    DOWN.forget()
    yield alias
    Delivery.objects.all().delete()
    StoredFile.objects.all().delete()
    connections[alias].close()
    Router.alias = "default"
    DOWN.forget()


@pytest.fixture
def database(sqlite):
    yield from _empty(sqlite)


@pytest.fixture(params=["sqlite", "postgres", *(["mariadb"] if has_mariadb() else [])])
def each_database(request):
    """The test runs over each of them."""
    yield from _empty(request.getfixturevalue(request.param))


class MediaServers:
    """Nodes that know nothing of each other, and keep files under the names that they are given."""

    def __init__(self, folder, count=3):
        self.folder = folder
        self.ports = [free_port() for _ in range(count)]
        self.running = [self._start(number) for number in range(count)]
        self.hosts = [f"127.0.0.1:{port}" for port in self.ports]

    def _start(self, number):
        home = self.folder / str(number)
        home.mkdir(exist_ok=True)
        return SfssNode(home, "--names", "exact", port=self.ports[number])

    def kill(self, number):
        self.running[number].kill()

    def start(self, number):
        self.running[number] = self._start(number)
        DOWN.forget()

    def stop(self):
        for node in self.running:
            node.kill()


@pytest.fixture(scope="module")
def running_servers(tmp_path_factory):
    servers = MediaServers(tmp_path_factory.mktemp("media"))
    yield servers
    servers.stop()


@pytest.fixture
def servers(running_servers):
    """All three are up, before and after."""
    yield running_servers
    for number, node in enumerate(running_servers.running):
        if node.process.poll() is not None:
            running_servers.start(number)
