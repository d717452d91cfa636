"""One connection and its promise: no reply ever reaches another request."""

import asyncio
import time

import pytest

from sfss.memcache.connection import Connection
from sfss.memcache.errors import (
    ConnectionLost,
    DeadlinePassed,
    OutOfMemory,
    ProxyDown,
    ProxyError,
    ProxyRefused,
    ValueRefused,
)
from tests.conftest import until
from tests.fakes import FakeProxy, healthy, value
from tests.listening import listening


async def connect(
    proxy: FakeProxy, operation_timeout: float = 5.0, on_fault=lambda reason: None
) -> Connection:
    connection = await Connection.open(
        "127.0.0.1", proxy.port, connect_timeout=1, operation_timeout=operation_timeout
    )
    connection.on_fault = on_fault
    return connection


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


def held_back(release: asyncio.Event):
    """Answers only when *release* is set, then everything in order."""

    async def answer(command, writer):
        await release.wait()
        await healthy(command, writer)

    return answer


async def test_a_late_reply_after_a_cancel_reaches_nobody_else():
    """What aiomcache 0.8.2 does wrong (its issue 489): the next get would read the reply of the
    one that was cancelled, and a file that exists would be a 404, or another file.
    """
    release = asyncio.Event()
    async with FakeProxy(held_back(release)) as proxy:
        connection = await connect(proxy)
        first = asyncio.ensure_future(connection.get(b"first", soon()))
        await asyncio.sleep(0.05)
        first.cancel()
        second = asyncio.ensure_future(connection.get(b"second", soon()))
        await asyncio.sleep(0.05)
        release.set()
        assert await second == b"second"
        assert await connection.get(b"third", soon()) == b"third"
        connection.close()


async def test_a_late_stored_acknowledges_no_other_set():
    release = asyncio.Event()

    async def answer(command, writer):
        await release.wait()
        writer.write(b"SERVER_ERROR no\r\n" if b"second" in command else b"STORED\r\n")

    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy)
        first = asyncio.ensure_future(connection.set(b"first", b"1", soon()))
        await asyncio.sleep(0.05)
        first.cancel()
        second = asyncio.ensure_future(connection.set(b"second", b"2", soon()))
        release.set()
        with pytest.raises(ProxyRefused):
            await second
        connection.close()


async def test_an_operation_out_of_its_own_time_fails_alone_and_its_reply_is_dropped():
    release = asyncio.Event()
    async with FakeProxy(held_back(release)) as proxy:
        connection = await connect(proxy)
        hurried = connection.get(b"hurried", soon(0.15))
        patient = connection.get(b"patient", soon())
        with pytest.raises(DeadlinePassed):
            await hurried
        assert connection.usable
        release.set()
        assert await patient == b"patient"
        connection.close()


async def test_each_operation_has_its_own_time_whatever_stands_before_it():
    release = asyncio.Event()
    async with FakeProxy(held_back(release)) as proxy:
        connection = await connect(proxy)
        patient = connection.get(b"patient", soon())
        hurried = connection.get(b"hurried", soon(0.15))
        with pytest.raises(DeadlinePassed):
            await asyncio.wait_for(hurried, 1.0)
        release.set()
        assert await patient == b"patient"
        connection.close()


async def test_a_stall_closes_the_connection_and_tells_its_owner():
    async def answer(command, writer):
        await asyncio.sleep(60)

    told = []
    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy, operation_timeout=0.3, on_fault=told.append)
        results = await asyncio.gather(
            connection.get(b"a", soon()), connection.get(b"b", soon()), return_exceptions=True
        )
        assert [type(r) for r in results] == [ConnectionLost, ConnectionLost]
        assert len(told) == 1 and "0.3 s" in str(told[0])
        assert not connection.usable
        with pytest.raises(ConnectionLost):
            connection.get(b"c", soon())


@pytest.mark.parametrize(
    "reply",
    [
        b"VALUE other 0 5\r\nwrong\r\nEND\r\n",
        b"STORED\r\n",
        b"DELETED\r\n",
        b"VALUE key 0 100000000\r\n",
        b"VALUE key 0 3\r\nlonger than that\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\xff" * 2000,
        b"END\r\nEND\r\n",
        b"\r\n",
    ],
)
async def test_what_is_no_reply_to_a_get_closes_the_connection(reply):
    async def answer(command, writer):
        writer.write(reply)

    told = []
    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy, on_fault=told.append)
        try:
            assert await connection.get(b"key", soon()) is None
        except (ProxyDown, ConnectionLost):
            assert reply != b"END\r\nEND\r\n"
        await until(lambda: not connection.usable)
        assert told


@pytest.mark.parametrize("cut", [1, 8, 15, 20, 1020, 1023])
async def test_a_reply_that_ends_in_the_middle_is_a_lost_connection(cut):
    async def answer(command, writer):
        writer.write(value(command, b"x" * 1000)[:cut])
        writer.close()

    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy)
        results = await asyncio.gather(
            connection.get(b"key", soon()), connection.get(b"two", soon()), return_exceptions=True
        )
        assert [type(r) for r in results] == [ConnectionLost, ConnectionLost]
        assert not connection.usable


@pytest.mark.parametrize(
    "reply, error",
    [
        (b"SERVER_ERROR write failed\r\n", ProxyRefused),
        (b"SERVER_ERROR object too large for cache\r\n", ValueRefused),
        (b"SERVER_ERROR out of memory storing object\r\n", OutOfMemory),
        (b"NOT_STORED\r\n", ProxyRefused),
        (b"ERROR\r\nERROR\r\n", ProxyRefused),  # beansdb answers twice
        (b"CLIENT_ERROR bad command line format\r\nERROR\r\n", ProxyRefused),
    ],
)
async def test_after_the_refusal_of_a_write_the_connection_is_closed(reply, error):
    async def answer(command, writer):
        if command.startswith(b"set"):
            writer.write(reply)
        else:
            await healthy(command, writer)

    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy)
        with pytest.raises(error) as raised:
            await connection.set(b"key", b"value", soon())
        assert type(raised.value) is error
        await until(lambda: not connection.usable)


async def test_after_the_refusal_of_a_read_it_goes_on():
    async def answer(command, writer):
        if command == b"get bad":
            writer.write(b"SERVER_ERROR no\r\n")
        else:
            await healthy(command, writer)

    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy)
        with pytest.raises(ProxyRefused):
            await connection.get(b"bad", soon())
        assert await connection.get(b"key", soon()) == b"key"
        connection.close()


@pytest.mark.parametrize("refusal", [b"SERVER_ERROR no\r\n", b"NOT_STORED\r\n"])
@pytest.mark.parametrize("late", [True, False])
async def test_a_late_stored_behind_a_refusal_acknowledges_nothing(refusal, late):
    async def answer(command, writer):
        if command.startswith(b"set first"):
            writer.write(refusal)
            await asyncio.sleep(0.05)
            if late:
                writer.write(b"STORED\r\n")
        elif command.startswith(b"set second"):
            writer.write(b"SERVER_ERROR not here\r\n")
        else:
            await healthy(command, writer)

    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy)
        first = connection.set(b"first", b"x", soon())
        others = [connection.set(name, b"x", soon()) for name in (b"second", b"third")]
        with pytest.raises(ProxyRefused):
            await first
        assert not connection.usable and connection.is_open
        second, third = await asyncio.gather(*others, return_exceptions=True)
        if late:
            assert type(second) is type(third) is ConnectionLost
        else:
            assert type(second) is ProxyRefused and third is None
        await until(lambda: not connection.is_open and connection.load == 0)


async def test_who_reads_behind_a_refused_write_is_not_disturbed():
    async def answer(command, writer):
        if command.startswith(b"set"):
            writer.write(b"SERVER_ERROR out of memory\r\n")
        else:
            await asyncio.sleep(0.01)
            await healthy(command, writer)

    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy)
        refused = connection.set(b"key", b"x", soon())
        reads = [connection.get(b"%d" % n, soon()) for n in range(20)]
        with pytest.raises(OutOfMemory):
            await refused
        with pytest.raises(ConnectionLost):
            connection.get(b"new", soon())
        assert await asyncio.gather(*reads) == [b"%d" % n for n in range(20)]
        await until(lambda: not connection.is_open)


@pytest.mark.parametrize("twice", [True, False])
async def test_a_refusal_that_is_said_twice_makes_no_file_missing(twice):
    """The second one stands for the reply to the first get, and so on: nobody is told what is another's."""

    async def answer(command, writer):
        if command.startswith(b"set"):
            writer.write(b"SERVER_ERROR no\r\n" * (2 if twice else 1))
        elif command == b"get there":
            await healthy(command, writer)
        else:
            writer.write(b"END\r\n")

    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy)
        refused = connection.set(b"key", b"x", soon())
        names = [b"missing", b"there"]
        reads = [connection.get(name, soon()) for name in names]
        with pytest.raises(ProxyRefused):
            await refused
        missing, there = await asyncio.gather(*reads, return_exceptions=True)
        if twice:
            assert isinstance(missing, ProxyError) and type(there) is ConnectionLost
        else:
            assert missing is None and there == b"there"
        await until(lambda: not connection.is_open)


@pytest.mark.parametrize("how", ["lost", "stalled"])
async def test_what_is_held_back_is_not_forgotten(how):
    async def answer(command, writer):
        if command.startswith(b"set first"):
            writer.write(b"SERVER_ERROR no\r\n")
        elif command.startswith(b"set"):
            writer.write(b"STORED\r\n")
        elif how == "lost":
            writer.transport.abort()

    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy, 0.3)
        first, second = (connection.set(name, b"x", soon()) for name in (b"first", b"second"))
        with pytest.raises(ProxyRefused):
            await first
        with pytest.raises(ConnectionLost):
            await second
        assert not connection.is_open


@pytest.mark.parametrize("reply", [b"ERROR\r\nERROR\r\n", b"CLIENT_ERROR no\r\nERROR\r\n"])
async def test_nothing_behind_an_error_reply_is_believed(reply):
    """All in one segment: the bad command's two lines, then the replies of those behind it."""
    asked = asyncio.Event()

    async def answer(command, writer):
        if b"last" in command:
            asked.set()
            writer.write(reply + b"SERVER_ERROR no\r\nSTORED\r\nSERVER_ERROR no\r\n")

    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy)
        names = [b"bad", b"refused", b"stored", b"last"]
        results = await asyncio.gather(
            *(connection.set(name, b"x", soon()) for name in names), return_exceptions=True
        )
        assert type(results[0]) is ProxyRefused
        assert [type(result) for result in results[1:]] == [ConnectionLost] * 3


async def test_what_the_proxy_has_not_read_when_we_give_up_never_happens():
    """A write that is abandoned goes another way; it must not happen here, late."""
    read = []

    async def serve(reader, writer):
        await asyncio.sleep(1)  # stopped, as by SIGSTOP, while the kernel takes what comes
        try:
            while data := await reader.read(1000):
                read.append(data)
        except ConnectionResetError:
            read.append("reset")

    async with listening(serve) as port:
        connection = await Connection.open("127.0.0.1", port, connect_timeout=1, operation_timeout=0.3)
        with pytest.raises(ConnectionLost):
            await connection.set(b"key", b"old", soon())
        await asyncio.sleep(1)
        assert read == ["reset"]


async def test_slow_but_moving_is_not_stalled():
    async def answer(command, writer):
        whole = value(command, b"x" * 1_000_000)
        for start in range(0, len(whole), 100_000):
            writer.write(whole[start : start + 100_000])
            await asyncio.sleep(0.1)

    told = []
    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy, operation_timeout=0.4, on_fault=told.append)
        values = await asyncio.gather(connection.get(b"a", soon()), connection.get(b"b", soon()))
        assert [len(v) for v in values] == [1_000_000] * 2
        assert not told
        connection.close()


async def test_when_we_were_stopped_the_proxy_is_not_to_blame():
    async with FakeProxy(healthy) as proxy:
        told = []
        connection = await connect(proxy, operation_timeout=0.5, on_fault=told.append)
        result = connection.get(b"a", soon())
        await asyncio.sleep(0)
        time.sleep(1)  # so is the loop
        assert await result == b"a"
        assert not told
        connection.close()


async def test_commands_of_one_turn_leave_in_one_write_and_in_order():
    async with FakeProxy(healthy) as proxy:
        connection = await connect(proxy)
        futures = [connection.get(b"%d" % n, soon()) for n in range(100)]
        futures.append(connection.set(b"big", b"x" * 1_000_000, soon()))
        futures.append(connection.delete(b"gone", soon()))
        assert await asyncio.gather(*futures) == [b"%d" % n for n in range(100)] + [None, True]
        assert proxy.commands == [
            *(b"get %d" % n for n in range(100)),
            b"set big 0 0 1000000",
            b"delete gone",
        ]
        connection.close()


async def test_load_counts_operations_and_large_transfers():
    release = asyncio.Event()
    async with FakeProxy(held_back(release)) as proxy:
        connection = await connect(proxy)
        assert connection.load == 0
        small = connection.get(b"a", soon())
        assert connection.load == 1
        large = connection.set(b"b", b"x" * 1_000_000, soon())
        assert connection.load > 30
        release.set()
        await asyncio.gather(small, large)
        assert connection.load == 0
        connection.close()


async def test_no_connection():
    async with FakeProxy(healthy) as proxy:
        port = proxy.port
    with pytest.raises(ProxyDown, match="cannot connect"):
        await Connection.open("127.0.0.1", port, connect_timeout=1, operation_timeout=1)


async def test_closing_fails_what_is_under_way():
    async def answer(command, writer):
        await asyncio.sleep(60)

    async with FakeProxy(answer) as proxy:
        connection = await connect(proxy)
        waiting = connection.get(b"a", soon())
        connection.close()
        with pytest.raises(ProxyError):
            await waiting
