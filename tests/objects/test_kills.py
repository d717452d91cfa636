"""Processes that are killed in the middle: what was acknowledged is there, and nothing else looks as if it were."""

import hashlib
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time

from tests.http import ask, request
from tests.objects.swift import Swift
from tests.programs import ROOT, SfssObjects, free_port

KB = 1024


class Load(threading.Thread):
    """Puts, replaces and deletes objects of its own until the service is gone."""

    def __init__(self, swift: Swift, number: int):
        super().__init__()
        self.number = number
        self.acknowledged: dict[str, bytes | None] = {}
        self.unknown: dict[str, bytes | None] = {}  # nobody has answered
        self._swift = swift

    def run(self) -> None:
        while True:
            name = f"{self.number}/{random.randrange(8)}"
            content = None if random.random() < 0.25 else os.urandom(random.choice((100, 60 * KB, 200 * KB)))
            try:
                if content is None:
                    answer = self._swift.ask("DELETE", f"c/{name}")
                else:
                    answer = self._swift.ask("PUT", f"c/{name}", content)
            except (OSError, EOFError):
                self.unknown[name] = content
                return
            assert answer.status in (201, 204, 404), answer
            self.acknowledged[name] = content


def test_kill_9_in_the_middle_of_everything(tmp_path):
    flags = ["--max-file-size", 64 * KB, "--workers", 2, "--no-access-log"]
    service = SfssObjects(tmp_path, *flags, "--port", free_port())
    key, port = service.key, service.port
    Swift(service).ask("PUT", "c")
    expected: dict[str, set] = {}
    for _ in range(3):
        swift = Swift(service)
        loads = [Load(swift, number) for number in range(4)]
        for load in loads:
            load.start()
        time.sleep(0.7)
        service.kill()
        for load in loads:
            load.join(timeout=30)
            for name, content in load.acknowledged.items():
                expected[name] = {content}
            for name, content in load.unknown.items():
                expected.setdefault(name, {None}).add(content)
        service = SfssObjects(tmp_path, *flags, "--port", port, key=key)
        swift = Swift(service)
        listed = set(swift.names("c"))
        assert len(expected) > 10
        for name, contents in expected.items():
            answer = swift.ask("GET", f"c/{name}")
            found = answer.body if answer.status == 200 else None
            assert found in contents, (name, answer.status, len(answer.body))
            assert (name in listed) == (found is not None)
            if found is not None:
                assert answer.headers["etag"] == hashlib.md5(found).hexdigest()
            expected[name] = {found}
        head = swift.ask("HEAD", "c").headers
        present = [content for (content,) in expected.values() if content is not None]
        assert head["x-container-object-count"] == str(len(present))
        assert head["x-container-bytes-used"] == str(sum(map(len, present)))
    assert ask(port, request("GET", "/readyz")).status == 200
    assert said("fsck", tmp_path).startswith(f"{len(present)} objects, 0 damaged; 0 contents of no object")
    row = said("usage", tmp_path).splitlines()[1].split()
    assert row == ["main", "1", str(len(present)), str(sum(map(len, present)))]
    assert service.stop() == 0
    said("fsck", tmp_path, "--idle", "--repair")
    whole = f"{len(present)} objects, 0 damaged; 0 contents of no object\n"
    assert said("fsck", tmp_path, "--idle") == whole
    database = sqlite3.connect(tmp_path / "files.sqlite3")
    (pieces,) = database.execute("SELECT count(*) FROM files").fetchone()
    database.close()
    assert pieces == sum(-(-len(content) // (64 * KB)) for content in present)


def said(what: str, home, *flags: str) -> str:
    command = [sys.executable, "-m", "sfss", "objects", what, "--data", str(home), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
