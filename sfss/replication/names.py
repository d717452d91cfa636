"""What files of a node are called.

Generated names have a time and the SHA-1 of the content in them, so a name never has another content, and
is never used again.
"""

import re

from sfss.paths import is_valid_path

#: The URLs of the node itself, which no file can have.
RESERVED = frozenset(
    ("_status", "_verify", "_replication", "_page", "metrics", "healthz", "readyz")
)

_GENERATED = re.compile(r".*_[0-9]{13}_(?P<sha1>[0-9a-f]{40})", re.DOTALL)


def generated_name(path: str, sha1: str, seconds: float) -> str:
    """*path* with a time (ms since the epoch) and the SHA-1 of its content before its extension.

    A name that was generated for this content stays as it is.
    """
    start, end = path.rfind("/") + 1, path.rfind(".")
    if not start < end < len(path) - 1:  # a name that begins or ends with its only dot has no extension
        end = len(path)
    match = _GENERATED.fullmatch(path, start, end)
    if match is not None and match["sha1"] == sha1:
        return path
    return f"{path[:end]}_{int(seconds * 1000):013d}_{sha1}{path[end:]}"


def is_reserved(path: str) -> bool:
    first, _, rest = path.partition("/")
    return first in RESERVED and (not rest or first == "_page")


def can_name_a_file(path: str) -> bool:
    """Whether a node can have a file of this name."""
    return is_valid_path(path) and not is_reserved(path)
