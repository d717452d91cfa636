"""The pool over real memcached, twemproxy, gobeansdb and gobeansproxy."""

import base64
import hashlib

import aiomcache
import pytest

from sfss.errors import FileTooLarge, NoStoreAvailable
from tests import programs
from tests.conftest import pool
from tests.contract import StoreContract


class TestProxyStore(StoreContract):
    @pytest.fixture
    def store(self, proxy_store):
        return proxy_store

    async def test_stats_are_text_by_address(self, store, request):
        if "twemproxy" in request.node.callspec.id:
            # It closes the connection on `stats`, which the Beansdb family answers.
            with pytest.raises(NoStoreAvailable):
                await store.stats()
        else:
            await super().test_stats_are_text_by_address(store)


@pytest.mark.parametrize(
    "path, key",
    [
        ("avatars/ann.png", base64.b64encode(b"avatars/ann.png")),
        ("名前", base64.b64encode("名前".encode())),
        ("x" * 186, base64.b64encode(b"x" * 186)),
        ("x" * 187, b"~" + base64.urlsafe_b64encode(hashlib.sha256(b"x" * 187).digest())),
    ],
    ids=["plain", "unicode", "longest", "hashed"],
)
async def test_another_client_finds_the_file_under_its_key(memcached, path, key):
    """As earlier releases of sfss kept it, and nginx reads it; aiomcache is the witness."""
    store, witness = pool([memcached]), aiomcache.Client("127.0.0.1", memcached)
    await store.start()
    await store.put(path, b"\x00content\r\n")
    assert await witness.get(key) == b"\x00content\r\n"
    await witness.set(key, b"written by another")
    assert (await store.get(path)).content == b"written by another"
    await witness.close()
    await store.close()


async def test_too_large_for_the_store_is_said_so():
    port = programs.free_port()
    memcached = programs.Program(
        [programs.find("memcached"), "-u", "nobody", "-l", "127.0.0.1", "-p", port, "-I", "1m"]
    )
    memcached.wait_for_port(port)
    store = pool([port])
    await store.start()
    with pytest.raises(FileTooLarge, match="too large"):
        await store.put("big", b"x" * 2_000_000)
    await store.put("small", b"x")  # and the connection is still in step
    assert (await store.get("small")).content == b"x"
    await store.close()
    memcached.stop()


async def test_stats_of_a_proxy_that_is_down_are_empty(memcached):
    down = programs.free_port()
    store = pool([down, memcached])
    await store.start()
    stats = await store.stats()
    assert stats[f"127.0.0.1:{down}"] == {}
    assert stats[f"127.0.0.1:{memcached}"]["version"]
    await store.close()

    store = pool([down])
    await store.start()
    with pytest.raises(NoStoreAvailable):
        await store.stats()
    await store.close()
