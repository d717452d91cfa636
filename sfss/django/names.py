"""What files are called."""

import posixpath
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import SuspiciousFileOperation

from sfss.paths import is_valid_path

#: So many others are tried for a name that is taken.
_MOST_NAMES = 100


def path_under(location: str, name: str) -> str:
    """The path of the file *name* in the folder *location* (which may be empty), without ``.`` and ``..``.

    :raises SuspiciousFileOperation: if that is none, or would be outside.
    """
    cleaned = posixpath.normpath(name.replace("\\", "/"))
    path = posixpath.join(location, cleaned)
    if cleaned.startswith(("/", "../")) or cleaned in (".", "..") or not is_valid_path(path):
        raise SuspiciousFileOperation(f"{name!r} cannot be the name of a file.")
    return path


def shortened(name: str, max_length: int | None) -> str:
    """*name*, cut as Django cuts it if it is too long.

    :raises SuspiciousFileOperation: if nothing would be left of it.
    """
    if max_length is None or len(name) <= max_length:
        return name
    folder, file = posixpath.split(name)
    root, extension = posixpath.splitext(file)
    kept = len(root) - (len(name) - max_length)
    if kept <= 0:
        raise SuspiciousFileOperation(
            f"{name!r} is longer than the {max_length} characters of its field, and cannot be cut: raise max_length."
        )
    return posixpath.join(folder, root[:kept] + extension)


def names_like(storage: Any, name: str, max_length: int | None) -> Iterator[str]:
    """*name*, cut if it is too long, and then others, as *storage* makes them of it.

    :raises FileExistsError: when so many are taken that something must be wrong.
    """
    name = shortened(name, max_length)
    yield name
    folder, file = posixpath.split(name)
    root, extension = posixpath.splitext(file)
    for _ in range(_MOST_NAMES):
        other = posixpath.join(folder, storage.get_alternative_name(root, extension))
        if max_length is not None and len(other) > max_length:
            root = posixpath.splitext(shortened(file, len(file) - (len(other) - max_length)))[0]
            other = posixpath.join(folder, storage.get_alternative_name(root, extension))
        yield other
    raise FileExistsError(f"{_MOST_NAMES} names like {name} are taken")
