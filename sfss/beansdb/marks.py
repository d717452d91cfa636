"""The mark by which a node shows that it has what it has acknowledged.

A node loses at its end what it had not written to its files (docs/stores.rst), and nothing in its answers tells. So
each part of a node has a *mark*, a value that names the node, the members of the part, the moment in which the node
was started, and its process. While the mark tells the truth the node is trusted. It is written when the node has been
compared with the others and repaired, over the connection by which that was done, so it holds for that process only.
A mark that was copied from another node tells a lie, and so does one of before a restart.

Two more things stand in it, which concern all members of the part: the members that it will have when a move has ended
(:mod:`sfss.beansdb.move`), and its *horizon* (:mod:`sfss.beansdb.purge`).
"""

import json
from typing import NamedTuple

#: How old tombstones must be to be purged, at least. Days.
LEAST_AGE = 7

#: ``time - uptime`` is of two numbers that were rounded down.
_ROUNDING = 1


class Mark(NamedTuple):
    node: str
    members: tuple[str, ...]
    born: int  #: seconds since the epoch, by the node's clock
    pid: int
    next_members: tuple[str, ...] = ()  #: while nodes are moved: those that come after; empty: the same
    is_open: bool = False  #: whether the next members count already
    horizon: int = 0  #: a unit: tombstones up to it may be missing

    def encode(self) -> bytes:
        return json.dumps(self._asdict()).encode()

    def is_of(self, born: int, pid: int) -> bool:
        """Whether the process that was started so wrote it."""
        return abs(self.born - born) <= _ROUNDING and self.pid == pid

    def admits(self, members: tuple[str, ...]) -> bool:
        """Whether a gateway with this route may believe it."""
        return members == self.members or (self.is_open and members == self.next_members)

    def is_leaving(self, node: str) -> bool:
        """Whether *node* must not be trusted any more."""
        return self.next_members != () and node not in self.next_members

    def of_all(self) -> "Mark":
        """What it says of all members."""
        return self._replace(node="", born=0, pid=0)


def decode(content: bytes | bytearray) -> Mark | None:
    """None if it is no mark."""
    try:
        read = json.loads(content)
        lists = {name: tuple(read.get(name, ())) for name in ("members", "next_members")}
        mark = Mark(**{**read, **lists})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    numbers = (mark.born, mark.pid, mark.horizon)
    texts = (mark.node, *mark.members, *mark.next_members)
    if type(mark.is_open) is not bool or not mark.members:
        return None
    if all(type(n) is int for n in numbers) and all(type(t) is str for t in texts):
        return mark
    return None
