"""Processes that are killed in the middle: what was acknowledged is there, and nothing else looks as if it were."""

import hashlib
import sqlite3
import time

from tests.http import ask, request
from tests.objects.loads import KB, Load, check, said
from tests.objects.swift import Swift
from tests.programs import SfssObjects, free_port


def test_kill_9_in_the_middle_of_everything(tmp_path):
    flags = ["--max-file-size", 64 * KB, "--workers", 2, "--no-access-log"]
    service = SfssObjects(tmp_path, *flags, "--port", free_port())
    key, port = service.key, service.port
    Swift(service).ask("PUT", "c")
    all_loads = []
    for round in range(3):
        swift = Swift(service)
        loads = [Load(swift, 10 * round + number) for number in range(4)]
        for load in loads:
            load.start()
        time.sleep(0.7)
        service.kill()
        for load in loads:
            load.join(timeout=30)
            assert load.is_cut_off and load.acknowledged
        all_loads += loads
        service = SfssObjects(tmp_path, *flags, "--port", port, key=key)
        swift = Swift(service)
        present = check(swift, all_loads)
        for name, content in present.items():
            assert swift.ask("HEAD", f"c/{name}").headers["etag"] == hashlib.md5(content).hexdigest()
    assert ask(port, request("GET", "/readyz")).status == 200
    assert said("fsck", tmp_path).startswith(f"{len(present)} objects, 0 damaged; 0 contents of no object")
    row = said("usage", tmp_path).splitlines()[1].split()
    assert row == ["main", "1", str(len(present)), str(sum(map(len, present.values())))]
    assert service.stop() == 0
    said("fsck", tmp_path, "--idle", "--repair")
    whole = f"{len(present)} objects, 0 damaged; 0 contents of no object\n"
    assert said("fsck", tmp_path, "--idle") == whole
    database = sqlite3.connect(tmp_path / "files.sqlite3")
    (pieces,) = database.execute("SELECT count(*) FROM files").fetchone()
    database.close()
    assert pieces == sum(-(-len(content) // (64 * KB)) for content in present.values())
