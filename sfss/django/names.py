"""What files are called."""

import posixpath
from collections.abc import Callable
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


def folder_under(location: str, name: str) -> str:
    """What the paths of all files in the folder *name* begin with. :raises SuspiciousFileOperation:"""
    name = name.rstrip("/")
    path = location if name in ("", ".") else path_under(location, name)
    return f"{path}/" if path else ""


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


def save_as_free(storage: Any, name: str, max_length: int | None, save: Callable[[str], bool]) -> str:
    """Save under *name*, cut if it is too long, or under another one that *storage* makes of it. *save*: whether it was
    free, and is saved.

    :raises FileExistsError: when so many are taken that something must be wrong.
    """
    name = shortened(name, max_length)
    if save(name):
        return name
    folder, file = posixpath.split(name)
    root, extension = posixpath.splitext(file)
    for _ in range(_MOST_NAMES):
        other = posixpath.join(folder, storage.get_alternative_name(root, extension))
        if max_length is not None and len(other) > max_length:
            root = posixpath.splitext(shortened(file, len(file) - (len(other) - max_length)))[0]
            other = posixpath.join(folder, storage.get_alternative_name(root, extension))
        if save(other):
            return other
    raise FileExistsError(f"{_MOST_NAMES} names like {name} are taken")
