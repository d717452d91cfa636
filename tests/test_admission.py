"""What may be under way at once."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sfss.admission import Admission, Share
from sfss.errors import Overloaded
from tests.conftest import need
from tests.http import RawClient, ask, request
from tests.programs import Sfss, start_memcached


def waits(admission: Admission) -> dict[str, float]:
    return {family.name: family.samples[()] for family in admission.families()}


async def test_there_is_room_until_there_is_none():
    admission = Admission(limit=100, wait=0.05)
    reads = admission.reads
    assert reads.try_take(50) and reads.try_take(25) and not reads.try_take(1)
    began = time.monotonic()
    with pytest.raises(Overloaded):
        await reads.take(1)
    assert time.monotonic() - began >= 0.04
    reads.release(25)
    assert reads.try_take(25)
    assert waits(admission)["sfss_admission_refusals_total"] == 1


async def test_one_always_fits():
    admission = Admission(limit=100, wait=0.05)
    assert admission.reads.try_take(1000)
    admission.reads.release(1000)
    await admission.uploads.take(1000)
    assert not admission.reads.try_take(1)


async def test_those_who_wait_come_in_in_their_order_and_nobody_overtakes():
    admission = Admission(limit=100, wait=5)
    reads = admission.reads
    assert reads.try_take(75)
    order = []

    async def come(name: str, size: int) -> None:
        await reads.take(size)
        order.append(name)
        reads.release(size)

    tasks = [asyncio.create_task(come(name, size)) for name, size in (("a", 70), ("b", 20), ("c", 1))]
    await asyncio.sleep(0)
    assert reads.is_short
    reads.release(40)
    assert not reads.try_take(10)  # a waits for more
    await asyncio.sleep(0.01)
    assert order == []
    reads.release(35)
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]
    assert waits(admission)["sfss_bytes_in_flight"] == 0
    assert waits(admission)["sfss_admission_waits_total"] == 3


async def test_no_kind_of_request_can_take_all():
    admission = Admission(limit=100, wait=0.01, has_peers=True)
    # A quarter is of other nodes; of the rest uploads have half, and reads three quarters.
    assert admission.uploads.try_take(37) and not admission.uploads.try_take(1)
    assert admission.reads.try_take(38) and not admission.reads.try_take(1)
    assert admission.peers.try_take(25) and not admission.peers.try_take(1)
    admission.uploads.release(37)
    assert admission.reads.try_take(18) and not admission.reads.try_take(1)  # of their own share
    assert admission.uploads.try_take(19) and not admission.uploads.try_take(1)  # of what clients have


async def test_whoever_goes_away_leaves_nothing_behind():
    admission = Admission(limit=100, wait=0.02)
    reads = admission.reads
    for _ in range(200):
        assert reads.try_take(75)
        tasks = [asyncio.create_task(_stay(reads, size)) for size in (10, 60, 100, 1)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        reads.release(75)
        tasks[1].cancel()  # perhaps it has just been let in
        await asyncio.gather(*tasks, return_exceptions=True)
        assert waits(admission)["sfss_bytes_in_flight"] == 0
    assert reads.try_take(75)


async def _stay(share: Share, size: int) -> None:
    await share.take(size)
    try:
        await asyncio.sleep(0)
    finally:
        share.release(size)


async def test_the_room_of_one_request():
    admission = Admission(limit=100, wait=0.01)
    room = admission.reads.room()
    assert room.try_grow(10) and room.try_grow(5) and room.taken == 10
    await room.grow(30)
    assert not room.try_grow(76) and room.taken == 30
    with pytest.raises(Overloaded):
        await room.grow(76)
    room.shrink(20)
    room.shrink(40)
    assert (room.taken, admission.reads.held) == (20, 20)
    room.release()
    room.release()
    assert (room.taken, admission.reads.held) == (0, 0)


async def test_an_upload_that_waits_keeps_no_reader_waiting():
    admission = Admission(limit=100, wait=0.05)
    uploads, reads = admission.uploads, admission.reads
    assert uploads.try_take(50)
    upload = asyncio.create_task(_stay(uploads, 40))
    await asyncio.sleep(0)
    assert reads.try_take(50)
    reads.release(50)
    with pytest.raises(Overloaded):
        await upload
    # Nor does one that has given up.
    assert not uploads.try_take(1)
    uploads.release(50)
    assert uploads.try_take(50)
    reader = asyncio.create_task(_stay(reads, 60))
    await asyncio.sleep(0)
    assert not reads.try_take(1)
    with pytest.raises(Overloaded):
        await reader
    assert reads.try_take(1)


# A real server.


def figure(server: Sfss, name: str) -> float:
    text = ask(server.port, request("GET", "/metrics")).body.decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def until_idle(server: Sfss) -> None:
    deadline = time.monotonic() + 10
    while figure(server, "sfss_bytes_in_flight") != 0:
        assert time.monotonic() < deadline, figure(server, "sfss_bytes_in_flight")
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["embedded", "memcached"])
def test_memory_stays_bounded_and_nobody_is_lied_to(kind, tmp_path):
    flags = ["--max-bytes-in-flight", 20_000_000, "--admission-timeout", 0.3, "--no-access-log"]
    memcached = None
    if kind == "memcached":
        need("memcached")
        memcached, port = start_memcached()
        server = Sfss("--proxy", f"127.0.0.1:{port}", *flags)
    else:
        server = Sfss("--data", tmp_path, *flags)
    content = os.urandom(2_000_000)
    assert ask(server.port, request("PUT", "/file?path=f", content)).status == 200
    before = server.resident_mb()
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, server.resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()

    def download(n: int) -> int:
        with RawClient(server.port, timeout=30) as client:
            client.send(request("GET", "/file?path=f"))
            time.sleep(1.0)  # before it takes any
            answer = client.answer()
            assert answer.status in (200, 503)
            if answer.status == 200:
                assert answer.body == content
            else:
                assert answer.headers["retry-after"] == "1"
            return answer.status

    def upload(n: int) -> int:
        with RawClient(server.port, timeout=30) as client:
            data = request("PUT", f"/file?path=u/{n}", content)
            try:
                client.send(data[:1_000_000])
                time.sleep(1.0)
                client.send(data[1_000_000:])
            except ConnectionError:
                return 503  # it was told before it had sent all
            try:
                return client.answer().status
            except (ConnectionError, EOFError):
                return 503

    with ThreadPoolExecutor(120) as pool:
        downloads = list(pool.map(download, range(60)))
        uploads = list(pool.map(upload, range(60)))
    done.set()
    watcher.join()
    assert set(downloads) <= {200, 503} and downloads.count(200) >= 5
    assert set(uploads) <= {200, 503} and uploads.count(200) >= 4
    assert peak - before < 90, f"{peak:.0f} MB"
    for n, status in enumerate(uploads):
        if status == 200:
            assert ask(server.port, request("GET", f"/file?path=u/{n}")).body == content
    until_idle(server)
    assert figure(server, "sfss_admission_refusals_total") > 0
    # Nothing of it stays.
    assert [download(0) for _ in range(3)] == [200] * 3
    server.stop()
    if memcached is not None:
        memcached.stop()


@pytest.mark.parametrize("kind", ["embedded", "memcached"])
def test_whoever_fetches_large_files_keeps_nobody_from_reading_small_ones(kind, tmp_path):
    flags = ["--max-file-size", 60_000_000, "--max-bytes-in-flight", 160_000_000]
    flags += ["--admission-timeout", 0.2, "--no-access-log"]
    memcached = None
    if kind == "memcached":
        need("memcached")
        memcached, port = start_memcached(largest="64m")
        server = Sfss("--proxy", f"127.0.0.1:{port}", *flags)
    else:
        server = Sfss("--data", tmp_path, *flags)
    large = os.urandom(50_000_000)
    assert ask(server.port, request("PUT", "/file?path=large", large)).status == 200
    assert ask(server.port, request("PUT", "/file?path=small", b"x" * 1000)).status == 200
    refused = figure(server, "sfss_admission_refusals_total")

    def small(n: int) -> int:
        headers = {"X-Slow": "1"} if n % 2 else None  # both ways through the server
        answer = ask(server.port, request("GET", "/file?path=small", headers=headers))
        assert answer.status != 200 or answer.body == b"x" * 1000
        return answer.status

    with ThreadPoolExecutor(20) as pool:
        for _ in range(3):
            assert ask(server.port, request("GET", "/file?path=large")).body == large
            assert set(pool.map(small, range(200))) == {200}
    assert figure(server, "sfss_admission_refusals_total") == refused
    server.stop()
    if memcached is not None:
        memcached.stop()


def test_clients_that_go_away_give_back_what_they_took(tmp_path):
    server = Sfss("--data", tmp_path, "--no-access-log")
    content = os.urandom(1_000_000)
    assert ask(server.port, request("PUT", "/file?path=f", content)).status == 200
    for n in range(60):
        with RawClient(server.port) as client:
            if n % 3 == 0:
                client.send(request("GET", "/file?path=f", headers={"X-Slow": "1"} if n % 2 else None))
            elif n % 3 == 1:
                client.send(request("PUT", "/file?path=g", content)[: 1 + n * 10_000])
            else:
                client.send(request("PUT", f"/file?path=small/{n}", b"x" * 1000))
    until_idle(server)
    server.stop()


def test_slow_uploads_keep_nobody_from_reading(tmp_path):
    server = Sfss("--data", tmp_path, "--max-bytes-in-flight", 16 * 1024 * 1024)
    assert ask(server.port, request("PUT", "/file?path=f", b"small")).status == 200
    slow = [RawClient(server.port) for _ in range(6)]
    for n, client in enumerate(slow):
        client.send(request("PUT", f"/file?path=slow/{n}", b"x" * 2_000_000)[:200])
    for headers in ({}, {"X-Slow": "please"}):
        for _ in range(3):  # (503 would be: the uploads have kept it out)
            assert ask(server.port, request("GET", "/file?path=f", headers=headers)).body == b"small"
    time.sleep(1.2)  # by now those that found no room have given up
    assert ask(server.port, request("GET", "/file?path=f")).body == b"small"
    for client in slow:
        client.close()
    until_idle(server)
    server.stop()


def test_a_file_that_is_larger_than_was_thought_waits_for_room(tmp_path):
    server = Sfss("--data", tmp_path, "--max-bytes-in-flight", 3_000_000, "--admission-timeout", 5)
    assert ask(server.port, request("PUT", "/file?path=f", b"x" * 2_000_000)).status == 200
    for headers in ({}, {"X-Slow": "please"}):
        with RawClient(server.port) as upload, RawClient(server.port) as reader:
            data = request("PUT", "/file?path=u", b"y" * 1_400_000)
            upload.send(data[:1000])
            time.sleep(0.2)
            reader.send(request("GET", "/file?path=f", headers=headers))
            time.sleep(0.3)
            upload.send(data[1000:])
            assert upload.answer().status == 200
            assert len(reader.answer().body) == 2_000_000
    until_idle(server)
    server.stop()


def test_clients_that_are_gone_at_once_leave_no_connection_open(tmp_path):
    server = Sfss("--data", tmp_path)
    for _ in range(60):
        with RawClient(server.port) as client:
            client.ask(request("GET", "/file?path=none", headers={"X-Slow": "1"}))
        with RawClient(server.port) as client:
            client.send(
                request(
                    "PUT", "/file?path=f", headers={"Content-Length": "2000000", "Expect": "100-continue"}
                )
            )
        with RawClient(server.port) as client:
            client.send(request("PUT", "/file?path=f", b"x" * 100_000)[:-1])
    deadline = time.monotonic() + 30  # long before they would be closed for being idle
    while (left := figure(server, "sfss_connections")) > 2:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    until_idle(server)
    server.stop()
    assert "Traceback" not in server.printed()
