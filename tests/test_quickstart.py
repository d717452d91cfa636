"""A newcomer's ten minutes: docs/quickstart.rst as it stands, by its commands and on the page; and the site of the
documents.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser import text, until
from tests.programs import ROOT, Program, bash, free_port

PAGE = (ROOT / "docs/quickstart.rst").read_text()


@pytest.fixture
def home(tmp_path) -> Path:
    """What stands for the clone, which bootstrap.py has set up."""
    (tmp_path / "bin").symlink_to(ROOT / "bin")
    return tmp_path


def blocks(port: int) -> list[str]:
    found = re.findall(r"\.\. code-block:: sh\n\n((?: {4}.*\n|\n)+)", PAGE)
    return [re.sub("^ {4}", "", block, flags=re.MULTILINE).replace("8255", str(port)) for block in found]


def run(script: str, home: Path, port: int) -> str:
    done = bash(script, home, SFSS_URL=f"http://127.0.0.1:{port}")
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    return done.stdout


def test_ten_minutes(home, browser):
    port = free_port()
    start, serve = re.search(r"::\n\n {4}(python3 bootstrap.py)\n {4}(\./bin/sfss .+)\n", PAGE).groups()
    assert start.split()[-1] in os.listdir(ROOT)
    by_curl, by_commands, backup, restore, close, write = blocks(port)

    server = Program(serve.replace("8255", str(port)).split(), cwd=home)
    server.wait_for_port(port)
    run(by_curl, home, port)

    upload = home / "by-page.txt"
    upload.write_text("by the page")
    browser.get(f"http://127.0.0.1:{port}/#/photos/")
    until(browser, lambda: "1.gif" in text(browser, "#file-rows"))
    browser.find_element(By.ID, "files").send_keys(str(upload))
    until(browser, lambda: "by-page.txt" in text(browser, "#file-rows"))
    browser.find_element(By.ID, "find-path").send_keys("photos/by-page.txt" + Keys.ENTER)
    until(browser, lambda: "by the page" in text(browser, "#details"))
    got = run(f"curl -sf http://127.0.0.1:{port}/file/photos/by-page.txt", home, port)
    assert got == "by the page"

    said = run(by_commands, home, port)
    assert "photos/photo.gif" in said and "photos/by-page.txt" in said
    assert (home / "everything/photos/by-page.txt").read_text() == "by the page"

    run(backup, home, port)
    run(f"curl -sf -X DELETE http://127.0.0.1:{port}/file/photos/1.gif", home, port)
    assert server.stop() == 0
    run(restore, home, port)

    server = Program(
        ["bash", "-euo", "pipefail", "-c", close.replace("./bin/sfss", "exec ./bin/sfss")], cwd=home
    )
    server.wait_for_port(port)
    assert run(write, home, port).splitlines()[0] == "401"
    listed = run("./bin/sfss ls -r", home, port).split()
    assert listed == ["photos/1.gif", "photos/2.gif", "photos/by-page.txt", "photos/photo.gif"]
    assert server.stop() == 0


def test_the_site_is_made_without_a_warning(tmp_path):
    done = subprocess.run([ROOT / "scripts/make-docs", tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    index = (tmp_path / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//(?!pradyunsg|github|www\.sphinx)', index), (
        "an asset of others"
    )
    api = (tmp_path / "api.html").read_text()
    for words in ("GET /files", "PUT /file", "POST /archive", "If-None-Match"):
        assert words in api
    assert ">--write-token-file</span>" in (tmp_path / "settings.html").read_text()
    assert "sfss beansdb repair" in (tmp_path / "commands.html").read_text()
    client = (tmp_path / "client.html").read_text()
    assert client.count("Keep <em>content</em> under") == 2 and "AsyncIterable" in client


def test_every_page_that_a_document_names_is_there():
    for file in [*ROOT.glob("*.rst"), *ROOT.glob("docs/*.rst"), *ROOT.glob("conf/*.rst")]:
        for name in re.findall(
            r"``((?:docs|conf|scripts|bench|tests|examples|sfss)/[\w./-]+)``", file.read_text()
        ):
            assert (ROOT / name).exists(), f"{file.name} names {name}"
