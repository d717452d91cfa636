"""The media type of a file, by the extension of its path: the same on every machine.

The table is ``media_types.txt`` (IANA's types, by way of mime-db). What is said here goes before it: types that
it lacks, or knows by an older name.
"""

from functools import cache, lru_cache
from importlib import resources

_OURS = {
    "audio/flac": ("flac",),  # RFC 9639
    "audio/opus": ("opus",),  # RFC 7845 says audio/ogg; players ask for this one
    "application/vnd.apache.parquet": ("parquet",),
    "image/jpeg": ("jfif",),
    "text/plain": ("bat", "c", "h", "ksh", "pl", "srt"),
    "text/vcard": ("vcf",),  # RFC 6350
    "text/x-python": ("py",),
    "text/x-rst": ("rst",),
}
#: What a compressed file is, and not what is in it: it is served without a Content-Encoding.
_COMPRESSED = {
    "gz": "application/gzip",
    "tgz": "application/gzip",
    "svgz": "application/gzip",
    "bz2": "application/x-bzip2",
    "tbz2": "application/x-bzip2",
    "xz": "application/x-xz",
    "txz": "application/x-xz",
    "br": "application/x-brotli",
    "zst": "application/zstd",
    "z": "application/x-compress",
}
_UNKNOWN = "application/octet-stream"


def media_type_of(path: str) -> str:
    """The media type that the extension of *path* tells; application/octet-stream if none."""
    name = path.rpartition("/")[2].lstrip(".")
    stem, dot, extension = name.rpartition(".")
    return _type_of(extension) if dot and stem else _UNKNOWN


@lru_cache(maxsize=4096)
def _type_of(extension: str) -> str:
    return _table().get(extension.lower(), _UNKNOWN)


@cache
def _table() -> dict[str, str]:
    table: dict[str, str] = {}
    text = resources.files("sfss.web").joinpath("media_types.txt").read_text("ascii")
    for line in text.splitlines():
        if not line.startswith("#"):
            name, *extensions = line.split(" ")
            table |= dict.fromkeys(extensions, name)
    for name, ours in _OURS.items():
        table |= dict.fromkeys(ours, name)
    return table | _COMPRESSED
