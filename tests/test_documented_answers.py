"""The examples of the OpenAPI document are what a server answers."""

import io
import json
import re
import tarfile

import pytest

from sfss.web.api.openapi import document
from tests.http import Answer, ask, request
from tests.programs import Sfss

CONTENT = b"content"


@pytest.fixture
def server(tmp_path):
    key = tmp_path / "key"
    key.write_text("k" * 40)
    key.chmod(0o600)
    server = Sfss("--data", tmp_path / "data", "--signing-key-file", key)
    yield server
    server.stop()


def example_of(name: str):
    (example,) = document(1)["components"]["schemas"][name]["examples"]
    return example


def test_the_examples_are_answers(server):
    def answer(method: str, target: str, body: bytes = b"") -> Answer:
        return ask(server.port, request(method, target, body))

    put = answer("PUT", "/file/avatars/1.png", CONTENT)
    assert json.loads(put.body) == example_of("Stored")
    answer("PUT", "/file/avatars/small/1.png", CONTENT)
    assert json.loads(answer("GET", "/files?prefix=avatars/&delimiter=/").body) == example_of("Listing")
    assert json.loads(answer("GET", "/file/avatars/2.png").body) == example_of("Problem")
    signed, example = json.loads(answer("POST", "/sign?path=avatars/1.png").body), example_of("Signed")
    assert signed.keys() == example.keys() and signed["method"] == example["method"]
    assert signed["url"].startswith(re.match(r".*expires=1", example["url"])[0])
    (figures,) = json.loads(answer("GET", "/status").body).values()
    paths = document(1)["paths"]
    (example,) = paths["/status"]["get"]["responses"]["200"]["content"]["application/json"]["schema"][
        "examples"
    ]
    (said,) = example.values()
    assert figures.keys() == said.keys() and figures["curr_items"] == said["curr_items"]

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in (("1.png", CONTENT), ("2.png", bytes(3 * 1024 * 1024))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    lines = answer("POST", "/archive?prefix=avatars/", archive.getvalue()).body.decode()
    content = paths["/archive"]["post"]["responses"]["200"]["content"]
    (example,) = content["application/x-ndjson"]["schema"]["examples"]
    assert sorted(lines.splitlines()) == sorted(example.splitlines())
