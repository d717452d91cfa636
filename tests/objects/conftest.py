"""Catalogs and objects in this process."""

import pytest

from sfss.objects.postgres_catalog import PostgresCatalog
from sfss.objects.service import Objects
from sfss.objects.sqlite_catalog import SqliteCatalog
from sfss.service import FileService
from sfss.stores.memory import MemoryStore


@pytest.fixture(params=["sqlite", "postgresql"])
def make_catalog(request, tmp_path):
    """Makes a catalog that is not started yet: of the same database each time."""
    if request.param == "sqlite":
        return lambda: SqliteCatalog(tmp_path / "catalog", timeout=10.0)
    url = request.getfixturevalue("postgres_server").new_database()
    return lambda: PostgresCatalog(url, timeout=10.0)


@pytest.fixture
async def catalog(make_catalog):
    catalog = make_catalog()
    await catalog.start()
    yield catalog
    await catalog.close()


@pytest.fixture
async def account(catalog) -> int:
    return (await catalog.add_user("a", "u", "key", read_only=False)).account


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def objects(catalog, store):
    """With pieces of 10 bytes."""
    return Objects(FileService(store, max_file_size=10), catalog)
