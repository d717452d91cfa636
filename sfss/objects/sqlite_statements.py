"""What the catalog does in SQLite, on a connection: in the thread that writes, or in a command."""

import base64
import secrets
import sqlite3
from collections.abc import Sequence
from typing import Any

from sfss.disk.database import Schema
from sfss.errors import (
    AlreadyThere,
    ContainerNotEmpty,
    NoSuchContainer,
    NoSuchUpload,
    NoSuchUser,
    NotFound,
    PreconditionFailed,
)
from sfss.objects.catalog import Changes
from sfss.objects.clock import now_us
from sfss.objects.models import Metadata, ObjectInfo, Upload, UploadedPart, User
from sfss.objects.rows import (
    LISTED_COLUMNS,
    OBJECT_COLUMNS,
    UPLOAD_COLUMNS,
    USER_COLUMNS,
    changed,
    columns_of,
    is_over,
    key_of,
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

#: The triggers keep the counts true whichever process writes, and whatever is killed.
_SCRIPT = """
CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL, metadata TEXT NOT NULL,
    containers INTEGER NOT NULL DEFAULT 0, objects INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE users (
    account INTEGER NOT NULL REFERENCES accounts, name TEXT NOT NULL, key TEXT NOT NULL,
    access_key TEXT NOT NULL UNIQUE, read_only INTEGER NOT NULL, disabled INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;
CREATE TABLE containers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account INTEGER NOT NULL REFERENCES accounts, name TEXT NOT NULL,
    created INTEGER NOT NULL, modified INTEGER NOT NULL, metadata TEXT NOT NULL,
    objects INTEGER NOT NULL, bytes INTEGER NOT NULL,
    UNIQUE (account, name)
);
CREATE INDEX containers_by_name ON containers (name);
CREATE TABLE objects (
    container INTEGER NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, etag TEXT NOT NULL, content_type TEXT NOT NULL, modified INTEGER NOT NULL,
    content TEXT NOT NULL, piece_size INTEGER NOT NULL, metadata TEXT NOT NULL, manifest TEXT NOT NULL,
    properties TEXT NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (container, name)
) WITHOUT ROWID;
CREATE INDEX expiring ON objects (expires) WHERE expires > 0;
CREATE UNIQUE INDEX contents ON objects (content) WHERE content <> '';
CREATE TABLE uploads (
    id TEXT PRIMARY KEY, container INTEGER NOT NULL, name TEXT NOT NULL,
    content_type TEXT NOT NULL, metadata TEXT NOT NULL, started INTEGER NOT NULL, properties TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_by_name ON uploads (container, name, id);
CREATE TABLE parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    modified INTEGER NOT NULL, content TEXT NOT NULL, piece_size INTEGER NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX part_contents ON parts (content) WHERE content <> '';
CREATE TABLE writing (content TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE garbage (
    content TEXT PRIMARY KEY, pieces INTEGER, since INTEGER NOT NULL, is_removed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX garbage_since ON garbage (is_removed, since);
CREATE TRIGGER containers_insert AFTER INSERT ON containers BEGIN
    UPDATE accounts SET containers = containers + 1 WHERE id = new.account;
END;
CREATE TRIGGER containers_delete AFTER DELETE ON containers BEGIN
    UPDATE accounts SET containers = containers - 1 WHERE id = old.account;
END;
CREATE TRIGGER containers_update AFTER UPDATE OF objects, bytes ON containers BEGIN
    UPDATE accounts SET objects = objects + new.objects - old.objects, bytes = bytes + new.bytes - old.bytes
        WHERE id = new.account;
END;
CREATE TRIGGER objects_insert AFTER INSERT ON objects BEGIN
    UPDATE containers SET objects = objects + 1, bytes = bytes + new.size WHERE id = new.container;
END;
CREATE TRIGGER objects_update AFTER UPDATE OF size ON objects BEGIN
    UPDATE containers SET bytes = bytes + new.size - old.size WHERE id = new.container;
END;
CREATE TRIGGER objects_delete AFTER DELETE ON objects BEGIN
    UPDATE containers SET objects = objects - 1, bytes = bytes - old.size WHERE id = old.container;
END;
"""
SCHEMA = Schema(0x5346534F, 2, 4096, _SCRIPT, "a catalog of objects")  # "SFSO"

USER = f"SELECT {USER_COLUMNS} FROM users JOIN accounts ON accounts.id = account"
#: The key of a container, by its account and its name.
CONTAINER_KEY = "SELECT id FROM containers WHERE account = ? AND name = ?"
CONTAINER = "SELECT name, objects, bytes, created, modified, metadata FROM containers"
CONTAINERS_NAMED = (
    "SELECT account, accounts.name, containers.name, containers.objects, containers.bytes, containers.created,"
    " containers.modified, containers.metadata FROM containers JOIN accounts ON accounts.id = account"
    " WHERE containers.name = ? ORDER BY containers.id"
)
OBJECT = f"SELECT {OBJECT_COLUMNS} FROM objects"
_PLACE = (
    f"SELECT id, {', '.join(f'objects.{column.strip()}' for column in OBJECT_COLUMNS.split(','))} FROM containers"
    " LEFT JOIN objects ON container = id AND objects.name = ? WHERE account = ? AND containers.name = ?"
)
LISTED = f"SELECT {LISTED_COLUMNS} FROM objects"
UPLOAD = f"SELECT {UPLOAD_COLUMNS} FROM uploads"
_PUT = f"""
INSERT INTO objects (container, {OBJECT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (container, name) DO UPDATE SET size = excluded.size, etag = excluded.etag,
    content_type = excluded.content_type, modified = max(excluded.modified, modified + 1),
    content = excluded.content, piece_size = excluded.piece_size, metadata = excluded.metadata,
    manifest = excluded.manifest, properties = excluded.properties, expires = excluded.expires
"""


def take_turn(database: sqlite3.Connection, what: str, interval: float) -> bool:
    now = now_us()
    changed = database.execute(
        "INSERT INTO state VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE value < ?",
        (f"turn {what}", now, now - int(interval * 1_000_000)),
    ).rowcount
    return bool(changed)


# Who may come in.


def identity(database: sqlite3.Connection) -> str:
    """What tells this catalog from others over the same store. Made when it is first asked for."""
    found: str = _made_once(database, "id", secrets.token_hex(8))
    return found


def secret(database: sqlite3.Connection) -> bytes:
    """Made when it is first asked for."""
    found: bytes = _made_once(database, "secret", secrets.token_bytes(32))
    return found


def _made_once(database: sqlite3.Connection, name: str, value: str | bytes) -> Any:
    database.execute("INSERT OR IGNORE INTO state VALUES (?, ?)", (name, value))
    return database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()[0]


def add_user(database: sqlite3.Connection, account: str, name: str, key: str, *, read_only: bool) -> User:
    """:raises AlreadyThere:"""
    database.execute(
        "INSERT OR IGNORE INTO accounts (name, created, metadata) VALUES (?, ?, '{}')", (account, now_us())
    )
    (number,) = database.execute("SELECT id FROM accounts WHERE name = ?", (account,)).fetchone()
    access_key = "SFSS" + base64.b32encode(secrets.token_bytes(10)).decode()
    row = (number, name, key, access_key, int(read_only), now_us())
    added = database.execute("INSERT OR IGNORE INTO users VALUES (?, ?, ?, ?, ?, 0, 0, ?)", row).rowcount
    if not added:
        raise AlreadyThere(f"There is a user {account}:{name} already.")
    return User(number, account, name, key, access_key, 0, read_only)


def change_user(
    database: sqlite3.Connection,
    account: str,
    name: str,
    *,
    key: str | None = None,
    disabled: bool | None = None,
) -> None:
    """:raises NoSuchUser:"""
    changed = database.execute(
        "UPDATE users SET key = coalesce(?, key), disabled = coalesce(?, disabled), generation = generation + 1"
        " WHERE name = ? AND account = (SELECT id FROM accounts WHERE name = ?)",
        (key, disabled, name, account),
    ).rowcount
    if not changed:
        raise NoSuchUser(f"There is no user {account}:{name}.")


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
    if database.execute("SELECT 1 FROM objects WHERE container = ? LIMIT 1", (number,)).fetchone():
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
) -> None:
    number, old = _place_of(database, account, container, info.path)
    is_there = old is not None and not is_over(old)
    if is_there and must_be_new:
        raise PreconditionFailed("If-None-Match does not hold: the object exists already.")
    if must_have is not None and not is_there:
        raise NotFound(f"There is no object {info.path!r}.")
    if must_have is not None and old is not None and must_have not in ("*", old.etag):
        raise PreconditionFailed(f"If-Match does not hold: the object's ETag is {old.etag}.")
    if info.content:
        check_content(database, info.content)
    # (The same content: this has happened already, and was not believed.)
    if old is not None and old.content != info.content:
        discard_content(database, old)
    database.execute(_PUT, (number, *columns_of(info)))
    if info.pieces > 1:  # smaller ones do not say that they are being written
        database.execute("DELETE FROM writing WHERE content = ?", (info.content,))


def change_object(
    database: sqlite3.Connection,
    account: int,
    container: str,
    name: str,
    metadata: Metadata,
    content_type: str | None,
    expires: int,
) -> None:
    number, old = _place_of(database, account, container, name)
    if old is None or is_over(old):
        raise NotFound(f"There is no object {name!r}.")
    database.execute(
        "UPDATE objects SET metadata = ?, content_type = coalesce(?, content_type), expires = ?,"
        " modified = max(?, modified + 1) WHERE container = ? AND name = ?",
        (metadata_text(metadata), content_type, expires, now_us(), number, name),
    )


def set_properties(
    database: sqlite3.Connection, account: int, container: str, name: str, changes: Changes
) -> None:
    number, old = _place_of(database, account, container, name)
    if old is None or is_over(old):
        raise NotFound(f"There is no object {name!r}.")
    database.execute(
        "UPDATE objects SET properties = ? WHERE container = ? AND name = ?",
        (changed(metadata_text(old.properties), changes), number, name),
    )


def expire(database: sqlite3.Connection, before: int, limit: int) -> int:
    rows = database.execute(
        f"SELECT container, {OBJECT_COLUMNS} FROM objects WHERE expires > 0 AND expires <= ? LIMIT ?",
        (before, limit),
    ).fetchall()
    for container, *row in rows:
        info = object_of(row)
        discard_content(database, info)
        database.execute("DELETE FROM objects WHERE container = ? AND name = ?", (container, info.path))
    return len(rows)


def delete_object(
    database: sqlite3.Connection,
    account: int,
    container: str,
    name: str,
    *,
    must_have: str | None,
    before: int | None,
) -> None:
    number, old = _place_of(database, account, container, name)
    if old is None:
        raise NotFound(f"There is no object {name!r}.")
    if must_have not in (None, "*", old.etag):
        raise PreconditionFailed(f"If-Match does not hold: the object's ETag is {old.etag}.")
    if before is not None and old.modified >= before:
        raise PreconditionFailed("The object is newer.")
    discard_content(database, old)
    database.execute("DELETE FROM objects WHERE container = ? AND name = ?", (number, name))


def _place_of(
    database: sqlite3.Connection, account: int, container: str, name: str
) -> tuple[int, ObjectInfo | None]:
    """The key of the container, and what is there. :raises NoSuchContainer:"""
    row = database.execute(_PLACE, (name, account, container)).fetchone()
    return key_of(row, container), None if row is None or row[1] is None else object_of(row[1:])


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
    row = (upload, *part)
    database.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    database.execute("DELETE FROM writing WHERE content = ?", (part.content,))


def complete_upload(
    database: sqlite3.Connection,
    account: int,
    container: str,
    info: ObjectInfo,
    numbers: Sequence[int],
    *,
    must_be_new: bool,
    must_have: str | None = None,
) -> None:
    found = database.execute("SELECT number FROM parts WHERE upload = ?", (info.content,)).fetchall()
    if database.execute("SELECT 1 FROM uploads WHERE id = ?", (info.content,)).fetchone() is None:
        raise NoSuchUpload.of(info.content)
    have = {number for (number,) in found}
    if not have.issuperset(numbers):
        raise NoSuchUpload(f"Parts of the upload {info.content!r} are not there any more.")
    put_object(database, account, container, info, must_be_new=must_be_new, must_have=must_have)
    discard_parts(database, info.content, sorted(have.difference(numbers)))
    database.execute("DELETE FROM uploads WHERE id = ?", (info.content,))


def abort_upload(database: sqlite3.Connection, upload: str) -> None:
    if not database.execute("DELETE FROM uploads WHERE id = ?", (upload,)).rowcount:
        raise NoSuchUpload.of(upload)
    discard_all_parts(database, upload)
