"""What the catalog does in SQLite, on a connection: in the thread that writes, or in a command."""

import sqlite3
from collections.abc import Sequence
from importlib.resources import files

from sfss.disk.database import Schema
from sfss.errors import (
    ContainerNotEmpty,
    NoSuchContainer,
    NoSuchUpload,
    NotFound,
    PreconditionFailed,
)
from sfss.objects import sqlite_versions
from sfss.objects.catalog import Changes
from sfss.objects.clock import now_us
from sfss.objects.models import NONE, Metadata, ObjectInfo, Upload, UploadedPart
from sfss.objects.rows import (
    LISTED_COLUMNS,
    OBJECT_COLUMNS,
    UPLOAD_COLUMNS,
    changed,
    changed_properties,
    columns_of,
    is_over,
    kept_version,
    key_of,
    listed_versions,
    metadata_text,
    object_of,
)
from sfss.objects.sqlite_contents import (
    PART,
    check_content,
    discard_all_parts,
    discard_content,
    discard_parts,
)
from sfss.objects.sqlite_versions import discard_null, keep, newest, version_with
from sfss.objects.versions import ENABLED, OFF, Deleted, new_version

_SCRIPT = files("sfss.objects").joinpath("sqlite_schema.sql").read_text("utf-8")
_ADDITION = files("sfss.objects").joinpath("sqlite_addition.sql").read_text("utf-8")
SCHEMA = Schema(0x5346534F, 2, 4096, _SCRIPT, "a catalog of objects", _ADDITION, "part_checksums")  # "SFSO"

#: The key of a container, by its account and its name.
CONTAINER_KEY = "SELECT id FROM containers WHERE account = ? AND name = ?"
CONTAINER = "SELECT name, objects, bytes, created, modified, metadata, versioning FROM containers"
CONTAINERS_NAMED = (
    "SELECT account, accounts.name, c.name, c.objects, c.bytes, c.created, c.modified, c.metadata, c.versioning"
    " FROM containers AS c JOIN accounts ON accounts.id = account WHERE c.name = ? ORDER BY c.id"
)
OBJECT = f"SELECT {OBJECT_COLUMNS} FROM objects"
_OF_OBJECTS = ", ".join(f"objects.{column.strip()}" for column in OBJECT_COLUMNS.split(","))
_PLACE = (
    f"SELECT id, versioning, {_OF_OBJECTS} FROM containers"
    " LEFT JOIN objects ON container = id AND objects.name = ? WHERE account = ? AND containers.name = ?"
)
_OF_VERSION = "WHERE container = ?1 AND name = ?2 AND version = ?3"
VERSION = (  # at one moment: it may be on its way from one to the other
    f"SELECT {OBJECT_COLUMNS}, 0 AS is_marker FROM objects {_OF_VERSION}"
    f" UNION ALL SELECT {OBJECT_COLUMNS}, is_marker FROM versions {_OF_VERSION}"
)
VERSIONS = listed_versions("", "?")
LISTED = f"SELECT {LISTED_COLUMNS} FROM objects"
UPLOAD = f"SELECT {UPLOAD_COLUMNS} FROM uploads"
_PUT = f"""
INSERT INTO objects (container, {OBJECT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (container, name) DO UPDATE SET size = excluded.size, etag = excluded.etag,
    content_type = excluded.content_type, modified = max(excluded.modified, modified + 1),
    content = excluded.content, piece_size = excluded.piece_size, metadata = excluded.metadata,
    manifest = excluded.manifest, properties = excluded.properties, expires = excluded.expires,
    version = excluded.version
"""


def take_turn(database: sqlite3.Connection, what: str, interval: float) -> bool:
    now = now_us()
    changed = database.execute(
        "INSERT INTO state VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE value < ?",
        (f"turn {what}", now, now - int(interval * 1_000_000)),
    ).rowcount
    return bool(changed)


# Accounts and containers.


def change_account(database: sqlite3.Connection, account: int, changes: Changes) -> None:
    (metadata,) = database.execute("SELECT metadata FROM accounts WHERE id = ?", (account,)).fetchone()
    database.execute("UPDATE accounts SET metadata = ? WHERE id = ?", (changed(metadata, changes), account))


def make_container(database: sqlite3.Connection, account: int, name: str, changes: Changes) -> bool:
    now = now_us()
    is_new = database.execute(
        "INSERT OR IGNORE INTO containers (account, name, created, modified, metadata, objects, bytes)"
        " VALUES (?, ?, ?, ?, '{}', 0, 0)",
        (account, name, now, now),
    ).rowcount
    if changes:
        change_container(database, account, name, changes)
    return bool(is_new)


def change_container(database: sqlite3.Connection, account: int, name: str, changes: Changes) -> None:
    row = database.execute(
        "SELECT id, metadata FROM containers WHERE account = ? AND name = ?", (account, name)
    ).fetchone()
    if row is None:
        raise NoSuchContainer.of(name)
    number, metadata = row
    database.execute(
        "UPDATE containers SET metadata = ?, modified = ? WHERE id = ?",
        (changed(metadata, changes), now_us(), number),
    )


def delete_container(database: sqlite3.Connection, account: int, name: str) -> None:
    number = container_key(database, account, name)
    for table in ("objects", "versions"):
        if database.execute(f"SELECT 1 FROM {table} WHERE container = ? LIMIT 1", (number,)).fetchone():
            raise ContainerNotEmpty(f"The container {name!r} is not empty.")
    for (upload,) in database.execute("SELECT id FROM uploads WHERE container = ?", (number,)).fetchall():
        abort_upload(database, upload)
    database.execute("DELETE FROM containers WHERE id = ?", (number,))


def container_key(database: sqlite3.Connection, account: int, name: str) -> int:
    """:raises NoSuchContainer:"""
    return key_of(database.execute(CONTAINER_KEY, (account, name)).fetchone(), name)


# Objects.


def put_object(
    database: sqlite3.Connection,
    account: int,
    container: str,
    info: ObjectInfo,
    *,
    must_be_new: bool,
    must_have: str | None = None,
) -> str:
    """The version that it has."""
    number, versioning, old = _place_of(database, account, container, info.path)
    is_there = old is not None and not is_over(old)
    if is_there and must_be_new:
        raise PreconditionFailed("If-None-Match does not hold: the object exists already.")
    if must_have is not None and not is_there:
        raise NotFound(f"There is no object {info.path!r}.")
    if must_have is not None and old is not None and must_have not in ("*", old.etag):
        raise PreconditionFailed(f"If-Match does not hold: the object's ETag is {old.etag}.")
    if info.content:
        check_content(database, info.content)
    if versioning != OFF and (known := version_with(database, number, info)) is not None:
        return known  # this has happened, and another one has come since
    version = new_version() if versioning == ENABLED else ""
    if old is not None and info.content and old.content == info.content:
        version = old.version  # this has happened already, and was not believed
    elif old is not None:
        _put_aside(database, number, old, version)
    modified = info.modified
    if versioning != OFF:
        if not version:
            discard_null(database, number, info.path)
        modified = max(modified, newest(database, number, info.path) + 1)
    database.execute(_PUT, (number, *columns_of(info._replace(version=version, modified=modified))))
    if info.pieces > 1:  # smaller ones do not say that they are being written
        database.execute("DELETE FROM writing WHERE content = ?", (info.content,))
    return version


def _put_aside(database: sqlite3.Connection, container: int, old: ObjectInfo, version: str) -> None:
    """What is there makes room for *version*."""
    if version or old.version:
        keep(database, container, old)
    else:
        discard_content(database, old)


def change_object(
    database: sqlite3.Connection,
    account: int,
    container: str,
    name: str,
    metadata: Metadata,
    content_type: str | None,
    expires: int,
) -> None:
    number, _, old = _place_of(database, account, container, name)
    if old is None or is_over(old):
        raise NotFound(f"There is no object {name!r}.")
    database.execute(
        "UPDATE objects SET metadata = ?, content_type = coalesce(?, content_type), expires = ?,"
        " modified = max(?, modified + 1) WHERE container = ? AND name = ?",
        (metadata_text(metadata), content_type, expires, now_us(), number, name),
    )


def set_properties(
    database: sqlite3.Connection,
    account: int,
    container: str,
    name: str,
    changes: Changes,
    version: str | None,
) -> None:
    number, _, info = _place_of(database, account, container, name)
    if version is not None and (info is None or info.version != version):
        info = kept_version(sqlite_versions.version(database, number, name, version), name)
        database.execute(
            "UPDATE versions SET properties = ? WHERE container = ? AND name = ? AND version = ?",
            (changed_properties(info, changes), number, name, version),
        )
        return
    if info is None or is_over(info):
        raise NotFound(f"There is no object {name!r}.")
    database.execute(
        "UPDATE objects SET properties = ? WHERE container = ? AND name = ?",
        (changed_properties(info, changes), number, name),
    )


def expire(database: sqlite3.Connection, before: int, limit: int) -> int:
    rows = database.execute(
        f"SELECT container, versioning, {_OF_OBJECTS} FROM objects JOIN containers ON id = container"
        " WHERE expires > 0 AND expires <= ? LIMIT ?",
        (before, limit),
    ).fetchall()
    for container, versioning, *row in rows:
        info = object_of(row)
        _delete(database, container, versioning, info.path, info)
    return len(rows)


def delete_object(
    database: sqlite3.Connection,
    account: int,
    container: str,
    name: str,
    *,
    must_have: str | None,
    before: int | None,
) -> Deleted:
    number, versioning, old = _place_of(database, account, container, name)
    if old is None and (versioning == OFF or must_have is not None or before is not None):
        raise NotFound(f"There is no object {name!r}.")
    if old is not None and must_have not in (None, "*", old.etag):
        raise PreconditionFailed(f"If-Match does not hold: the object's ETag is {old.etag}.")
    if old is not None and before is not None and old.modified >= before:
        raise PreconditionFailed("The object is newer.")
    return _delete(database, number, versioning, name, old)


def _delete(
    database: sqlite3.Connection, container: int, versioning: int, name: str, old: ObjectInfo | None
) -> Deleted:
    version = new_version() if versioning == ENABLED else ""
    if old is not None:
        _put_aside(database, container, old, version)
        database.execute("DELETE FROM objects WHERE container = ? AND name = ?", (container, name))
    if versioning == OFF:
        return Deleted("", False)
    if not version:
        discard_null(database, container, name)
    modified = max(now_us(), newest(database, container, name) + 1)
    marker = ObjectInfo(name, 0, "", "", modified, "", 1, NONE, version=version)
    keep(database, container, marker, is_marker=True)
    return Deleted(version, True)


def delete_version(
    database: sqlite3.Connection, account: int, container: str, name: str, version: str
) -> Deleted:
    number, _, old = _place_of(database, account, container, name)
    return sqlite_versions.delete_version(database, number, name, version, old)


def set_versioning(database: sqlite3.Connection, account: int, container: str, versioning: int) -> None:
    number = container_key(database, account, container)
    database.execute("UPDATE containers SET versioning = ? WHERE id = ?", (versioning, number))


def expire_versions(
    database: sqlite3.Connection, account: int, container: str, prefix: str, before: int, limit: int
) -> int:
    number = container_key(database, account, container)
    return sqlite_versions.expire_versions(database, number, prefix, before, limit)


def _place_of(
    database: sqlite3.Connection, account: int, container: str, name: str
) -> tuple[int, int, ObjectInfo | None]:
    """The key of the container, whether it keeps versions, and what is there. :raises NoSuchContainer:"""
    row = database.execute(_PLACE, (name, account, container)).fetchone()
    return key_of(row, container), row[1], None if row[2] is None else object_of(row[2:])


# Uploads in parts.


def begin_upload(database: sqlite3.Connection, account: int, container: str, upload: Upload) -> None:
    number = container_key(database, account, container)
    metadata, properties = metadata_text(upload.metadata), metadata_text(upload.properties)
    row = (upload.id, number, upload.path, upload.content_type, metadata, upload.started, properties)
    database.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def put_part(database: sqlite3.Connection, upload: str, part: UploadedPart) -> None:
    if database.execute("SELECT 1 FROM uploads WHERE id = ?", (upload,)).fetchone() is None:
        raise NoSuchUpload.of(upload)
    check_content(database, part.content)
    old = database.execute(f"{PART} WHERE upload = ? AND number = ?", (upload, part.number)).fetchone()
    if old is not None and UploadedPart(*old).content != part.content:
        discard_parts(database, upload, [part.number])
    *row, checksum = part
    database.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)", (upload, *row))
    if checksum:
        database.execute("INSERT OR REPLACE INTO part_checksums VALUES (?, ?)", (part.content, checksum))
    database.execute("DELETE FROM writing WHERE content = ?", (part.content,))


def complete_upload(
    database: sqlite3.Connection,
    account: int,
    container: str,
    info: ObjectInfo,
    parts: Sequence[UploadedPart],
    *,
    must_be_new: bool,
    must_have: str | None = None,
) -> str:
    found = database.execute("SELECT number, content FROM parts WHERE upload = ?", (info.content,)).fetchall()
    if database.execute("SELECT 1 FROM uploads WHERE id = ?", (info.content,)).fetchone() is None:
        raise NoSuchUpload.of(info.content)
    have = dict(found)
    if any(have.get(part.number) != part.content for part in parts):
        raise NoSuchUpload(f"Parts of the upload {info.content!r} are not there any more.")
    version = put_object(database, account, container, info, must_be_new=must_be_new, must_have=must_have)
    named = {part.number for part in parts}
    discard_parts(database, info.content, sorted(have.keys() - named))
    database.execute("DELETE FROM uploads WHERE id = ?", (info.content,))
    return version


def abort_upload(database: sqlite3.Connection, upload: str) -> None:
    if not database.execute("DELETE FROM uploads WHERE id = ?", (upload,)).rowcount:
        raise NoSuchUpload.of(upload)
    discard_all_parts(database, upload)
