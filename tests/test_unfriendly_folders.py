"""Folders that somebody has shut, moved, filled, restored or taken away, under a node and a directory store."""

import json
import os
import shutil
import subprocess
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from sfss.disk.folder import Folder
from sfss.replication.operations import Adopt, Delete
from tests.conftest import cannot, need
from tests.http import Answer, ask, request
from tests.programs import (
    ROOT,
    PlainUsersNode,
    PlainUsersSfss,
    Sfss,
    SfssNode,
    free_port,
)
from tests.test_replica import Home, content, do, put

SOMEBODY = 4321  # a user's id
EXACT = ("--names", "exact")
#: Names that cannot lie at their own path: one is too long, one lies beside a folder of its name, one begins
#: as what is ours.
HASHED = ["x" * 300, "a", ".sfss/y"]
NAMES = ["plain", "a/b", "ü/名前", *HASHED]


def send(server, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    target = f"/{path}" if isinstance(server, SfssNode) else f"/file?path={path}"
    return ask(server.port, request(method, target, body, headers))


def shut_by_somebody(folder: Path) -> None:
    """Make *folder*, which nobody but another user may enter, with a file in it."""
    if os.geteuid() != 0:
        cannot("only root can make folders of somebody else")
    need("setpriv")
    folder.mkdir(parents=True)
    (folder / "theirs").write_bytes(b"theirs")
    for place in (folder / "theirs", folder):
        os.chown(place, SOMEBODY, SOMEBODY)
    folder.chmod(0o700)


@pytest.fixture(params=["node", "directory"])
def plain_server(request, tmp_path):
    """A server whose storage has a folder that it may not enter, as a disk's root has."""
    shut_by_somebody(tmp_path / "storage" / "lost+found")
    if request.param == "node":
        server = PlainUsersNode(tmp_path, *EXACT)
    else:
        server = PlainUsersSfss("--store", f"directory:{tmp_path / 'storage'}")
    yield server
    assert server.stop() == 0


# What another user has shut.


def test_below_a_folder_that_another_user_has_shut(plain_server):
    path = "lost+found/x"
    assert send(plain_server, "GET", path).status == 404
    assert send(plain_server, "PUT", path, b"1").status in (200, 201)
    assert send(plain_server, "GET", path).body == b"1"
    assert send(plain_server, "PUT", path, b"2").status in (200, 204)
    assert send(plain_server, "GET", path).body == b"2"
    assert send(plain_server, "DELETE", path).status == 204
    assert send(plain_server, "GET", path).status == 404
    assert send(plain_server, "DELETE", path).status == 404


def test_nothing_of_a_deleted_file_is_left_below_a_shut_folder(tmp_path):
    shut_by_somebody(tmp_path / "storage" / "lost+found")
    node = PlainUsersNode(tmp_path, *EXACT)
    send(node, "PUT", "lost+found/x", b"secret content")
    send(node, "DELETE", "lost+found/x")
    left = [file for file in (tmp_path / "storage" / ".sfss").rglob("*") if file.is_file()]
    assert not any(b"secret content" in file.read_bytes() for file in left)
    assert not list((tmp_path / "storage" / ".sfss" / "names").rglob("*.path"))
    node.stop()


def test_a_folder_that_cannot_be_changed(plain_server, tmp_path):
    """It may be entered and read, and not be written: a delete says that it could not, and so does a put."""
    folder = tmp_path / "storage" / "theirs"
    folder.mkdir()
    (folder / "x").write_bytes(b"1")
    os.chown(folder, SOMEBODY, SOMEBODY)
    assert send(plain_server, "GET", "theirs/x").body == b"1"
    assert send(plain_server, "DELETE", "theirs/x").status == 502
    assert send(plain_server, "GET", "theirs/x").body == b"1"
    folder.chmod(0o711)  # it may not even be listed
    assert send(plain_server, "DELETE", "theirs/x").status == 502
    assert send(plain_server, "GET", "theirs/x").body == b"1"


def test_a_file_that_cannot_be_read_can_be_removed(plain_server, tmp_path):
    file = tmp_path / "storage" / "x"
    file.write_bytes(b"1")
    os.chown(file, SOMEBODY, SOMEBODY)
    file.chmod(0o600)
    assert send(plain_server, "GET", "x").status == 502
    if not isinstance(plain_server, SfssNode):
        assert send(plain_server, "DELETE", "x").status == 204
        assert not file.exists()


def verify(node_class, home: Path) -> subprocess.CompletedProcess:
    command = [*node_class.command, "verify", *EXACT]
    command += ["--storage", home / "storage", "--queue", home / "queue"]
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_verify_passes_over_what_is_not_the_nodes_and_says_so_once(tmp_path):
    shut_by_somebody(tmp_path / "storage" / "lost+found")
    (tmp_path / "storage" / "metrics").write_bytes(b"no name of a file here")
    done = verify(PlainUsersNode, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 things in the folder that are not the node's" in done.stdout


def test_verify_says_what_it_cannot_read(tmp_path):
    shut_by_somebody(tmp_path / "storage" / "lost+found")  # (which is no reason to complain)
    file = tmp_path / "storage" / "x"
    file.write_bytes(b"1")
    os.chown(file, SOMEBODY, SOMEBODY)
    file.chmod(0o600)
    done = verify(PlainUsersNode, tmp_path)
    assert done.returncode == 1
    assert "1 files or folders could not be read" in done.stderr
    file.unlink()
    (tmp_path / "storage" / "mine").mkdir(mode=0)  # a folder of our own that we have shut ourselves
    assert verify(PlainUsersNode, tmp_path).returncode == 1


# Restored and adopted.


def status(node) -> dict:
    return json.loads(ask(node.port, request("GET", "/_status")).body)


def settled(node) -> dict:
    """Its status when it has looked at every file."""
    while status(node)["verification"]["running"]:
        pass
    return status(node)


@pytest.mark.parametrize("way", ["copied", "queue lost"])
def test_a_storage_without_its_queue_has_all_names(tmp_path, way):
    node = SfssNode(tmp_path / "old", *EXACT)
    for name in NAMES:
        assert send(node, "PUT", quoted(name), name.encode()).status == 201
    node.stop()
    home = tmp_path / "new"
    if way == "copied":
        shutil.copytree(tmp_path / "old" / "storage", home / "storage")
    else:
        home = tmp_path / "old"
        shutil.rmtree(home / "queue")
    port, other_port = free_port(), free_port()
    pairs = [(home, port, other_port), (tmp_path / "other", other_port, port)]
    nodes = [SfssNode(h, *EXACT, "--node", f"http://127.0.0.1:{o}", port=p) for h, p, o in pairs]
    assert settled(nodes[0])["files"] == len(NAMES)
    while status(nodes[1])["root"] != status(nodes[0])["root"]:
        pass
    for each in nodes:
        for name in NAMES:
            answer = send(each, "GET", quoted(name))
            assert (answer.status, answer.body) == (200, name.encode())
        assert each.stop() == 0
        assert "neighbour fails" not in each.printed() or "digest for each branch" not in each.printed()
    done = verify(SfssNode, home)
    assert done.returncode == 0 and f"{len(NAMES)} files checked" in done.stdout


def quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name)


def test_names_are_kept_with_their_contents(tmp_path):
    folder = Folder(tmp_path)
    for name in NAMES:
        folder.place(folder.write_temporary(name.encode(), sync=False), name)
    assert sorted(folder.walk()) == sorted(NAMES)
    folder.close()
    folder = Folder(tmp_path)
    assert sorted(folder.walk()) == sorted(NAMES)
    for name in HASHED[:2]:
        assert folder.remove(name)
    assert sorted(folder.walk()) == sorted(set(NAMES) - set(HASHED[:2]))
    assert len(list((tmp_path / ".sfss" / "names").rglob("*.path"))) == 1
    # One whose name is lost, or is another's, is told of.
    digest = sha256(HASHED[2].encode()).hexdigest()
    (tmp_path / ".sfss" / "names" / digest[:2] / f"{digest}.path").write_bytes(b"another")
    skipped = []
    assert HASHED[2] not in folder.walk(lambda place, is_ours: skipped.append((place, is_ours)))
    assert skipped == [(f".sfss/names/{digest[:2]}/{digest}", True)]
    folder.close()


def test_a_file_that_finds_its_own_place_leaves_no_name_behind(tmp_path):
    folder = Folder(tmp_path)
    folder.place(folder.write_temporary(b"1", sync=False), "a/b")
    folder.place(folder.write_temporary(b"2", sync=False), "a")
    folder.remove("a/b")
    folder.place(folder.write_temporary(b"3", sync=False), "a")
    assert (tmp_path / "a").read_bytes() == b"3"
    assert list(folder.walk()) == ["a"]
    assert not list((tmp_path / ".sfss" / "names").rglob("*.path"))
    folder.close()


def test_a_name_that_cannot_lie_at_its_path_outlives_a_kill(tmp_path):
    home = Home(tmp_path)
    do(home.replica, put("x" * 300, b"1"))
    replica = home.kill()
    assert content(replica, "x" * 300) == b"1"
    do(replica, Delete("x" * 300))
    assert list(home.kill().folder.walk()) == []
    home.replica.close()


# Taken away under a running server.


def test_a_directory_store_whose_folder_is_taken_away(tmp_path):
    root = tmp_path / "files"
    server = Sfss("--store", f"directory:{root}")
    assert send(server, "PUT", "x", b"1").status == 200
    root.rename(tmp_path / "elsewhere")
    root.mkdir()
    for method, path in (("PUT", "y"), ("DELETE", "x")):
        answer = send(server, method, path, b"")
        assert answer.status == 502, answer
    assert ask(server.port, request("GET", "/readyz")).status == 503
    root.rmdir()
    assert send(server, "PUT", "y", b"2").status == 502
    (tmp_path / "elsewhere").rename(root)
    assert send(server, "PUT", "y", b"2").status == 200
    assert ask(server.port, request("GET", "/readyz")).status == 200
    assert server.stop() == 0


@pytest.mark.parametrize("taken", ["storage", "queue", "queue/catalog.sqlite3", "log"])
def test_a_node_whose_folder_is_taken_away(tmp_path, taken):
    """What it says yes to is there after its next start."""
    node = SfssNode(tmp_path, *EXACT)
    assert send(node, "PUT", "before", b"1").status == 201
    place = tmp_path / taken
    if taken == "log":
        (place,) = (tmp_path / "queue").glob("changes-*.log")
    place.rename(tmp_path / "elsewhere")
    if taken in ("storage", "queue"):
        place.mkdir()
    answers = [send(node, "PUT", "after", b"2"), send(node, "DELETE", "before")]
    assert [answer.status for answer in answers] == [502, 502]
    assert ask(node.port, request("GET", "/readyz")).status == 503
    if taken in ("storage", "queue"):
        place.rmdir()
    (tmp_path / "elsewhere").rename(place)
    until_ready(node)
    assert send(node, "PUT", "after", b"2").status == 201
    node.kill()
    node = SfssNode(tmp_path, *EXACT)
    assert [send(node, "GET", path).status for path in ("before", "after")] == [200, 200]
    assert node.stop() == 0


def until_ready(node) -> None:
    while ask(node.port, request("GET", "/readyz")).status != 200:
        pass


def test_made_folders_are_synced_in_their_parents(tmp_path, monkeypatch):
    from sfss.disk import folder as module

    synced = []
    monkeypatch.setattr(module, "sync_folder", synced.append)
    module.make_folders(tmp_path / "a" / "b" / "c", mode=0o700)
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700


def test_a_found_file_below_a_hashed_name(tmp_path):
    home = Home(tmp_path)
    folder = home.replica.folder
    folder.place(folder.write_temporary(b"1", sync=False), "x" * 300)
    do(home.replica, Adopt("x" * 300))
    assert content(home.replica, "x" * 300) == b"1"
    home.replica.close()


def test_who_walks_is_not_disturbed_by_who_writes(tmp_path):
    """Files that cannot lie at their own path come and go; no descriptor is left open."""
    at_first = len(os.listdir("/proc/self/fd"))  # other tests have some
    folder = Folder(tmp_path)
    long = "n" * 300
    over = threading.Event()
    failures = []

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            with folder.keeping_open():
                for n in range(5):
                    folder.place(folder.write_temporary(b"x", sync=False), f"a/{n}/{long}")
                    folder.place(folder.write_temporary(b"x", sync=False), f"a/{n}/short")
                for n in range(5):
                    folder.remove(f"a/{n}/{long}")

    def walk() -> None:
        try:
            for _ in range(150):
                list(folder.walk())
        except Exception as error:
            failures.append(error)

    writer, walker = threading.Thread(target=write), threading.Thread(target=walk)
    writer.start()
    walker.start()
    walker.join()
    over.set()
    writer.join()
    before = len(os.listdir("/proc/self/fd"))
    assert not failures
    assert before - at_first < 90
    folder.close()
