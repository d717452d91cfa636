import pytest

from sfss.stores.memory import MemoryStore
from tests.contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self):
        store = MemoryStore()
        yield store
        await store.close()
