"""What travels between nodes and into the log: changes, and the one form in which they do.

A message is a fixed head, a JSON document, and the contents of files, one behind the other::

    "sfssmsg2"  length of the document (4 bytes, big-endian)  XXH3-128 of the document (16 bytes)
    document: {"kind": …, "changes": [[path, stamp, node, size, [sha256, sha1] or null, has content], …], …}
    contents

The document is guarded by its digest and each content by its SHA-256: a flipped bit changes nothing
unnoticed, on the wire or on disk.
"""

import json
import re
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import xxhash

from sfss.errors import SfssError
from sfss.paths import is_valid_path
from sfss.replication.clock import Version
from sfss.replication.digests import Digests, is_content

_HEAD = struct.Struct("!8sI16s")
MAGIC = b"sfssmsg2"
HEAD_BYTES = _HEAD.size
#: A document is at most so long; ours have a thousand changes at the most.
MAX_DOCUMENT_BYTES = 8 * 1024 * 1024

#: No file is larger. Bytes.
_MOST_SIZE = 1 << 40

_NODE = re.compile("[0-9a-f]{16}")


#: A part of what is sent.
Piece = bytes | bytearray | memoryview


class BadMessage(SfssError):
    """The bytes are no message, or were changed on the way."""


class Change(NamedTuple):
    """The newest that somebody knows of a path: it has this content, or it is deleted."""

    path: str
    version: Version
    size: int  #: bytes; 0 if it is deleted
    digests: Digests | None  #: of its content; None: it is deleted
    content: bytes | bytearray | memoryview | None = None  #: None: it is deleted, or not here

    @property
    def is_delete(self) -> bool:
        return self.digests is None

    @property
    def is_intact(self) -> bool:
        """Whether its content is what it says."""
        return (
            self.content is not None
            and len(self.content) == self.size
            and is_content(self.content, self.digests)
        )


class Message(NamedTuple):
    kind: str
    fields: dict[str, Any]
    changes: list[Change]


def encode(kind: str, changes: Sequence[Change] = (), **fields: Any) -> list[Piece]:
    """A message, in pieces: what stands before the contents, and each content."""
    rows = [
        [c.path, c.version.stamp, c.version.node, c.size, c.digests, int(c.content is not None)]
        for c in changes
    ]
    document = json.dumps({**fields, "kind": kind, "changes": rows}, ensure_ascii=False).encode()
    head = _HEAD.pack(MAGIC, len(document), xxhash.xxh3_128_digest(document))
    return [head + document, *[c.content for c in changes if c.content]]


def document_size(head: bytes | memoryview) -> int:
    """How long the document behind *head* is. :raises BadMessage: if it is no head of a message."""
    if len(head) < HEAD_BYTES:
        raise BadMessage("A message is cut off in its head.")
    magic: bytes
    size: int
    magic, size, _ = _HEAD.unpack_from(head)
    if magic != MAGIC or size > MAX_DOCUMENT_BYTES:
        raise BadMessage("This is no message of a node.")
    return size


def decode(data: bytes | memoryview) -> Message:
    """The message that *data* is; contents are views into it, and not yet held against their digests.

    :raises BadMessage: if it is none, or not whole, or has anything behind it.
    """
    message, size = decode_first(data)
    if size != len(data):
        raise BadMessage("There is something behind the message.")
    return message


def decode_first(data: bytes | memoryview) -> tuple[Message, int]:
    """The message at the beginning of *data*, and how long it is. Raises as :func:`decode` does."""
    view = memoryview(data)
    size = document_size(view[:HEAD_BYTES])
    end = HEAD_BYTES + size
    document = view[HEAD_BYTES:end]
    digest = _HEAD.unpack_from(view)[2]
    if len(document) != size or xxhash.xxh3_128_digest(document) != digest:
        raise BadMessage("The document of a message is cut off or damaged.")
    try:
        fields = json.loads(bytes(document))
        kind, rows = fields.pop("kind"), fields.pop("changes")
        changes = []
        for path, stamp, node, size, digests, has_content in rows:
            content = None
            if has_content:
                content = view[end : end + size]
                end += size
            named = None if digests is None else Digests(*digests)
            changes.append(_checked(Change(path, Version(stamp, node), size, named, content)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadMessage(f"A message is malformed: {error}.") from None
    if end > len(view) or not isinstance(kind, str):
        raise BadMessage("A message is cut off in its contents.")
    return Message(kind, fields, changes), end


def _checked(change: Change) -> Change:
    """*change*, if it could be one: what others say is not believed. :raises ValueError:"""
    path, version, size, digests, content = change
    if (
        type(path) is not str
        or not is_valid_path(path)
        or type(version.stamp) is not int
        or not version.is_valid
        or type(version.node) is not str
        or not _NODE.fullmatch(version.node)
        or type(size) is not int
        or not 0 <= size <= _MOST_SIZE
        or not (digests is None or digests.are_valid)
        or (digests is None and (size or content is not None))
        or (digests is not None and version.is_final)
    ):
        raise ValueError(f"{str(path)[:100]!r} has no valid change")
    return change
