"""Versions of objects, in SQLite."""

import sqlite3
from typing import Any

from sfss.errors import NoSuchVersion
from sfss.objects.clock import now_us
from sfss.objects.models import ObjectInfo
from sfss.objects.rows import OBJECT_COLUMNS, columns_of, object_of
from sfss.objects.sqlite_contents import discard_content
from sfss.objects.versions import Deleted

_PLACES = ", ".join("?" * (2 + OBJECT_COLUMNS.count(",")))  # of the container, and of these
_KEEP = f"INSERT INTO versions (container, {OBJECT_COLUMNS}, is_marker, since) VALUES ({_PLACES}, ?, ?)"
_PROMOTE = f"INSERT INTO objects (container, {OBJECT_COLUMNS}) VALUES ({_PLACES})"
_VERSION = f"SELECT {OBJECT_COLUMNS}, is_marker FROM versions WHERE container = ? AND name = ?"


def keep(database: sqlite3.Connection, container: int, info: ObjectInfo, *, is_marker: bool = False) -> None:
    database.execute(_KEEP, (container, *columns_of(info), int(is_marker), now_us()))


def newest(database: sqlite3.Connection, container: int, name: str) -> int:
    """When the newest that is kept was put; 0: none is."""
    row = database.execute(
        "SELECT max(modified) FROM versions WHERE container = ? AND name = ?", (container, name)
    ).fetchone()
    return row[0] or 0


def version_with(database: sqlite3.Connection, container: int, info: ObjectInfo) -> str | None:
    """The version that has the same content, if that is kept."""
    row = database.execute(
        "SELECT version FROM versions WHERE content = ? AND content <> '' AND container = ? AND name = ?",
        (info.content, container, info.path),
    ).fetchone()
    return row[0] if row else None


def discard_null(database: sqlite3.Connection, container: int, name: str) -> None:
    """The null version that is kept, if there is one: another one comes in its place."""
    row = database.execute(f"{_VERSION} AND version = ''", (container, name)).fetchone()
    if row is not None:
        _remove(database, container, row)


def _remove(database: sqlite3.Connection, container: int, row: tuple[Any, ...]) -> None:
    info = object_of(row[:-1])
    discard_content(database, info)
    database.execute(
        "DELETE FROM versions WHERE container = ? AND name = ? AND version = ?",
        (container, info.path, info.version),
    )


def version(database: sqlite3.Connection, container: int, name: str, id: str) -> tuple[Any, ...] | None:
    """Its columns, and whether it is a marker."""
    found: tuple[Any, ...] | None = database.execute(
        f"{_VERSION} AND version = ?", (container, name, id)
    ).fetchone()
    return found


def delete_version(
    database: sqlite3.Connection, container: int, name: str, id: str, current: ObjectInfo | None
) -> Deleted:
    """For good. What is the newest then is what there is. :raises NoSuchVersion:"""
    is_marker = False
    if current is not None and current.version == id:
        discard_content(database, current)
        database.execute("DELETE FROM objects WHERE container = ? AND name = ?", (container, name))
        current = None
    else:
        row = version(database, container, name, id)
        if row is None:
            raise NoSuchVersion.of(name)
        is_marker = bool(row[-1])
        _remove(database, container, row)
    if current is None:
        row = database.execute(f"{_VERSION} ORDER BY modified DESC LIMIT 1", (container, name)).fetchone()
        if row is not None and not row[-1]:
            info = object_of(row[:-1])
            database.execute(_PROMOTE, (container, *columns_of(info)))
            database.execute(
                "DELETE FROM versions WHERE container = ? AND name = ? AND version = ?",
                (container, name, info.version),
            )
    return Deleted(id, is_marker)


def expire_versions(
    database: sqlite3.Connection, container: int, prefix: str, before: int, limit: int
) -> int:
    rows = database.execute(
        f"SELECT {OBJECT_COLUMNS}, is_marker FROM versions"
        " WHERE container = ? AND name >= ? AND substr(name, 1, ?) = ? AND since < ? AND NOT is_marker LIMIT ?",
        (container, prefix, len(prefix), prefix, before, limit),
    ).fetchall()
    for row in rows:
        _remove(database, container, row)
    return len(rows)
