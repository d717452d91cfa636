"""An answer that is read in pieces."""

from collections.abc import Mapping

import xxhash

from sfss.client.exchanges import Answer
from sfss.client.operations import check_etag


class Stream:
    """What is the same for both clients. *path*: of the file; None: it is no file, and has no ETag.

    :raises UnexpectedAnswer: if the answer is not one of sfss.
    """

    def __init__(self, url: str, answer: Answer, path: str | None):
        self._url = url
        self._answer = answer
        self._path = path
        self._hash = xxhash.xxh3_128()

    @property
    def headers(self) -> Mapping[str, str]:
        """What the server says of it."""
        return self._answer.headers

    @property
    def size(self) -> int | None:
        """Bytes; None: nobody knows before its end."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdecimal() else None

    def _counted(self, piece: bytes) -> bytes:
        self._hash.update(piece)
        return piece

    def _check_end(self) -> None:
        if self._path is not None:
            check_etag(self._path, self.headers, self._hash.hexdigest())
