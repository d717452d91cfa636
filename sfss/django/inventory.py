"""What a node says that it has, held against what the database says: a request for each 1,000 files."""

from collections.abc import Sequence
from typing import Any

from sfss.django.listings import Document, all_answers
from sfss.django.models import StoredFile, key_of
from sfss.django.sender import Sender

#: Files that are looked for in the database at once.
_AT_ONCE = 500


class Inventory:
    """Of *host*, for the files of *sender*'s queue."""

    def __init__(self, sender: Sender, host: str):
        self._sender = sender
        self._host = host
        self._has = _Keys()
        self._good = _Keys()
        self.is_known = False  #: whether the host has told what it has
        self.unknown = 0  #: files that the database does not know

    def take(self) -> bool:
        """Ask for all that the host has. Whether it tells that. :raises OSError:"""
        prefix = self._sender.prefix

        def ask(after: str) -> Document:
            document = self._sender.transport.listing(self._host, prefix, after)
            if document is None:
                raise _DoesNotTell
            return document

        try:
            for document in all_answers(ask):
                files = document["files"]
                for start in range(0, len(files), _AT_ONCE):
                    self._note(files[start : start + _AT_ONCE], len(prefix))
        except _DoesNotTell:
            return False
        self.is_known = True
        return True

    def _note(self, files: Sequence[Any], start: int) -> None:
        by_key = {key_of(file["path"][start:]): file for file in files}
        rows = StoredFile.objects.using(self._sender.queue.database).filter(
            queue=self._sender.queue.name, key__in=by_key
        )
        found = list(rows.values_list("pk", "key", "is_deleted", "size", "sha256"))
        for pk, key, is_deleted, size, sha256 in found:
            file = by_key[key]
            self._has.add(pk)
            if not is_deleted and (file.get("size"), file.get("sha256", sha256)) == (size, sha256):
                self._good.add(pk)
        self.unknown += len(by_key) - len(found)

    def is_as_it_should_be(self, file: int, is_deleted: bool) -> bool:
        """Of the file with this primary key; False: it is to be looked at."""
        return self.is_known and (file not in self._has if is_deleted else file in self._good)


class _DoesNotTell(Exception):
    """This server says nothing of what it has."""


class _Keys:
    """A set of primary keys: a bit for each."""

    _PART = 1 << 16

    def __init__(self) -> None:
        self._parts: dict[int, bytearray] = {}

    def add(self, key: int) -> None:
        part, rest = divmod(key, self._PART)
        bits = self._parts.setdefault(part, bytearray(self._PART // 8))
        bits[rest // 8] |= 1 << rest % 8

    def __contains__(self, key: int) -> bool:
        part, rest = divmod(key, self._PART)
        bits = self._parts.get(part)
        return bits is not None and bool(bits[rest // 8] >> rest % 8 & 1)
