"""Rows of a catalog's database, and the values that are made of them, whichever database it is."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sfss.errors import IsDeleteMarker, NoSuchContainer, NoSuchVersion, NotFound
from sfss.objects.limits import check_metadata
from sfss.objects.models import NONE, AccountInfo, ContainerInfo, Metadata, ObjectInfo, Upload, User
from sfss.objects.versions import Version, place_of
from sfss.stores.listing import Page

#: Columns, in the order of the functions here.
USER_COLUMNS = "account, accounts.name, users.name, key, access_key, generation, read_only, disabled"
_COMMON = "name, size, etag, content_type, modified, content, piece_size"
OBJECT_COLUMNS = f"{_COMMON}, metadata, manifest, properties, expires, version"
#: The same for listings, without what may be long: of the manifest only what kind it is.
LISTED_COLUMNS = f"{_COMMON}, '{{}}', substr(manifest, 1, 8), properties, expires, version"
UPLOAD_COLUMNS = "id, name, content_type, metadata, started, properties"
PART_COLUMNS = "number, size, etag, modified, content, piece_size"


def parts_query(schema: str) -> str:
    """The beginning of a query of parts. *schema*: what the names of tables begin with."""
    checksum = f"SELECT checksum FROM {schema}part_checksums AS sums WHERE sums.content = parts.content"
    return f"SELECT {PART_COLUMNS}, coalesce(({checksum}), '') FROM {schema}parts AS parts"


def user_of(row: Sequence[Any]) -> User:
    *texts, read_only, disabled = row
    account, account_name, name, key, access_key, generation = texts
    return User(account, account_name, name, key, access_key, generation, bool(read_only), bool(disabled))


def account_of(row: Sequence[Any]) -> AccountInfo:
    name, containers, objects, size, created, metadata = row
    return AccountInfo(name, containers, objects, size, created, json.loads(metadata))


def container_of(row: Sequence[Any]) -> ContainerInfo:
    name, objects, size, created, modified, metadata, versioning = row
    return ContainerInfo(name, objects, size, created, modified, json.loads(metadata), versioning)


def object_of(row: Sequence[Any]) -> ObjectInfo:
    name, size, etag, content_type, modified, content, piece_size, *more = row
    metadata, manifest, properties, expires, version = more
    return ObjectInfo(
        *(name, size, etag, content_type, modified, content, piece_size),
        _read(metadata),
        manifest,
        _read(properties),
        expires,
        version,
    )


def version_of(row: Sequence[Any]) -> Version:
    """Of a row of :func:`listed_versions`."""
    *own, is_marker, is_latest = row
    info = object_of(own)
    return Version(place_of(info.path, info.modified), info, bool(is_marker), bool(is_latest))


def listed_versions(schema: str, sign: str) -> str:
    """The query of a listing. *schema*: what the names of tables begin with; *sign*: what places are written with.

    Its arguments: the container, a name and a time (see :func:`sfss.objects.versions.bound_in`), a limit.
    """
    which = f"container = {sign}1 AND name >= {sign}2 AND (name > {sign}2 OR modified < {sign}3)"
    newest = (
        f"NOT EXISTS (SELECT 1 FROM {schema}objects AS o WHERE o.container = v.container AND o.name = v.name)"
        f" AND modified = (SELECT max(modified) FROM {schema}versions AS w"
        " WHERE w.container = v.container AND w.name = v.name)"
    )
    current = (
        f"SELECT * FROM (SELECT {LISTED_COLUMNS}, false AS is_marker, true AS is_latest FROM {schema}objects"
        f" WHERE {which} ORDER BY name LIMIT {sign}4) AS current"
    )
    kept = (
        f"SELECT * FROM (SELECT {LISTED_COLUMNS}, is_marker, {newest} AS is_latest FROM {schema}versions AS v"
        f" WHERE {which} ORDER BY name, modified DESC LIMIT {sign}4) AS kept"
    )
    return f"{current} UNION ALL {kept} ORDER BY name, modified DESC LIMIT {sign}4"


def upload_of(row: Sequence[Any]) -> Upload:
    id, name, content_type, metadata, started, properties = row
    return Upload(id, name, content_type, _read(metadata), started, _read(properties))


def _read(text: str) -> Metadata:
    found: Metadata = json.loads(text) if text != "{}" else NONE
    return found


def columns_of(info: ObjectInfo) -> tuple[Any, ...]:
    """In the order of :data:`OBJECT_COLUMNS`."""
    metadata, properties = metadata_text(info.metadata), metadata_text(info.properties)
    return (*info[:7], metadata, info.manifest, properties, info.expires, info.version)


def there(info: ObjectInfo) -> ObjectInfo:
    """*info*, if its time is not over. :raises NotFound:"""
    if is_over(info):
        raise NotFound(f"There is no object {info.path!r}.")
    return info


def is_over(info: ObjectInfo) -> bool:
    return bool(info.expires) and info.expires <= time.time()


def kept_version(row: Sequence[Any] | None, name: str) -> ObjectInfo:
    """What was found of a version that is kept: its columns, and whether it is a marker.

    :raises NoSuchVersion: :raises IsDeleteMarker:
    """
    if row is None:
        raise NoSuchVersion.of(name)
    *own, is_marker = row
    if is_marker:
        raise IsDeleteMarker.of(name)
    return there(object_of(own))


def changed_properties(info: ObjectInfo, changes: Mapping[str, str | None]) -> str:
    """Their text, with these *changes*. Who asks for them has looked at their sizes."""
    together = dict(info.properties) | dict(changes)
    return metadata_text({name: value for name, value in together.items() if value is not None})


def upload_marker(marker: str) -> tuple[str, str]:
    """From behind which upload on they are listed: its name and its id; or all of a name, if that is all it says."""
    name, null, id = marker.partition("\0")
    return name, id if null or not name else "\x7f"


def uploads_page(rows: Sequence[Sequence[Any]], limit: int) -> Page[Upload]:
    """Of one row more than so many, if there are more."""
    found = [upload_of(row) for row in rows[:limit]]
    return Page(found, [], f"{found[-1].path}\0{found[-1].id}" if len(rows) > limit and found else None)


def key_of(row: Sequence[Any] | None, name: str) -> int:
    """That of the container *name*, if it was found. :raises NoSuchContainer:"""
    if row is None:
        raise NoSuchContainer.of(name)
    key: int = row[0]
    return key


def metadata_text(metadata: Metadata) -> str:
    if not metadata:
        return "{}"
    return json.dumps(dict(metadata), ensure_ascii=False, separators=(",", ":"))


def changed(metadata: str, changes: Mapping[str, str | None]) -> str:
    """The text of *metadata*, with these *changes*. :raises InvalidRequest: if that is too much."""
    together = json.loads(metadata) | dict(changes)
    left = {name: value for name, value in together.items() if value is not None}
    check_metadata(left)
    return metadata_text(left)
