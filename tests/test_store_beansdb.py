"""The contract of a store, over real gobeansdb nodes without a proxy."""

from collections.abc import AsyncIterator

import aiomcache
import pytest

from sfss.beansdb import listing
from sfss.beansdb.connection import Record
from sfss.beansdb.route import read_route
from sfss.memcache.errors import ProxyRefused
from sfss.memcache.keys import memcache_key
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


async def test_keys_of_other_programs_are_no_paths(beansdb_nodes):
    """What looks like base64 names a file only if the file has that key."""
    store = store_over(plain_route(beansdb_nodes))
    await store.start()
    await trusted(store)
    foreign = {b"AAAA": "\0\0\0", b"Zm9=": "fo", b"Li4v": "../"}
    clients = [aiomcache.Client("127.0.0.1", port) for port in beansdb_nodes]
    for client in clients:
        for key in foreign:
            await client.set(key, b"x")
    cursor, paths, unnamed = "", set(), 0
    while cursor is not None:
        page = await store.list_files("", cursor)
        paths |= {file.path for file in page.files}
        unnamed += page.unnamed
        cursor = page.cursor
    assert unnamed >= len(foreign) and paths.isdisjoint(foreign.values())
    for client in clients:
        for key in foreign:
            await client.delete(key)
        await client.close()
    await store.close()


async def test_what_one_node_cannot_read_another_may():
    class Node:
        def __init__(self, record):
            self.answer = record

        async def record(self, hashed, deadline):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    damaged, empty = Node(ProxyRefused("SERVER_ERROR")), Node(None)
    whole = Node(Record(memcache_key("a"), 0, 1, b"x"))
    assert (await listing._file([damaged, whole], b"0" * 16)).path == "a"
    assert await listing._file([damaged, empty], b"0" * 16) is None
    lost = await listing._file([damaged, damaged], b"0" * 16)  # it is there, and counted
    assert lost is not None and lost.path is None
