"""Which files a gateway or a node has, as ``GET /files`` and ``GET /_files`` tell (docs/api.rst, "Listings")."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urlencode

#: One answer: ``files``, ``folders`` if there was a delimiter, ``next``.
Document = dict[str, Any]


def listing_query(prefix: str, after: str = "", delimiter: str = "") -> str:
    given = {"prefix": prefix, "delimiter": delimiter, "after": after}
    return urlencode({name: value for name, value in given.items() if value})


def prefix_on_a_node(url_of: Callable[[str], str], folder: str = "") -> str:
    """What the paths of all files in *folder* begin with ("", or it has a "/" at its end). *url_of*: a URL's path."""
    return unquote(url_of(f"{folder}x")).lstrip("/")[:-1]


def all_answers(ask: Callable[[str], Document]) -> Iterator[Document]:
    """*ask* gives what comes after a cursor."""
    after: str | None = ""
    while after is not None:
        document = ask(after)
        yield document
        after = document["next"]


def directory(ask: Callable[[str], Document], prefix: str) -> tuple[list[str], list[str]]:
    """The names of the folders and of the files directly under *prefix*, as ``Storage.listdir`` gives them."""
    folders: dict[str, None] = {}
    files: list[str] = []
    for document in all_answers(ask):
        folders.update((folder[len(prefix) : -1], None) for folder in document["folders"])
        files += (file["path"][len(prefix) :] for file in document["files"])
    return list(folders), files
