"""What may name a file: the one place that says which paths are valid.

A path is UTF-8, relative, 1 to 1,024 bytes long, with ``/`` between its parts. It is never
used as a path of the file system, but other stores and clients may do so, so whatever could
leave a folder, or look like another path to somebody, is refused.
"""

import re

from sfss.errors import InvalidPath

MAX_PATH_BYTES = 1024
#: RFC 3986 3.3: what stands in the path of a URL as it is, beside letters, digits and ``-._~``.
PLAIN_IN_A_URL = "/!$&'()*+,;=:@"

#: No control characters (Unicode category Cc), no backslash, no surrogates (they are not
#: UTF-8), no empty part, and no part that is ``.`` or ``..``.
_VALID = re.compile(r"(?:(?!\.\.?(?:/|\Z))[^\x00-\x1f\x7f-\x9f\\/\ud800-\udfff]+(?:/(?!\Z)|\Z))+", re.ASCII)


def is_valid_path(path: str) -> bool:
    """Whether *path* can name a file."""
    # A character takes at most 4 bytes in UTF-8: short paths need no encoding to be measured.
    return _VALID.fullmatch(path) is not None and (
        len(path) <= MAX_PATH_BYTES // 4 or len(path.encode()) <= MAX_PATH_BYTES
    )


def check_path(path: str) -> str:
    """Return *path* if it can name a file.

    :raises InvalidPath: with a sentence that says what is wrong with it.
    """
    if not is_valid_path(path):
        raise InvalidPath(_complaint(path))
    return path


def _complaint(path: str) -> str:
    if not path:
        return "The path is empty."
    if re.search(r"[\ud800-\udfff]", path):
        return "The path is not valid UTF-8."
    size = len(path.encode())
    if size > MAX_PATH_BYTES:
        return f"The path has {size} bytes; at most {MAX_PATH_BYTES} are allowed."
    if re.search(r"[\x00-\x1f\x7f-\x9f]", path):
        return "The path contains a control character."
    if "\\" in path:
        return "The path contains a backslash; parts are separated by '/'."
    if path.startswith("/"):
        return "The path begins with '/'; paths are relative."
    if path.endswith("/"):
        return "The path ends with '/'; it must name a file, not a folder."
    if "//" in path:
        return "The path contains '//': a part of it is empty."
    return "The path contains '.' or '..' as a part."
