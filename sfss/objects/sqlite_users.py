"""Who may come in, in SQLite, and what a catalog has to know itself by."""

import base64
import secrets
import sqlite3
from typing import Any

from sfss.errors import AlreadyThere, NoSuchUser
from sfss.objects.clock import now_us
from sfss.objects.models import User
from sfss.objects.rows import USER_COLUMNS

USER = f"SELECT {USER_COLUMNS} FROM users JOIN accounts ON accounts.id = account"


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
    read_only: bool | None = None,
    disabled: bool | None = None,
) -> None:
    """:raises NoSuchUser:"""
    changed = database.execute(
        "UPDATE users SET key = coalesce(?, key), disabled = coalesce(?, disabled),"
        " read_only = coalesce(?, read_only), generation = generation + 1"
        " WHERE name = ? AND account = (SELECT id FROM accounts WHERE name = ?)",
        (key, disabled, read_only, name, account),
    ).rowcount
    if not changed:
        raise NoSuchUser(f"There is no user {account}:{name}.")
