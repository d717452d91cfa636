"""The values that the object service gives and takes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

#: Header name to value, as the client gave them.
Metadata = Mapping[str, str]
NONE: Metadata = MappingProxyType({})

#: The manifest of an object that was put in parts (they are the catalog's to know), and what those of objects that are
#: made of others begin with (``manifests.py``).
IN_PARTS, STATIC, DYNAMIC = "parts", "static:", "dynamic:"


def pieces_of(size: int, piece_size: int) -> int:
    """How many pieces a content of *size* bytes has."""
    return -(-size // piece_size)


class User(NamedTuple):
    """Who may use an account."""

    account: int  #: its key in the catalog
    account_name: str
    name: str
    key: str  #: the password of Swift, and the secret of S3
    access_key: str  #: by which S3 finds it, beside its full name
    generation: int = 0  #: counted up when its key or its rights change: tokens of before end
    read_only: bool = False
    disabled: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.account_name}:{self.name}"


class AccountInfo(NamedTuple):
    name: str
    containers: int
    objects: int
    bytes: int
    created: int  #: µs since the epoch, as all times here
    metadata: Metadata


class ContainerInfo(NamedTuple):
    path: str  #: its name
    objects: int
    bytes: int
    created: int
    modified: int
    metadata: Metadata
    versioning: int = 0  #: whether it keeps versions (``versions.py``)


class ObjectInfo(NamedTuple):
    path: str  #: its name
    size: int  #: bytes
    etag: str  #: MD5 of the content, 32 hex digits
    content_type: str
    modified: int
    content: str  #: what its pieces are called; "" if it has no bytes
    piece_size: int  #: of each but the last
    metadata: Metadata
    manifest: str = ""  #: of which others it is made (``manifests.py``); "": it has bytes of its own
    properties: Metadata = NONE  #: what the APIs know of it beside its metadata: its tags, who may read it
    expires: int = 0  #: seconds since the epoch; it is not there any more from then on. 0: never
    version: str = ""  #: of the object (``versions.py``); "": the null version

    @property
    def pieces(self) -> int:
        return pieces_of(self.size, self.piece_size) if self.content and self.manifest != IN_PARTS else 0


class Upload(NamedTuple):
    """An object that is put in parts, and not whole yet."""

    id: str
    path: str  #: the name that it will have
    content_type: str
    metadata: Metadata
    started: int
    properties: Metadata = NONE  #: that it will have


class UploadedPart(NamedTuple):
    """A part of an upload, or of what has become of it."""

    number: int
    size: int
    etag: str
    modified: int
    content: str
    piece_size: int
    checksum: str = ""  #: the one that the upload was begun with (S3's), in base64; "": none


class Query(NamedTuple):
    """Which part of a listing is wanted."""

    limit: int
    prefix: str = ""
    delimiter: str = ""
    marker: str = ""  #: only what comes behind it
    end_marker: str = ""  #: only what comes before it; "" for all
    reverse: bool = False


class Garbage(NamedTuple):
    """A content that no object has any more."""

    content: str
    pieces: int | None  #: None: nobody knows how many were written
