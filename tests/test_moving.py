"""The commands of docs/moving.rst, as they stand there; completion in a real shell; the manual page."""

import base64
import os
import re
import subprocess

import pytest

from sfss.cli.parser import make_parser
from tests.beansdb import Nodes
from tests.conftest import need
from tests.objects.swift import Swift
from tests.programs import ROOT, Sfss, SfssObjects, bash
from tests.trees import files_in, make


def test_every_command_of_the_page_does_what_it_says(tmp_path):
    servers = [Sfss("--data", tmp_path / name) for name in ("one", "two")]
    photos = {f"{n % 3}/{n}.jpeg": os.urandom(n * 100) for n in range(40)}
    make(tmp_path / "photos", photos)
    text = (ROOT / "docs" / "moving.rst").read_text()
    blocks = re.findall(r"::\n\n((?: {4}.*\n|\n)+)", text)
    assert len(blocks) == 7
    # (Those start servers, with the stores that they name: below.)
    blocks = [block for block in blocks if "--migrate-from" not in block]
    script = re.sub("^ {4}", "", "\n".join(blocks), flags=re.MULTILINE)
    service = SfssObjects(tmp_path / "objects")
    keys = f"export AWS_ACCESS_KEY_ID=main:admin AWS_SECRET_ACCESS_KEY={service.key} AWS_REGION=us-east-1"
    script = f"{keys} AWS_ENDPOINT_URL={service.url}\n{script}"
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


def test_a_gateway_moves_its_files_as_the_page_says(tmp_path):
    need("gobeansdb")
    nodes = Nodes(tmp_path / "nodes")
    text = (ROOT / "docs" / "moving.rst").read_text()
    commands = re.findall("^    sfss (.* --migrate-from .*)", text, re.MULTILINE)
    assert len(commands) == 2
    server = Sfss("--data", tmp_path / "sfss-data")
    photo = os.urandom(1000)
    for command in ("", *commands):
        if command:
            for number, port in enumerate(nodes.ports, start=1):
                command = command.replace(f"10.0.0.{number}:7900", f"127.0.0.1:{port}")
            server = Sfss(*command.replace("sfss-data", str(tmp_path / "sfss-data")).split())
            server.wait_for_line("the old store is empty and can go.*moved=1 ")
            got = bash(f"sfss cat --url {server.url} photo | base64")
            assert base64.b64decode(got.stdout) == photo, got
        else:
            (tmp_path / "photo").write_bytes(photo)
            assert bash(f"sfss put --url {server.url} photo", cwd=tmp_path).returncode == 0
        assert server.stop() == 0
    for node in nodes.running:
        node.stop()


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
