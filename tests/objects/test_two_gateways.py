"""Two services over one PostgreSQL and one cluster of Beansdb nodes: the way beyond one machine."""

import hashlib
import os
import random
import threading
import time
import xml.etree.ElementTree as ET

import pytest

from tests.http import ask
from tests.objects.loads import KB, Load, check, said
from tests.objects.signing import signed_request
from tests.objects.swift import Swift, token_for
from tests.programs import SfssObjects, free_port


class Two:
    """The services, and what they share."""

    def __init__(self, home, catalog: str, nodes: list[int]):
        self.home = home
        self.shared = ["--catalog", catalog]
        for port in nodes:
            self.shared += ["--beansdb", f"127.0.0.1:{port}"]
        self._flags = [*self.shared, "--max-file-size", 64 * KB, "--no-access-log"]
        self.services = [self.start(0)]
        self.services.append(self.start(1, key=self.services[0].key))

    def start(self, number: int, *, key: str = "", port: int = 0) -> SfssObjects:
        service = SfssObjects(
            self.home / f"service{number}", *self._flags, "--port", port or free_port(), key=key
        )
        service.wait_until_ready()
        return service

    def stop(self) -> None:
        for service in self.services:
            assert service.stop() == 0
            assert "Traceback" not in service.printed()


@pytest.fixture
def two(tmp_path, postgres_server, beansdb_nodes):
    two = Two(tmp_path, postgres_server.new_database(), beansdb_nodes)
    yield two
    two.stop()


def test_what_one_writes_the_other_has_at_once(two):
    one, other = two.services
    left, right = Swift(one), Swift(other)
    right.token = left.token  # signed with what both know
    assert left.ask("PUT", "c").status == 201 and right.ask("PUT", "c").status == 202
    for round in range(20):
        writer, reader = random.sample([left, right], 2)
        content = os.urandom(random.choice((100, 200 * KB)))
        assert writer.ask("PUT", "c/ö", content).status == 201
        answer = reader.ask("GET", "c/ö")
        assert answer.body == content and answer.headers["etag"] == hashlib.md5(content).hexdigest()
        assert reader.names("c") == ["ö"]
        head = reader.ask("HEAD", "c").headers
        assert head["x-container-bytes-used"] == str(len(content))
    assert right.ask("DELETE", "c/ö").status == 204 and left.ask("GET", "c/ö").status == 404
    # An upload in parts through both.
    begun = ask(one.port, signed_request(one.key, "POST", "/c/large?uploads="))
    upload = ET.fromstring(begun.body).findtext("{*}UploadId")
    parts = ""
    for number, service in ((1, one), (2, other)):
        target = f"/c/large?partNumber={number}&uploadId={upload}"
        etag = ask(service.port, signed_request(one.key, "PUT", target, os.urandom(5 * 1024 * KB))).headers[
            "etag"
        ]
        parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    target = f"/c/large?uploadId={upload}"
    assert ask(other.port, signed_request(one.key, "POST", target, document)).status == 200
    assert left.ask("HEAD", "c/large").headers["content-length"] == str(10 * 1024 * KB)
    # Who may come in is known to both at once.
    said("user add", two.home, "other:u", "--key", "k", *two.shared)
    token = token_for(other, "other:u", "k").headers["x-auth-token"]
    assert token_for(one, "other:u", "k").status == 200
    said("user disable", two.home, "other:u", *two.shared)
    assert left.ask("GET", account="AUTH_other", token=token).status == 401
    assert [row.split()[0] for row in said("usage", two.home, *two.shared).splitlines()[1:]] == [
        "main",
        "other",
    ]


def test_many_write_the_same_names_through_both(two):
    """What is there at the end is one of what was put, whole; and nothing that was replaced is left."""
    Swift(two.services[0]).ask("PUT", "c")
    put: dict[str, set[bytes]] = {name: set() for name in "abc"}

    def work(service: SfssObjects) -> None:
        swift = Swift(service)
        for _ in range(25):
            name, content = random.choice("abc"), os.urandom(random.choice((10, 100 * KB)))
            put[name].add(content)
            assert swift.ask("PUT", f"c/{name}", content).status == 201
            if random.random() < 0.2:
                assert swift.ask("DELETE", f"c/{name}").status in (204, 404)

    threads = [threading.Thread(target=work, args=[service]) for service in two.services * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    swift = Swift(two.services[1])
    found = {name: swift.ask("GET", f"c/{name}").body for name in swift.names("c")}
    assert all(found[name] in put[name] for name in found)
    head = swift.ask("HEAD", "c").headers
    assert head["x-container-object-count"] == str(len(found))
    assert head["x-container-bytes-used"] == str(sum(map(len, found.values())))


def test_one_is_killed_again_and_again(two):
    """The other one goes on; what was acknowledged is there; nothing is left at the end."""
    Swift(two.services[0]).ask("PUT", "c")
    victim = two.services[0]
    steady = Load(Swift(two.services[1]), 99, seconds=4.0)
    steady.start()
    loads = []
    for round in range(2):
        begun = [Load(Swift(victim), 10 * round + number) for number in range(3)]
        for load in begun:
            load.start()
        time.sleep(0.7)
        victim.kill()
        for load in begun:
            load.join(timeout=30)
            assert load.is_cut_off
        loads += begun
        victim = two.services[0] = two.start(0, key=victim.key, port=victim.port)
    steady.join(timeout=30)
    assert not steady.is_cut_off and steady.acknowledged > 3
    present = check(Swift(two.services[1]), [*loads, steady])
    flags = [*two.shared, "--max-file-size", 64 * KB]
    whole = f"{len(present)} objects, 0 damaged; 0 contents of no object"
    assert said("fsck", two.home, *flags).startswith(whole)
    assert "stop it" in said("fsck", two.home, "--idle", *flags, status=1)
    two.stop()
    said("fsck", two.home, "--idle", "--repair", *flags)
    assert said("fsck", two.home, "--idle", *flags) == f"{whole}\n"


def test_the_catalog_goes_away_and_comes_back(tmp_path, postgres_server):
    """Nothing that was acknowledged is lost; nobody is told that something is missing, or waits for long."""
    server = postgres_server
    flags = ["--catalog", server.new_database(), "--request-timeout", 4, "--max-file-size", 64 * KB]
    service = SfssObjects(tmp_path, *flags, "--workers", 2)
    service.wait_until_ready()
    swift = Swift(service)
    swift.ask("PUT", "c")
    loads = [Load(swift, number, seconds=3.0, refusals=(503, 504)) for number in range(4)]
    for load in loads:
        load.start()
    time.sleep(0.7)
    server.stop()
    answer = swift.ask("GET", "c/missing")
    assert answer.status in (503, 504) and b"catalog" in answer.body, answer
    assert swift.ask("PUT", "c/o", bytes(100 * KB)).status in (503, 504)
    server.start()
    for load in loads:
        load.join(timeout=30)
        assert load.acknowledged > 3 and not load.is_cut_off
    check(swift, loads)
    assert service.stop() == 0
    printed = service.printed()
    assert "Traceback" not in printed, printed[printed.index("Traceback") :][:4000]
    assert 1 <= printed.count("the catalog cannot be reached") <= 4 and "the catalog answers again" in printed
    assert ", 0 damaged;" in said("fsck", tmp_path, *flags[:2])


def test_what_one_worker_remembers_ends_with_the_change_of_another(tmp_path):
    """Each request has a connection of its own, so any of the workers answers it."""
    service = SfssObjects(tmp_path, "--workers", 3)
    swift, anybody = Swift(service), Swift(service)
    swift.ask("PUT", "c")
    for number in range(40):
        content = b"%d" % number
        assert swift.ask("PUT", "c/o", content, X_Object_Meta_Number=str(number)).status == 201
        answers = [swift.ask("GET", "c/o") for _ in range(8)]
        assert {(answer.body, answer.headers["x-object-meta-number"]) for answer in answers} == {
            (content, str(number))
        }
        swift.ask("POST", "c/o", X_Object_Meta_Number="x")
        assert {swift.ask("HEAD", "c/o").headers["x-object-meta-number"] for _ in range(4)} == {"x"}
        swift.ask("POST", "c", X_Container_Read=".r:*" if number % 2 else "")
        wanted = 200 if number % 2 else 401
        assert {anybody.ask("GET", "c/o", token="").status for _ in range(4)} == {wanted}
        if number % 8 == 7:
            swift.ask("DELETE", "c/o")
            assert {swift.ask("GET", "c/o").status for _ in range(4)} == {404}
    soon = int(time.time()) + 2
    swift.ask("PUT", "c/o", b"x", X_Delete_At=str(soon))
    assert {swift.ask("GET", "c/o").status for _ in range(4)} == {200}
    time.sleep(max(soon - time.time(), 0) + 0.1)
    assert {swift.ask("GET", "c/o").status for _ in range(4)} == {404}
    service.stop()
