"""A disk without a free byte or inode: a server starts, reads and deletes, and says 507 to writes."""

import pytest

from tests.conftest import cannot
from tests.http import ask, request
from tests.programs import Sfss, SfssNode, SmallDisk, can_mount

CONTENT = bytes(range(256)) * 16


@pytest.fixture(params=[0, 60], ids=["bytes", "inodes"])
def disk(request, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if not can_mount(folder):
        cannot("this machine does not let us mount a small disk")
    disk = SmallDisk(folder, 12, request.param)
    yield disk
    disk.remove()


def server_on(disk: SmallDisk, kind: str, folder):
    if kind == "node":
        flags = ["--storage", folder / "storage", "--queue", folder / "queue", "--names", "exact"]
        command = (*disk.inside, *SfssNode.command, "--port", 0)
    else:
        flags = (
            ["--data", folder / "data"] if kind == "embedded" else ["--store", f"directory:{folder}/files"]
        )
        command = (*disk.inside, *Sfss.command)

    class Server(Sfss):
        pass

    Server.command = command
    return Server(*flags)


def send(server, kind: str, method: str, path: str, body: bytes = b""):
    target = f"/{path}" if kind == "node" else f"/file?path={path}"
    return ask(server.port, request(method, target, body))


@pytest.mark.parametrize("how", ["stopped", "killed"])
@pytest.mark.parametrize("kind", ["node", "directory", "embedded"])
def test_it_starts_reads_and_deletes(disk, kind, how, tmp_path):
    folder = tmp_path / "disk"
    server = server_on(disk, kind, folder)
    for number in range(4):
        assert send(server, kind, "PUT", f"f{number}", CONTENT).status in (200, 201)
    if how == "killed":
        server.kill()
    else:
        assert server.stop() == 0
    disk.fill()
    for deleted in range(2):  # it can be started again and again
        server = server_on(disk, kind, folder)
        assert send(server, kind, "GET", "f3").body == CONTENT
        answer = send(server, kind, "PUT", "new", CONTENT)
        assert answer.status == 507, answer
        assert send(server, kind, "GET", "new").status == 404
        assert send(server, kind, "DELETE", f"f{deleted}").status == 204, server.printed()
        assert send(server, kind, "GET", f"f{deleted}").status == 404
        if how == "killed":
            server.kill()
        else:
            server.stop()
        disk.fill()  # what the delete has left, others have taken
    server = server_on(disk, kind, folder)
    disk.make_room()
    assert send(server, kind, "PUT", "new", CONTENT).status in (200, 201)
    assert send(server, kind, "GET", "new").body == CONTENT
    assert [send(server, kind, "GET", f"f{number}").status for number in range(4)] == [404, 404, 200, 200]
    server.stop()
    assert "Traceback" not in server.printed()


def test_a_directory_store_over_a_full_folder_that_it_has_never_used(disk, tmp_path):
    (disk.outside / "files").mkdir()
    (disk.outside / "files" / "x").write_bytes(b"1")
    disk.fill()
    server = server_on(disk, "directory", tmp_path / "disk")
    assert send(server, "directory", "GET", "x").body == b"1"
    assert send(server, "directory", "PUT", "y", b"2").status == 507
    assert send(server, "directory", "DELETE", "x").status == 204
    disk.make_room()
    assert send(server, "directory", "PUT", "y", b"2").status == 200
    assert server.stop() == 0


def test_a_worker_that_dies_comes_back(disk, tmp_path):
    import os
    import signal

    server = server_on(disk, "directory", tmp_path / "disk")
    assert send(server, "directory", "PUT", "x", b"1").status == 200
    disk.fill()
    # (nsenter is the server itself: it runs it in its own place.)
    worker = server.workers[0]
    os.kill(worker, signal.SIGKILL)
    server.wait_for_line(r"(?s)worker started.*worker ended.*worker started")
    assert send(server, "directory", "GET", "x").body == b"1"
    server.stop()
