"""What can be done to a replica, and what comes of it."""

from typing import NamedTuple

from sfss.models import Precondition
from sfss.replication.changes import Change, Piece
from sfss.replication.digests import Digests
from sfss.replication.entries import Entry


class Put(NamedTuple):
    """A client's file. *immutable*: a name has one content only, and is never used again."""

    path: str
    content: bytes | bytearray
    digests: Digests
    precondition: Precondition | None = None
    immutable: bool = False


class Delete(NamedTuple):
    """A client's delete. It is remembered even if there is no such file: it may be on its way."""

    path: str
    precondition: Precondition | None = None
    final: bool = False  #: the name is never used again


class Learn(NamedTuple):
    """What *source* (a neighbour's URL, or None) says; with the content, or ours is the same.

    *told*: the neighbours to whom it says so itself.
    """

    change: Change
    source: str | None
    told: frozenset[str] = frozenset()


class Adopt(NamedTuple):
    """A file lies in the folder that is not in the catalog."""

    path: str


class Heal(NamedTuple):
    """The content of a file that was damaged or missing."""

    path: str
    content: Piece


Operation = Put | Delete | Learn | Adopt | Heal


class Outcome(NamedTuple):
    """What an operation has found, and what is true now."""

    before: Entry | None
    entry: Entry | None
    changed: bool

    @property
    def known(self) -> Entry:
        """What is true now, of an operation after which something is known of its path."""
        assert self.entry is not None
        return self.entry


def path_of(operation: Operation) -> str:
    return operation.change.path if isinstance(operation, Learn) else operation.path
