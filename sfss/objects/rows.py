"""Rows of a catalog's database, and the values that are made of them, whichever database it is."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sfss.errors import NoSuchContainer, NotFound
from sfss.objects.limits import check_metadata
from sfss.objects.models import NONE, AccountInfo, ContainerInfo, Metadata, ObjectInfo, Upload, User

#: Columns, in the order of the functions here.
USER_COLUMNS = "account, accounts.name, users.name, key, access_key, generation, read_only, disabled"
_COMMON = "name, size, etag, content_type, modified, content, piece_size"
OBJECT_COLUMNS = f"{_COMMON}, metadata, manifest, properties, expires"
#: The same for listings, without what may be long: of the manifest only what kind it is.
LISTED_COLUMNS = f"{_COMMON}, '{{}}', substr(manifest, 1, 8), '{{}}', expires"
UPLOAD_COLUMNS = "id, name, content_type, metadata, started, properties"
PART_COLUMNS = "number, size, etag, modified, content, piece_size"


def user_of(row: Sequence[Any]) -> User:
    *texts, read_only, disabled = row
    account, account_name, name, key, access_key, generation = texts
    return User(account, account_name, name, key, access_key, generation, bool(read_only), bool(disabled))


def account_of(row: Sequence[Any]) -> AccountInfo:
    name, containers, objects, size, created, metadata = row
    return AccountInfo(name, containers, objects, size, created, json.loads(metadata))


def container_of(row: Sequence[Any]) -> ContainerInfo:
    name, objects, size, created, modified, metadata = row
    return ContainerInfo(name, objects, size, created, modified, json.loads(metadata))


def object_of(row: Sequence[Any]) -> ObjectInfo:
    name, size, etag, content_type, modified, content, piece_size, metadata, manifest, properties, expires = (
        row
    )
    return ObjectInfo(
        *(name, size, etag, content_type, modified, content, piece_size),
        _read(metadata),
        manifest,
        _read(properties),
        expires,
    )


def upload_of(row: Sequence[Any]) -> Upload:
    id, name, content_type, metadata, started, properties = row
    return Upload(id, name, content_type, _read(metadata), started, _read(properties))


def _read(text: str) -> Metadata:
    found: Metadata = json.loads(text) if text != "{}" else NONE
    return found


def columns_of(info: ObjectInfo) -> tuple[Any, ...]:
    """In the order of :data:`OBJECT_COLUMNS`."""
    metadata, properties = metadata_text(info.metadata), metadata_text(info.properties)
    return (*info[:7], metadata, info.manifest, properties, info.expires)


def there(info: ObjectInfo) -> ObjectInfo:
    """*info*, if its time is not over. :raises NotFound:"""
    if is_over(info):
        raise NotFound(f"There is no object {info.path!r}.")
    return info


def is_over(info: ObjectInfo) -> bool:
    return bool(info.expires) and info.expires <= time.time()


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
