"""What the catalog does in SQLite, on a connection: in the thread that writes, or in a command."""

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from typing import Any

from sfss.disk.database import Schema
from sfss.errors import (
    AlreadyThere,
    ContainerNotEmpty,
    NoSuchContainer,
    NoSuchUser,
    NotFound,
    PreconditionFailed,
)
from sfss.objects.catalog import Changes
from sfss.objects.models import ContainerInfo, Metadata, ObjectInfo, User

#: The triggers keep the counts true whichever process writes, and whatever is killed.
_SCRIPT = """
CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL, metadata TEXT NOT NULL
);
CREATE TABLE users (
    account INTEGER NOT NULL REFERENCES accounts, name TEXT NOT NULL, key TEXT NOT NULL,
    read_only INTEGER NOT NULL, disabled INTEGER NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;
CREATE TABLE containers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account INTEGER NOT NULL REFERENCES accounts, name TEXT NOT NULL,
    created INTEGER NOT NULL, modified INTEGER NOT NULL, metadata TEXT NOT NULL,
    objects INTEGER NOT NULL, bytes INTEGER NOT NULL,
    UNIQUE (account, name)
);
CREATE TABLE objects (
    container INTEGER NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, etag TEXT NOT NULL, content_type TEXT NOT NULL, modified INTEGER NOT NULL,
    content TEXT NOT NULL, piece_size INTEGER NOT NULL, metadata TEXT NOT NULL, manifest TEXT NOT NULL,
    PRIMARY KEY (container, name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX contents ON objects (content) WHERE content <> '';
CREATE TABLE writing (content TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE garbage (content TEXT PRIMARY KEY, pieces INTEGER, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX garbage_since ON garbage (since);
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
SCHEMA = Schema(0x5346534F, 1, 4096, _SCRIPT, "a catalog of objects")  # "SFSO"

USER = (
    "SELECT account, accounts.name, users.name, key, read_only, disabled FROM users"
    " JOIN accounts ON accounts.id = account"
)
CONTAINER = "SELECT name, objects, bytes, created, modified, metadata FROM containers"
OBJECT = (
    "SELECT name, size, etag, content_type, modified, content, piece_size, metadata, manifest FROM objects"
)
_PUT = """
INSERT INTO objects (container, name, size, etag, content_type, modified, content, piece_size, metadata, manifest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (container, name) DO UPDATE SET size = excluded.size, etag = excluded.etag,
    content_type = excluded.content_type, modified = max(excluded.modified, modified + 1),
    content = excluded.content, piece_size = excluded.piece_size, metadata = excluded.metadata,
    manifest = excluded.manifest
"""


def now_us() -> int:
    return time.time_ns() // 1000


def user_of(row: tuple[Any, ...]) -> User:
    account, account_name, name, key, read_only, disabled = row
    return User(account, account_name, name, key, bool(read_only), bool(disabled))


def container_of(row: tuple[Any, ...]) -> ContainerInfo:
    name, objects, size, created, modified, metadata = row
    return ContainerInfo(name, objects, size, created, modified, json.loads(metadata))


def object_of(row: tuple[Any, ...]) -> ObjectInfo:
    name, size, etag, content_type, modified, content, piece_size, metadata, manifest = row
    known = json.loads(metadata)
    return ObjectInfo(name, size, etag, content_type, modified, content, piece_size, known, manifest)


def _changed(metadata: str, changes: Changes) -> str:
    together = json.loads(metadata) | dict(changes)
    return _text({name: value for name, value in together.items() if value is not None})


def _text(metadata: Metadata) -> str:
    return json.dumps(dict(metadata), ensure_ascii=False, separators=(",", ":"))


# Who may come in.


def secret(database: sqlite3.Connection) -> bytes:
    """Made when it is first asked for."""
    database.execute("INSERT OR IGNORE INTO state VALUES ('secret', ?)", (secrets.token_bytes(32),))
    found: bytes = database.execute("SELECT value FROM state WHERE name = 'secret'").fetchone()[0]
    return found


def add_user(database: sqlite3.Connection, account: str, name: str, key: str, *, read_only: bool) -> User:
    """:raises AlreadyThere:"""
    database.execute(
        "INSERT OR IGNORE INTO accounts (name, created, metadata) VALUES (?, ?, '{}')", (account, now_us())
    )
    (number,) = database.execute("SELECT id FROM accounts WHERE name = ?", (account,)).fetchone()
    row = (number, name, key, int(read_only), now_us())
    added = database.execute("INSERT OR IGNORE INTO users VALUES (?, ?, ?, ?, 0, ?)", row).rowcount
    if not added:
        raise AlreadyThere(f"There is a user {account}:{name} already.")
    return User(number, account, name, key, read_only)


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
        "UPDATE users SET key = coalesce(?, key), disabled = coalesce(?, disabled)"
        " WHERE name = ? AND account = (SELECT id FROM accounts WHERE name = ?)",
        (key, disabled, name, account),
    ).rowcount
    if not changed:
        raise NoSuchUser(f"There is no user {account}:{name}.")


# Accounts and containers.


def change_account(database: sqlite3.Connection, account: int, changes: Changes) -> None:
    (metadata,) = database.execute("SELECT metadata FROM accounts WHERE id = ?", (account,)).fetchone()
    database.execute("UPDATE accounts SET metadata = ? WHERE id = ?", (_changed(metadata, changes), account))


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
        (_changed(metadata, changes), now_us(), number),
    )


def delete_container(database: sqlite3.Connection, account: int, name: str) -> None:
    number = container_key(database, account, name)
    if database.execute("SELECT 1 FROM objects WHERE container = ? LIMIT 1", (number,)).fetchone():
        raise ContainerNotEmpty(f"The container {name!r} is not empty.")
    database.execute("DELETE FROM containers WHERE id = ?", (number,))


def container_key(database: sqlite3.Connection, account: int, name: str) -> int:
    """:raises NoSuchContainer:"""
    row = database.execute(
        "SELECT id FROM containers WHERE account = ? AND name = ?", (account, name)
    ).fetchone()
    if row is None:
        raise NoSuchContainer.of(name)
    number: int = row[0]
    return number


# Objects.


def put_object(
    database: sqlite3.Connection, account: int, container: str, info: ObjectInfo, *, must_be_new: bool
) -> None:
    number = container_key(database, account, container)
    old = _content_of(database, number, info.path)
    if old is not None and must_be_new:
        raise PreconditionFailed("If-None-Match does not hold: the object exists already.")
    if old is not None:
        _discard(database, *old)
    row = (number, *info[:7], _text(info.metadata), info.manifest)
    database.execute(_PUT, row)
    database.execute("DELETE FROM writing WHERE content = ?", (info.content,))


def change_object(
    database: sqlite3.Connection,
    account: int,
    container: str,
    name: str,
    metadata: Metadata,
    content_type: str | None,
) -> None:
    number = container_key(database, account, container)
    changed = database.execute(
        "UPDATE objects SET metadata = ?, content_type = coalesce(?, content_type), modified = max(?, modified + 1)"
        " WHERE container = ? AND name = ?",
        (_text(metadata), content_type, now_us(), number, name),
    ).rowcount
    if not changed:
        raise NotFound(f"There is no object {name!r}.")


def delete_object(database: sqlite3.Connection, account: int, container: str, name: str) -> None:
    number = container_key(database, account, container)
    old = _content_of(database, number, name)
    if old is None:
        raise NotFound(f"There is no object {name!r}.")
    _discard(database, *old)
    database.execute("DELETE FROM objects WHERE container = ? AND name = ?", (number, name))


def _content_of(database: sqlite3.Connection, container: int, name: str) -> tuple[str, int] | None:
    """What its content is called, and how many pieces it has."""
    row = database.execute(f"{OBJECT} WHERE container = ? AND name = ?", (container, name)).fetchone()
    if row is None:
        return None
    info = object_of(row)
    return info.content, info.pieces


def _discard(database: sqlite3.Connection, content: str, pieces: int | None) -> None:
    if content:
        database.execute("INSERT OR REPLACE INTO garbage VALUES (?, ?, ?)", (content, pieces, now_us()))


# Contents.


def begin_content(database: sqlite3.Connection, content: str) -> None:
    database.execute("INSERT OR REPLACE INTO writing VALUES (?, ?)", (content, now_us()))


def give_up(database: sqlite3.Connection, content: str, pieces: int | None) -> None:
    # Unless an object has got it: then whoever gives it up is mistaken.
    if database.execute("SELECT 1 FROM objects WHERE content = ?", (content,)).fetchone() is None:
        _discard(database, content, pieces)
    database.execute("DELETE FROM writing WHERE content = ?", (content,))


def forget_garbage(database: sqlite3.Connection, contents: Iterable[str]) -> None:
    database.executemany("DELETE FROM garbage WHERE content = ?", [(content,) for content in contents])


def known(database: sqlite3.Connection, contents: Iterable[str]) -> Iterator[str]:
    for content in contents:
        for table in ("objects", "writing", "garbage"):
            if database.execute(f"SELECT 1 FROM {table} WHERE content = ?", (content,)).fetchone():
                yield content
                break
