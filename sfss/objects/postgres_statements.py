"""What the catalog asks PostgreSQL, and what the functions of postgres_schema.sql answer."""

from typing import Any

from sfss.errors import (
    ContainerNotEmpty,
    NoSuchContainer,
    NoSuchUpload,
    NoSuchVersion,
    NotFound,
    PreconditionFailed,
    SfssError,
)
from sfss.objects.catalog import Changes, given_up
from sfss.objects.rows import (
    LISTED_COLUMNS,
    OBJECT_COLUMNS,
    UPLOAD_COLUMNS,
    USER_COLUMNS,
    changed_properties,
    is_over,
    kept_version,
    listed_versions,
    object_of,
    parts_query,
)

USER = f"SELECT {USER_COLUMNS} FROM sfss.users JOIN sfss.accounts ON accounts.id = account"
CONTAINER = (
    "SELECT name, coalesce(objects, 0), coalesce(bytes, 0), created, modified, metadata, versioning"
    " FROM sfss.containers"
    " LEFT JOIN LATERAL (SELECT sum(objects)::bigint AS objects, sum(bytes)::bigint AS bytes FROM sfss.counts"
    " WHERE counts.container = containers.id) AS counted ON true"
)
CONTAINERS_NAMED = (
    "SELECT account, accounts.name, containers.name, coalesce(objects, 0), coalesce(bytes, 0), containers.created,"
    " modified, containers.metadata, versioning FROM sfss.containers JOIN sfss.accounts ON accounts.id = account"
    " LEFT JOIN LATERAL (SELECT sum(objects)::bigint AS objects, sum(bytes)::bigint AS bytes FROM sfss.counts"
    " WHERE counts.container = containers.id) AS counted ON true WHERE containers.name = $1 ORDER BY containers.id"
)
TURN = (
    "INSERT INTO sfss.state VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    " WHERE state.value::bigint < $3 RETURNING true"
)
ACCOUNT = (
    "SELECT name, (SELECT count(*) FROM sfss.containers WHERE account = accounts.id),"
    " coalesce(sum(objects), 0)::bigint, coalesce(sum(bytes), 0)::bigint, created, metadata FROM sfss.accounts"
    " LEFT JOIN LATERAL (SELECT counts.objects, counts.bytes FROM sfss.counts JOIN sfss.containers"
    " ON containers.id = counts.container WHERE containers.account = accounts.id) AS counted ON true"
    " WHERE accounts.id = $1 GROUP BY accounts.id"
)
OBJECT = (
    f"SELECT {OBJECT_COLUMNS} FROM sfss.objects WHERE name = $1"
    " AND container = (SELECT id FROM sfss.containers WHERE account = $2 AND name = $3)"
)
UPLOADS = f"SELECT {UPLOAD_COLUMNS} FROM sfss.uploads"
LISTED = f"SELECT {LISTED_COLUMNS} FROM sfss.objects"
PARTS = parts_query("sfss.")
_OF_VERSION = "WHERE container = $1 AND name = $2 AND version = $3"
VERSION = (  # at one moment: it may be on its way from one to the other
    f"SELECT {OBJECT_COLUMNS}, false AS is_marker FROM sfss.objects {_OF_VERSION}"
    f" UNION ALL SELECT {OBJECT_COLUMNS}, is_marker FROM sfss.versions {_OF_VERSION}"
)
VERSIONS = listed_versions("sfss.", "$")
EXPIRE_VERSIONS = (
    "SELECT count(was_marker) FROM (SELECT sfss.remove_version(container, name, version) AS was_marker"
    " FROM sfss.versions WHERE container = $1 AND starts_with(name, $2) AND since < $3 AND NOT is_marker"
    " LIMIT $4) AS gone"
)
#: What a function answers that has done it.
DONE = frozenset(("version", "marker"))
#: What is due. What an object has is none, whatever is believed of it.
GARBAGE = (
    "SELECT content, pieces FROM sfss.garbage WHERE NOT is_removed AND since < $1 AND NOT sfss.is_named(content)"
    " ORDER BY since LIMIT $2"
)
KNOWN = (
    "SELECT content FROM unnest($1::text[]) AS asked (content) WHERE sfss.is_named(content)"
    " OR EXISTS (SELECT 1 FROM sfss.writing WHERE writing.content = asked.content)"
    " OR EXISTS (SELECT 1 FROM sfss.garbage WHERE garbage.content = asked.content)"
)


def refusal(outcome: str, container: str, name: str) -> SfssError:
    """Why a function has changed nothing, of what it answered."""
    what, _, more = outcome.partition(" ")
    if what == "other":
        return PreconditionFailed(f"If-Match does not hold: the object's ETag is {more}.")
    if outcome == "no container":
        return NoSuchContainer.of(container)
    known = {
        "no object": NotFound(f"There is no object {name!r}."),
        "no version": NoSuchVersion.of(name),
        "no upload": NoSuchUpload.of(name),
        "no parts": NoSuchUpload(f"Parts of the upload of {name!r} are not there any more."),
        "exists": PreconditionFailed("If-None-Match does not hold: the object exists already."),
        "newer": PreconditionFailed("The object is newer."),
        "not empty": ContainerNotEmpty(f"The container {name!r} is not empty."),
        "given up": given_up(),
    }
    return known[outcome]


async def set_properties(
    connection: Any, container: int, name: str, changes: Changes, version: str | None
) -> None:
    """In a transaction. :raises NotFound: :raises NoSuchVersion: :raises IsDeleteMarker:"""
    await connection.execute("SELECT sfss.lock_name($1, $2)", container, name)
    row = await connection.fetchrow(
        f"SELECT {OBJECT_COLUMNS} FROM sfss.objects WHERE container = $1 AND name = $2 FOR NO KEY UPDATE",
        *(container, name),
    )
    if version is not None and (row is None or object_of(row).version != version):
        row = await connection.fetchrow(
            f"SELECT {OBJECT_COLUMNS}, is_marker FROM sfss.versions"
            " WHERE container = $1 AND name = $2 AND version = $3 FOR NO KEY UPDATE",
            *(container, name, version),
        )
        await connection.execute(
            "UPDATE sfss.versions SET properties = $1 WHERE container = $2 AND name = $3 AND version = $4",
            *(changed_properties(kept_version(row, name), changes), container, name, version),
        )
        return
    if row is None or is_over(info := object_of(row)):
        raise NotFound(f"There is no object {name!r}.")
    await connection.execute(
        "UPDATE sfss.objects SET properties = $1 WHERE container = $2 AND name = $3",
        *(changed_properties(info, changes), container, name),
    )
