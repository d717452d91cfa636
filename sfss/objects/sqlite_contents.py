"""What the catalog knows of contents, in SQLite: which are in use, which are being written, which are garbage."""

import sqlite3
from collections.abc import Iterable, Iterator

from sfss.objects.catalog import given_up
from sfss.objects.clock import now_us
from sfss.objects.models import IN_PARTS, ObjectInfo, UploadedPart, pieces_of
from sfss.objects.rows import parts_query

#: Of no object without bytes: else SQLite would not use the index.
_IS = "content = ? AND content <> ''"
PART = parts_query("")


def discard_content(database: sqlite3.Connection, info: ObjectInfo) -> None:
    if info.manifest == IN_PARTS:
        discard_all_parts(database, info.content)
    else:
        discard(database, info.content, info.pieces)


def check_content(database: sqlite3.Connection, content: str) -> None:
    """:raises NoStoreAvailable: if it was given up meanwhile."""
    if database.execute("SELECT 1 FROM garbage WHERE content = ?", (content,)).fetchone() is not None:
        raise given_up()


def discard(database: sqlite3.Connection, content: str, pieces: int | None) -> None:
    if content:
        row = (content, pieces, now_us())
        database.execute(
            # (What was removed, and was written to all the same, is garbage once more.)
            "INSERT INTO garbage VALUES (?, ?, ?, 0) ON CONFLICT (content) DO UPDATE"
            " SET is_removed = 0, since = excluded.since, pieces = NULL WHERE is_removed",
            row,
        )


def discard_all_parts(database: sqlite3.Connection, upload: str) -> None:
    rows = database.execute("SELECT number FROM parts WHERE upload = ?", (upload,)).fetchall()
    discard_parts(database, upload, [number for (number,) in rows])


def discard_parts(database: sqlite3.Connection, upload: str, numbers: Iterable[int]) -> None:
    for number in numbers:
        row = database.execute(f"{PART} WHERE upload = ? AND number = ?", (upload, number)).fetchone()
        if row is not None:
            part = UploadedPart(*row)
            discard(database, part.content, pieces_of(part.size, part.piece_size))
            database.execute("DELETE FROM parts WHERE upload = ? AND number = ?", (upload, number))


def begin_content(database: sqlite3.Connection, content: str) -> None:
    database.execute("INSERT OR REPLACE INTO writing VALUES (?, ?)", (content, now_us()))


def give_up(database: sqlite3.Connection, content: str, pieces: int | None) -> None:
    # Unless an object has got it: then whoever gives it up is mistaken.
    if not any(
        database.execute(f"SELECT 1 FROM {table} WHERE {_IS}", (content,)).fetchone()
        for table in ("objects", "versions", "parts")
    ):
        discard(database, content, pieces)
    database.execute("DELETE FROM writing WHERE content = ?", (content,))


#: What is due. What an object has is none, whatever is believed of it.
GARBAGE = (
    "SELECT content, pieces FROM garbage WHERE is_removed = 0 AND since < ?"
    " AND NOT EXISTS (SELECT 1 FROM objects WHERE objects.content = garbage.content AND objects.content <> '')"
    " AND NOT EXISTS (SELECT 1 FROM versions WHERE versions.content = garbage.content AND versions.content <> '')"
    " AND NOT EXISTS (SELECT 1 FROM parts WHERE parts.content = garbage.content AND parts.content <> '')"
    " ORDER BY since LIMIT ?"
)


def removed(database: sqlite3.Connection, contents: Iterable[str]) -> None:
    """They stay known for a while: whoever still writes one must not get it named."""
    database.executemany(
        "UPDATE garbage SET is_removed = 1, since = ? WHERE content = ?",
        [(now_us(), content) for content in contents],
    )


def put_off(database: sqlite3.Connection, content: str) -> None:
    database.execute("UPDATE garbage SET since = ? WHERE content = ?", (now_us(), content))


def forget_removed(database: sqlite3.Connection, before: int) -> None:
    database.execute("DELETE FROM garbage WHERE is_removed = 1 AND since < ?", (before,))


def known(database: sqlite3.Connection, contents: Iterable[str]) -> Iterator[str]:
    for content in contents:
        for table in ("objects", "versions", "parts", "writing", "garbage"):
            if database.execute(f"SELECT 1 FROM {table} WHERE {_IS}", (content,)).fetchone():
                yield content
                break
