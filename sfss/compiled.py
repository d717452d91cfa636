"""The hot modules, compiled by mypyc, where that was possible.

They are Python that runs as it is, and passes the same tests. ``scripts/compile`` (which ``bootstrap.py`` calls
where there is a C compiler) makes extension modules of them, in a folder that is named after what they were
made of; they are used if that is what the sources are now. (An installed package has none.)
"""

import hashlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

#: Set it to run without them.
PURE_VARIABLE = "SFSS_PURE"

PACKAGE = Path(__file__).resolve().parent
#: What every request passes, in groups: a call within one costs less than a call into another, and they are compiled
#: side by side. Nothing outside may change an attribute of their classes.
GROUPS = {
    name: tuple(f"sfss.{module}" for module in modules.split())
    for name, modules in {
        "sfss_core": (
            "http.messages http.framing http.exchange http.handler http.connection http.server admission "
            "web.operations web.dispatch web.query web.access_log web.request_metrics web.request_ids "
            "web.uploads web.forms web.pieces web.content_headers web.conditional web.auth web.api.files "
            "service metrics.families completion memcache.connection memcache.protocol memcache.endpoint "
            "memcache.endpoint_stats memcache.keys stores.pool stores.pool_tries stores.pool_operations "
            "stores.hedging models paths disk.folder_reading"
        ),
        "sfss_more": (
            "web.api.nodes replication.node replication.entries replication.names replication.digests "
            "replication.clock replication.merkle "
            "beansdb.hashing beansdb.versions beansdb.connection beansdb.node beansdb.part beansdb.units "
            "beansdb.reads beansdb.writes beansdb.cluster stores.beansdb "
            "objects.contents objects.rows objects.users objects.writing objects.service web.streams "
            "web.api.object_headers web.api.streaming web.api.swift web.api.swift_objects web.api.swift_headers "
            "web.api.s3_signature"
        ),
    }.items()
}
MODULES = tuple(module for modules in GROUPS.values() for module in modules)


def source_of(module: str) -> Path:
    return PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")


def folder() -> Path:
    """Where the extension modules lie that are made of the sources as they are, for this Python."""
    digest = hashlib.blake2b(importlib.machinery.EXTENSION_SUFFIXES[0].encode(), digest_size=12)
    digest.update(repr(GROUPS).encode())
    for module in MODULES:
        digest.update(source_of(module).read_bytes())
    return PACKAGE.parent / "build" / "compiled" / digest.hexdigest()


class _Finder:
    """Finds the extension modules in *place*, and nothing else."""

    def __init__(self, place: Path):
        suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
        self._files = {
            file.name.removesuffix(suffix): str(file)
            for file in place.iterdir()
            if file.name.endswith(suffix)
        }

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        file = self._files.get(name)
        if file is None:
            return None
        loader = importlib.machinery.ExtensionFileLoader(name, file)
        return importlib.util.spec_from_file_location(name, file, loader=loader)


def use() -> None:
    """From now on import the compiled ones, if they are there."""
    if os.environ.get(PURE_VARIABLE) or not (PACKAGE.parent / "build" / "compiled").is_dir():
        return
    place = folder()
    if place.is_dir():
        sys.meta_path.insert(0, _Finder(place))


def kind() -> str:
    """Which of them run: ``compiled``, or ``pure Python``."""
    return "compiled" if any(isinstance(finder, _Finder) for finder in sys.meta_path) else "pure Python"
