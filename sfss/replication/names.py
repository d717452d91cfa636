"""What files of a node are called.

Generated names have a time and the SHA-1 of the content in them, so a name never has another content, and
is never used again. (SHA-1 can be collided on purpose: such a content gets another name, see ``resolve.py``.)
"""

import re
from collections import deque
from collections.abc import Callable

from sfss.paths import is_valid_path

#: The URLs of the node itself, which no file can have.
RESERVED = frozenset(
    ("_status", "_verify", "_replication", "_files", "_archive", "_page") + ("metrics", "healthz", "readyz")
)

_GENERATED = re.compile(r".*_[0-9]{13}_(?P<sha1>[0-9a-f]{40})", re.DOTALL)
#: An upload that is repeated within so many seconds is the same file. (cockatiel's names have whole
#: seconds in them, so its clients expect that a retried upload makes no second copy.)
_RETRY_SECONDS = 1.0


def generated_name(path: str, sha1: str, seconds: float) -> str:
    """*path* with a time (ms since the epoch) and the SHA-1 of its content before its extension."""
    end = _end_of_stem(path)
    return f"{path[:end]}_{int(seconds * 1000):013d}_{sha1}{path[end:]}"


def sha1_in(path: str) -> str | None:
    """The SHA-1 in *path*, if that is a generated name."""
    match = _GENERATED.fullmatch(path, path.rfind("/") + 1, _end_of_stem(path))
    return match and match["sha1"]


def _end_of_stem(path: str) -> int:
    """Where the extension begins. A name that begins or ends with its only dot has none."""
    start, end = path.rfind("/") + 1, path.rfind(".")
    return end if start < end < len(path) - 1 else len(path)


class RecentNames:
    """The names that were generated in the last second, by what they were generated for.

    *now*: a clock that never goes back, in seconds.
    """

    def __init__(self, now: Callable[[], float]):
        self._now = now
        # (path, SHA-256 of the content) to the name, and when it was given; and all that, the oldest first.
        self._names: dict[tuple[str, str], tuple[str, float]] = {}
        self._order: deque[tuple[tuple[str, str], float]] = deque()

    def get(self, path: str, sha256: str) -> str | None:
        self._forget()
        found = self._names.get((path, sha256))
        return found and found[0]

    def note(self, path: str, sha256: str, name: str) -> None:
        now = self._now()
        self._names[path, sha256] = name, now
        self._order.append(((path, sha256), now))

    def _forget(self) -> None:
        order, oldest = self._order, self._now() - _RETRY_SECONDS
        while order and order[0][1] < oldest:
            key, noted = order.popleft()
            found = self._names.get(key)
            if found is not None and found[1] == noted:  # else it was given again since
                del self._names[key]


def is_reserved(path: str) -> bool:
    first, _, rest = path.partition("/")
    return first in RESERVED and (not rest or first == "_page")


def can_name_a_file(path: str) -> bool:
    """Whether a node can have a file of this name."""
    return is_valid_path(path) and not is_reserved(path)
