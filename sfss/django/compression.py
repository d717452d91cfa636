"""Texts that are stored compressed (``gzip`` of SFSSStorage), and served so by a gateway with ``--gzip-texts``."""

import gzip
import mimetypes
import zlib
from collections.abc import Collection

#: What is compressed unless it is said otherwise (django-storages compresses the same).
GZIP_TYPES = (
    "text/css",
    "text/javascript",
    "application/javascript",
    "application/x-javascript",
    "image/svg+xml",
)
_MAGIC = b"\x1f\x8b"
#: A larger text than this is none that was compressed here: somebody wants to fill the memory.
_MOST = 256 * 1024 * 1024


class Compression:
    """Of files of these *types*."""

    def __init__(self, types: Collection[str]):
        self._types = frozenset(types)

    def is_of(self, name: str) -> bool:
        """Whether a file of this name may be compressed."""
        return mimetypes.guess_type(name)[0] in self._types

    def packed(self, name: str, content: bytes) -> bytes:
        """What is stored: the same bytes for the same content. What is compressed already is so again, since it is to
        come back as it is.
        """
        if not self.is_of(name):
            return content
        packed = gzip.compress(content, mtime=0)
        return packed if len(packed) < len(content) or content.startswith(_MAGIC) else content

    def unpacked(self, name: str, stored: bytes) -> bytes:
        """What was saved. :raises OSError: if that is too large, or damaged."""
        if not self.is_of(name) or not stored.startswith(_MAGIC):
            return stored
        unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            content = unpacking.decompress(stored, _MOST)
        except zlib.error as error:
            raise OSError(f"{name} is not what was compressed: {error}") from error
        if not unpacking.eof:
            raise OSError(f"{name} was cut off, or has over {_MOST} bytes")
        return content
