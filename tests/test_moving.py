"""The commands of docs/moving/, as they stand there; completion in a real shell; the manual page."""

import base64
import os
import re
import subprocess

import pytest

from sfss.cli.parser import make_parser
from tests.beansdb import Nodes
from tests.http import ask, request
from tests.objects.swift import Swift
from tests.programs import ROOT, Sfss, SfssObjects, bash
from tests.trees import files_in, make


def commands_of(page: str) -> str:
    """All that a page has one type, in one script."""
    text = (ROOT / "docs" / "moving" / f"{page}.rst").read_text()
    blocks = re.findall(r"::\n\n((?: {4}.*\n|\n)+)", text)
    assert blocks, page
    return re.sub("^ {4}", "", "\n".join(blocks), flags=re.MULTILINE)


def test_every_page_is_run_here():
    pages = {page.stem for page in (ROOT / "docs" / "moving").glob("*.rst")}
    # (SeaweedFS takes minutes to build.)
    assert pages == {"index", "folder", "server", "s3", "stores", "beansdb", "seaweedfs"}


def test_folders_servers_and_s3(tmp_path):
    servers = [Sfss("--data", tmp_path / name) for name in ("one", "two")]
    photos = {f"{n % 3}/{n}.jpeg": os.urandom(n * 100) for n in range(40)}
    make(tmp_path / "photos", photos)
    service = SfssObjects(tmp_path / "objects")
    keys = f"export AWS_ACCESS_KEY_ID=main:admin AWS_SECRET_ACCESS_KEY={service.key} AWS_REGION=us-east-1"
    script = f"{keys} AWS_ENDPOINT_URL={service.url}\n" + "\n".join(
        commands_of(page) for page in ("folder", "server", "s3")
    )
    swift = Swift(service)
    swift.ask("PUT", "my-bucket")
    for path, content in photos.items():
        swift.ask("PUT", f"my-bucket/photos/{path}", content)
    for port, server in zip(("8255", "8256"), servers):
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}")
    done = bash(script, cwd=tmp_path)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "sent 40, deleted 0, the same 0, failed 0" in done.stdout and "failed 1" not in done.stdout
    for folder in ("photos-again", "copy/photos"):
        assert files_in(tmp_path / folder) == photos
    listed = [bash(f"sfss ls -r --json --url {server.url}").stdout for server in servers]
    assert listed[1].count("\n") == 80 and listed[0].count("\n") == 120
    assert len(swift.names("my-bucket", "prefix=copies/")) == 40
    service.stop()
    for server in servers:
        server.stop()


def over(command: str, nodes: Nodes) -> list[str]:
    """The words of a command behind ``sfss``, with the nodes that are there."""
    for number, port in enumerate(nodes.ports, start=1):
        command = command.replace(f"10.0.0.{number}:7900", f"127.0.0.1:{port}")
    return command.split()[1:]


def test_a_gateway_moves_its_files_as_the_page_says(tmp_path, nodes):
    commands = re.findall("^sfss .* --migrate-from .*", commands_of("stores"), re.MULTILINE)
    assert len(commands) == 2
    server = Sfss("--data", tmp_path / "sfss-data")
    photo = os.urandom(1000)
    (tmp_path / "photo").write_bytes(photo)
    assert bash(f"sfss put --url {server.url} photo", cwd=tmp_path).returncode == 0
    assert server.stop() == 0
    for command in commands:
        server = Sfss(*over(command.replace("sfss-data", str(tmp_path / "sfss-data")), nodes))
        server.wait_for_line("the old store is empty and can go.*moved=1 ")
        got = bash(f"sfss cat --url {server.url} photo | base64")
        assert base64.b64decode(got.stdout) == photo, got
        assert server.stop() == 0


def test_out_of_a_cluster_and_in_again(tmp_path, nodes):
    start, *script = commands_of("beansdb").strip().splitlines()
    gateway = Sfss(*[word for word in over(start, nodes) if word not in ("--port", "8257")])
    gateway.wait_until_ready()
    other = Sfss("--data", tmp_path / "other")
    avatars = {f"{n % 3}/{n}.jpeg": os.urandom(n * 100) for n in range(20)}
    for path, content in avatars.items():
        assert ask(gateway.port, request("PUT", f"/file/avatars/{path}", content)).status == 200
    text = "\n".join(script)
    for port, server in (("8257", gateway), ("8255", other)):
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}")
    done = bash(text, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("sent 20, ") == 3, (done.stdout, done.stderr)
    assert files_in(tmp_path / "avatars") == avatars
    for url, folder in ((other.url, "avatars"), (gateway.url, "avatars-again")):
        done = bash(f"sfss sync {url}/{folder} back-of-{folder}", cwd=tmp_path)
        assert done.returncode == 0 and files_in(tmp_path / f"back-of-{folder}") == avatars
    assert gateway.stop() == 0 and other.stop() == 0


@pytest.mark.parametrize(
    "words, found",
    [
        ("sy", "sync"),
        ("sync --del", "--delete"),
        ("objects user ad", "add"),
        ("--beansdb-q", "--beansdb-quorum"),
    ],
)
def test_bash_completes_commands_and_flags(words, found):
    count = len(words.split())
    script = f'eval "$(sfss completion bash)"; COMP_WORDS=(sfss {words}); COMP_CWORD={count}; _shtab_sfss; echo "${{COMPREPLY[@]}}"'
    done = bash(script.replace("-euo pipefail", ""))
    assert done.stdout.split() == [found], done


def test_the_manual_page_has_all_commands():
    done = subprocess.run([ROOT / "scripts" / "make-man-page"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith(".TH SFSS"), done
    commands = next(action for action in make_parser()._actions if action.dest == "command").choices
    assert len(commands) > 15
    for name in commands:
        assert f"\\fI\\,{name}\\/\\fR" in done.stdout, name
