"""How large an object may be, and how much metadata a thing may have (as Swift allows by default)."""

from collections.abc import Mapping

from sfss.errors import InvalidRequest

MAX_OBJECT_SIZE = 5 * 1024**3  # bytes
#: How many, of a name, of a value, together. Bytes. (A name has its prefix, X-Container-Meta-, which is not counted.)
MOST, MOST_NAME, MOST_VALUE, MOST_TOGETHER = 90, 128, 256, 4096
#: Of what is no metadata of the client's own: Content-Type, Content-Disposition …
MOST_KEPT = 1024
#: What begins so is ours, and no header of a client's.
OWN = "X-Sfss-"
MOST_OWN = 64 * 1024
_MARK = "-Meta-"


def check_metadata(metadata: Mapping[str, str | None]) -> None:
    """:raises InvalidRequest: if it is too much."""
    if not metadata:
        return
    own = {name.partition(_MARK)[2]: value or "" for name, value in metadata.items() if _MARK in name}
    sizes = [(len(name.encode()), len(value.encode())) for name, value in own.items()]
    if len(sizes) > MOST or sum(name + value for name, value in sizes) > MOST_TOGETHER:
        raise InvalidRequest(f"There are at most {MOST} metadata, of {MOST_TOGETHER} bytes together.")
    if any(name > MOST_NAME or value > MOST_VALUE for name, value in sizes):
        raise InvalidRequest(f"The name of metadata has at most {MOST_NAME} bytes, the value {MOST_VALUE}.")
    for name, value in metadata.items():
        most = MOST_OWN if name.startswith(OWN) else MOST_KEPT
        if _MARK not in name and len((value or "").encode()) > most:
            raise InvalidRequest(f"A header, or a configuration, has at most {most} bytes.")
