"""Clients that write while something fails, and commands of the operator."""

import os
import random
import subprocess
import sys
import threading
import time

from tests.objects.swift import Swift
from tests.programs import ROOT

KB = 1024


class Load(threading.Thread):
    """Puts, replaces and deletes objects of its own in the container c, for some seconds or until the service is gone.

    *refusals*: statuses that say nothing of what has happened.
    """

    def __init__(self, swift: Swift, number: int, *, seconds: float = 60.0, refusals: tuple[int, ...] = ()):
        super().__init__()
        self._names = [f"{number}/{each}" for each in range(8)]
        #: What may be there, by name: None for nothing.
        self.contents: dict[str, set[bytes | None]] = {}
        self.acknowledged = 0
        self.is_cut_off = False
        self._swift = swift
        self._end = time.monotonic() + seconds
        self._refusals = refusals

    def run(self) -> None:
        while time.monotonic() < self._end:
            name = random.choice(self._names)
            content = None if random.random() < 0.25 else os.urandom(random.choice((100, 60 * KB, 200 * KB)))
            try:
                if content is None:
                    answer = self._swift.ask("DELETE", f"c/{name}")
                else:
                    answer = self._swift.ask("PUT", f"c/{name}", content)
            except (OSError, EOFError):
                self.contents.setdefault(name, {None}).add(content)
                self.is_cut_off = True
                return
            if answer.status in self._refusals:
                self.contents.setdefault(name, {None}).add(content)
                continue
            assert answer.status in (201, 204, 404), answer
            self.contents[name] = {content}
            self.acknowledged += 1


def check(swift: Swift, loads: list[Load]) -> dict[str, bytes]:
    """What is there of what *loads* have written, which is what they were told; each content."""
    listed = set(swift.names("c"))
    present = {}
    for load in loads:
        for name, contents in load.contents.items():
            answer = swift.ask("GET", f"c/{name}")
            found = answer.body if answer.status == 200 else None
            assert found in contents, (name, answer.status, len(answer.body))
            assert (name in listed) == (found is not None)
            if found is not None:
                present[name] = found
            load.contents[name] = {found}
    head = swift.ask("HEAD", "c").headers
    assert head["x-container-object-count"] == str(len(present)) == str(len(listed))
    assert head["x-container-bytes-used"] == str(sum(map(len, present.values())))
    return present


def said(what: str, home, *flags: object, status: int = 0) -> str:
    """What ``sfss objects`` *what* prints."""
    command = [sys.executable, "-m", "sfss", "objects", *what.split(), "--data", str(home), *map(str, flags)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr
