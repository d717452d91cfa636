"""Nodes that have very many files, made faster than by putting them."""

import os
import shutil
import sqlite3
from pathlib import Path

from sfss.models import etag_of
from sfss.replication.catalog import FILE_NAME, Catalog
from sfss.replication.clock import Version, stamp_of
from sfss.replication.digests import digests_of
from sfss.replication.merkle import digest_of, leaf_of
from sfss.replication.replica import Replica
from sfss.replication.resolve import Rules
from tests.programs import SfssNode, free_port

#: A file system allows so many names for one file (ext4: 65,000).
_NAMES_EACH = 50_000
FOLDERS = 1000


def path_of(number: int) -> str:
    return f"million/{number % FOLDERS}/{number}.txt"


def content_of(number: int) -> bytes:
    return b"small file of kind %d\n" % (number // _NAMES_EACH)


def start_two_nodes(home: Path, count: int) -> list[SfssNode]:
    """Two nodes with the same *count* files, that compare once and then not for an hour."""
    ports = [free_port(), free_port()]
    make(home / "0", count)
    make(home / "1", count)
    return [
        SfssNode(
            home / str(number),
            "--names",
            "exact",
            "--compare-interval",
            3600,
            "--no-access-log",
            "--node",
            f"http://127.0.0.1:{ports[1 - number]}",
            port=ports[number],
        )
        for number in range(2)
    ]


def make(home: Path, count: int) -> None:
    """The folders of a node that has *count* files."""
    storage, queue = home / "storage", home / "queue"
    Replica(
        storage, queue, peers=(), wall=lambda: 0.0, now=lambda: 0, rules=Rules(False, 1)
    ).close()  # fmt: skip
    for folder in range(FOLDERS):
        (storage / f"million/{folder}").mkdir(parents=True)
    kinds = {}
    for start in range(0, count, _NAMES_EACH):
        kinds[start // _NAMES_EACH] = home / f"kind-{start}"
        kinds[start // _NAMES_EACH].write_bytes(content_of(start))
    for number in range(count):
        os.link(kinds[number // _NAMES_EACH], storage / path_of(number))
    for file in kinds.values():
        file.unlink()
    _fill(queue, count)


def _fill(queue: Path, count: int) -> None:
    catalog = Catalog(queue)
    tree, size = catalog.tree, 0

    def rows():
        nonlocal size
        for number in range(count):
            path, content = path_of(number), content_of(number)
            version = Version(stamp_of(1_700_000_000) + number, "0123456789abcdef")
            leaf = leaf_of(path)
            digests, etag = digests_of(content), etag_of(content)
            tree.add(leaf, digest_of(path, version, digests.sha256))
            size += len(content)
            yield leaf, path, *version, len(content), *digests, etag, version.stamp

    catalog.count_again(range(len(tree.leaves)))  # all of them are to be saved
    database = sqlite3.connect(queue / FILE_NAME)
    database.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", sorted(rows()))
    database.executemany(
        "UPDATE state SET value = ? WHERE name = ?",
        [(count, "files"), (size, "bytes"), (stamp_of(1_700_000_000) + count, "last_stamp")],
    )
    database.commit()
    database.close()
    assert catalog.checkpoint()
    catalog.close()


def remove(home: Path) -> None:
    shutil.rmtree(home)
