"""The commands put, get, rm and status, and simple_client.py, as processes."""

import fcntl
import json
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.conftest import cannot
from tests.http import ask, request
from tests.programs import MOUNTS_OF_ITS_OWN, ROOT, Sfss, free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Sfss("--data", tmp_path_factory.mktemp("data"), "--no-access-log")
    yield server
    server.stop()


def run(*command, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, timeout=60
    )


@pytest.fixture
def sfss(server):
    def command(name, *arguments, cwd: Path = ROOT):
        return run(sys.executable, "-m", "sfss", name, "--url", server.url, *arguments, cwd=cwd)

    return command


@pytest.fixture
def tree(tmp_path) -> Path:
    folder = tmp_path / "site"
    for n in range(60):
        file = folder / f"part{n % 3}" / f"file {n}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(random.Random(n).randbytes(n * 500))
    return folder


def test_a_folder_goes_up_and_comes_back(sfss, tree, tmp_path):
    done = sfss("put", "-r", tree, "--to", "backup/2026")
    assert (done.returncode, done.stderr) == (0, b"")
    paths = [f"backup/2026/site/{f.relative_to(tree)}" for f in tree.rglob("*.bin")]
    assert sfss("get", *paths, "-o", tmp_path / "back").returncode == 0
    back = tmp_path / "back" / "backup/2026/site"
    assert {f.relative_to(back): f.read_bytes() for f in back.rglob("*") if f.is_file()} == {
        f.relative_to(tree): f.read_bytes() for f in tree.rglob("*") if f.is_file()
    }
    assert sfss("rm", *paths).returncode == 0
    assert sfss("get", paths[0], "-o", "-").returncode == 1


def test_standard_output_in_order(sfss, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    assert sfss("put", tmp_path / "one", tmp_path / "two").returncode == 0
    assert sfss("get", "two", "one", "-o", "-").stdout == b"twoone"


def test_failures_are_listed_and_the_rest_is_done(sfss, tree, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (2 * 1024 * 1024 + 1))
    (tmp_path / "good").write_bytes(b"good")
    done = sfss("put", tmp_path / "large", tmp_path / "nowhere", tree, tmp_path / "good")
    assert done.returncode == 1
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 4
    assert any("large: A file may have at most" in line for line in lines)
    assert any("nowhere" in line and "No such file" in line for line in lines)
    assert any("is a folder; -r uploads it" in line for line in lines)
    assert lines[-1] == "sfss: 3 failed"
    assert sfss("get", "good", "-o", "-").stdout == b"good"


def test_two_files_of_one_name_are_refused(sfss, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_text(folder)
    done = sfss("put", tmp_path / "a" / "x", tmp_path / "b" / "x", "--to", "collision")
    assert done.returncode == 1
    assert b"would both be collision/x; nothing was uploaded" in done.stderr
    assert sfss("get", "collision/x", "-o", "-").returncode == 1


def test_what_a_folder_holds_besides_files_is_said(sfss, tmp_path):
    folder = tmp_path / "odd"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("content")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "fifo")
    done = sfss("put", "-r", folder)
    assert done.returncode == 1
    for name in ("dangling", "loop", "fifo"):
        assert name.encode() in done.stderr
    assert sfss("get", "odd/inner/file", "-o", "-").stdout == b"content"
    assert sfss("put", folder / "fifo").returncode == 1


def test_a_file_is_whole_or_as_it_was(sfss, tmp_path):
    """Getting onto a full disk leaves the old file, and no half of the new one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "new").write_bytes(b"n" * 100_000)
    assert sfss("put", tmp_path / "new", "--to", "full").returncode == 0
    url = sfss("status").args[5]
    script = f"""
        mount -t tmpfs -o size=64k tmpfs {disk} && mkdir {disk}/full && echo old > {disk}/full/new
        {sys.executable} -m sfss get --url {url} full/new -o {disk}
        echo "code $?"; cat {disk}/full/new; ls -A {disk}/full
    """
    done = run(*MOUNTS_OF_ITS_OWN, "sh", "-c", script)
    if b"code" not in done.stdout:
        cannot("a mount namespace is needed: run as root, or allow user namespaces")
    assert done.stdout.split() == [b"code", b"1", b"old", b"new"]


def test_no_path_leads_out_of_the_folder(sfss, tmp_path):
    done = sfss("get", "../escaped", "/etc/passwd", "-o", tmp_path / "in")
    assert done.returncode == 1
    assert b"'..'" in done.stderr and b"begins with '/'" in done.stderr
    assert not (tmp_path / "escaped").exists()


def test_a_path_that_is_not_utf8_is_one_failure(sfss, tmp_path):
    (tmp_path / "good").write_text("good")
    assert sfss("put", tmp_path / "good", "--to", "bytes").returncode == 0
    for command in (["get", "-o", "-"], ["rm"]):
        done = sfss(*command, os.fsdecode(b"\xff"), "bytes/good")
        assert done.returncode == 1
        assert done.stderr.count(b"\n") == 2 and b"not valid UTF-8" in done.stderr


def test_status(sfss, server):
    (figures,) = json.loads(sfss("status").stdout).values()
    assert "curr_items" in figures
    assert json.loads(sfss("status", "--full").stdout)["webserver"]["pid"] == str(server.pid)


def test_no_server(tmp_path):
    for n in range(6):
        (tmp_path / f"{n}").write_text("x")
    url = f"http://127.0.0.1:{free_port()}"
    files = [str(file) for file in tmp_path.iterdir()]
    done = run(sys.executable, "-m", "sfss", "put", "--url", url, "--parallel", 2, *files)
    assert done.returncode == 1
    assert done.stderr.count(b"cannot connect") == 1  # and not a line for each
    assert b"5 more were not tried" in done.stderr
    done = run(sys.executable, "-m", "sfss", "status", "--url", url)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_a_bar_on_a_terminal(server, tree):
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "sfss", "put", "--url", server.url, "-r", str(tree)]
    subprocess.run(command, cwd=ROOT, stderr=terminal, check=True, timeout=60)
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(controller, 65536):
            shown += chunk
    except OSError:
        os.close(controller)  # so Linux says that the other end is closed
    assert b"put" in shown and b"60/60" in shown


SIMPLE = [sys.executable, ROOT / "simple_client.py"]


def test_simple_client_uploads(server, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    where = ["--host", "127.0.0.1", "--port", server.port]
    done = run(*SIMPLE, *where, "--path", "folder/name.ext", "--filepath", tmp_path / "file")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"/file?path=folder/name.ext 7 bytes" in done.stdout
    assert ask(server.port, request("GET", "/file?path=folder/name.ext")).body == b"content"


def test_simple_client_fails_with_a_message(server, tmp_path):
    where = ["--port", server.port]
    done = run(*SIMPLE, *where, "--path", "a", "--filepath", tmp_path / "nowhere")
    assert done.returncode == 1 and b"No such file" in done.stderr
    (tmp_path / "file").touch()
    done = run(*SIMPLE, *where, "--path", "/a", "--filepath", tmp_path / "file")
    assert done.returncode == 1 and b"begins with '/'" in done.stderr
    done = run(*SIMPLE, *where)
    assert done.returncode == 2 and b"--filepath" in done.stderr
    done = run(*SIMPLE, "--port", free_port(), "--path", "a", "--filepath", tmp_path / "file")
    assert done.returncode == 1 and b"Traceback" not in done.stderr


def test_simple_client_measures(server):
    done = run(*SIMPLE, "--port", server.port, "--bench", 300, "--concurrency", 8, "--size", 5000)
    assert done.returncode == 0, done.stderr
    for name in ("put", "get"):
        assert re.search(
            rf"{name}: \d+ requests/s, p50 [\d.]+ ms, p90 [\d.]+ ms, p99 [\d.]+ ms",
            done.stdout.decode(),
        )
    (figures,) = json.loads(ask(server.port, request("GET", "/status")).body).values()
    assert int(figures["cmd_delete"]) >= 300  # it leaves nothing behind


def test_help_shows_every_setting_with_its_default():
    shown = run(sys.executable, "-m", "sfss", "--help").stdout.decode()
    for text in ("--host", "--port", "(default: 8255)", "127.0.0.1", "--proxy", "--max-file-size"):
        assert text in shown
