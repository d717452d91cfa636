"""The stores that tests run against, as fixtures."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sfss.memcache.endpoint import Limits
from sfss.stores.pool import ProxyStore
from tests import programs
from tests.beansdb import Nodes
from tests.browser import browser, chromium  # noqa: F401  (fixtures)
from tests.postgres import Postgres, has_postgres

LIMITS = Limits(connections=3, connect_timeout=1.0, operation_timeout=3.0)


_missing: dict[str, str] = {}


def need(*names: str) -> None:
    """Skip the test if a program is not there; the summary says which, and what to do.

    In CI everything must be there but what its registry refused (tests/install-stores.sh).
    """
    refused = _refusals()
    for name in names:
        if programs.find(name) is None:
            _missing[name] = refused.get(name, "")
            if name not in refused:
                cannot(f"{name} is not installed: {programs.INSTALL}")
    if missing := [name for name in names if name in _missing]:
        pytest.skip(f"{', '.join(missing)} not installed: {programs.INSTALL}")


def cannot(reason: str) -> None:
    """This machine cannot run the test: skip it, but in CI, where none may be passed over, fail."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def _refusals() -> dict[str, str]:
    file = programs.ROOT / "stores-bin" / "refused"
    lines = file.read_text().splitlines() if file.exists() else []
    return {name: why.strip() for name, _, why in (line.partition(":") for line in lines)}


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what is there now stays, and need not be looked at after each test


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """What a test has not closed fails that test, and not the one during which it happens to be found."""
    yield
    # pytest keeps what was logged, and so the frames of exceptions, until the next test begins.
    logs = item.config.pluginmanager.get_plugin("logging-plugin")
    logs.caplog_handler.reset()
    logs.report_handler.reset()
    found: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda it: found.append(f"{it.object!r}: {it.exc_value!r}")
    try:
        gc.collect()
    finally:
        sys.unraisablehook = before
    if found:
        pytest.fail("The test leaves open: " + "\n".join(found), pytrace=False)


def pytest_sessionfinish() -> None:
    for program in list(programs.Program.running):
        program.kill()


def pytest_terminal_summary(terminalreporter) -> None:
    if _missing:
        terminalreporter.section("stores that are not installed: their tests were skipped")
        terminalreporter.line(f"To install them: {programs.INSTALL}")
        for name, why in sorted(_missing.items()):
            terminalreporter.line(name + (f" (the last time: {why})" if why else ""))


@pytest.fixture(scope="session")
def memcached() -> Iterator[int]:
    """The port of a real memcached."""
    need("memcached")
    program, port = programs.start_memcached()
    yield port
    program.stop()


@pytest.fixture(scope="session")
def twemproxies(tmp_path_factory) -> Iterator[list[int]]:
    """The ports of three real twemproxies over the same three memcacheds."""
    need("memcached", "nutcracker")
    folder = tmp_path_factory.mktemp("twemproxy")
    nodes = [programs.start_memcached() for _ in range(3)]
    proxies = [programs.start_nutcracker(folder, [port for _, port in nodes]) for _ in range(3)]
    yield [port for _, port in proxies]
    for program, _ in [*proxies, *nodes]:
        program.stop()


@pytest.fixture(scope="session")
def gobeansdb(tmp_path_factory) -> Iterator[int]:
    """The port of a real gobeansdb node that is alone."""
    need("gobeansdb")
    port = programs.free_port()
    routes = programs.routes([port], programs.free_port())
    program = programs.start_gobeansdb(tmp_path_factory.mktemp("gobeansdb"), port, routes)
    yield port
    program.stop()


@pytest.fixture(scope="session")
def gobeansproxies(tmp_path_factory) -> Iterator[list[int]]:
    """The ports of two real gobeansproxies over the same three gobeansdb nodes (N=3, W=2)."""
    need("gobeansdb", "gobeansproxy")
    folder = tmp_path_factory.mktemp("gobeansproxy")
    ports = [programs.free_port() for _ in range(3)]
    routes = programs.routes(ports, programs.free_port())
    nodes = [programs.start_gobeansdb(folder, port, routes) for port in ports]
    proxy_ports = [programs.free_port() for _ in range(2)]
    proxies = [programs.start_gobeansproxy(folder, port, routes) for port in proxy_ports]
    yield proxy_ports
    for program in [*proxies, *nodes]:
        program.stop()


@pytest.fixture(scope="session")
def beansdb_nodes(tmp_path_factory) -> Iterator[list[int]]:
    """The ports of three real gobeansdb nodes, each with all 16 buckets, for who needs no proxy."""
    need("gobeansdb")
    folder = tmp_path_factory.mktemp("beansdb")
    ports = [programs.free_port() for _ in range(3)]
    routes = programs.routes(ports, programs.free_port())
    nodes = [programs.start_gobeansdb(folder, port, routes) for port in ports]
    yield ports
    for node in nodes:
        node.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A real PostgreSQL, in which tests make databases of their own."""
    if not has_postgres():
        cannot(f"PostgreSQL is not installed: {programs.INSTALL}")
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(params=["embedded", "memcached", "twemproxy", "gobeansdb", "gobeansproxy"])
def each_store(request, tmp_path: Path) -> list[str]:
    """The flags for a server on every kind of store in turn."""
    if request.param == "embedded":
        return ["--data", str(tmp_path / "data")]
    return programs.proxy_flags(_ports(request, request.param))


def _ports(request, kind: str) -> list[int]:
    fixture = {"twemproxy": "twemproxies", "gobeansproxy": "gobeansproxies"}.get(kind, kind)
    ports = request.getfixturevalue(fixture)
    return ports if isinstance(ports, list) else [ports]


@pytest.fixture(params=["memcached", "twemproxy", "gobeansdb", "gobeansproxy"])
async def proxy_store(request) -> AsyncIterator[ProxyStore]:
    """A pool over every kind of memcache-protocol store in turn."""
    store = pool(_ports(request, request.param))
    await store.start()
    yield store
    await store.close()


def pool(ports: list[int], limits: Limits = LIMITS, request_timeout: float = 8.0) -> ProxyStore:
    return ProxyStore([("127.0.0.1", port) for port in ports], limits=limits, request_timeout=request_timeout)


async def until(condition, seconds: float = 10.0) -> None:
    """Wait for *condition* to hold."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Three gobeansdb nodes of the test's own."""
    need("gobeansdb")
    nodes = Nodes(tmp_path)
    yield nodes
    nodes.stop()
