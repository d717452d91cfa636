"""The contract of a store, over real gobeansdb nodes without a proxy."""

from collections.abc import AsyncIterator

import pytest

from sfss.beansdb.route import read_route
from sfss.stores.beansdb import BeansdbStore
from tests import programs
from tests.beansdb import plain_route, store_over, trusted
from tests.contract import StoreContract


class TestBeansdbStore(StoreContract):
    @pytest.fixture(params=["a list of nodes", "a route of 16 buckets"])
    async def store(self, request, beansdb_nodes) -> AsyncIterator[BeansdbStore]:
        if request.param == "a list of nodes":
            route = plain_route(beansdb_nodes)
        else:
            route = read_route(programs.routes(beansdb_nodes, 1))
        store = store_over(route)
        await store.start()
        await trusted(store)
        yield store
        await store.close()
