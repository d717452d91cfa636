"""Headers of Swift: metadata as clients give and get it, times, names in URLs.

Source: OpenStack's Object Storage API reference (https://docs.openstack.org/api-ref/object-store/).
"""

import mimetypes
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from sfss.errors import InvalidRequest, NotSupported
from sfss.http.messages import Headers
from sfss.objects.limits import MOST_KEPT, OWN, check_metadata
from sfss.objects.manifests import dynamic, is_of_others, is_static, target_of
from sfss.objects.models import IN_PARTS, Metadata, ObjectInfo
from sfss.web.api.object_headers import decoded, is_true, kept_in, last_modified, text_of, titled

UNKNOWN_TYPE = "application/octet-stream"
#: What would change a thing, and is not done here: it must not look as if it were.
_NOT_DONE = frozenset(
    ("x-symlink-target", "x-versions-location", "x-versions-enabled")
    + ("x-history-location", "x-container-write", "x-container-sync-to", "x-container-sync-key")
    + ("x-container-meta-quota-bytes", "x-container-meta-quota-count", "x-account-meta-quota-bytes")
    + ("x-account-access-control", "x-account-quota-bytes")
)
_WITH_ETAGS = frozenset(("if-match", "if-none-match", "if-range"))
_READ_RIGHTS = frozenset((".r:*", ".rlistings", ""))


def check_supported(headers: Headers) -> None:
    """:raises NotSupported: if what would change something is not done here. (An empty value asks for nothing.)"""
    for name in _NOT_DONE.intersection(headers.raw):
        if headers.get(name).strip():
            raise NotSupported(f"{name} is not supported here.")


def metadata_changes(headers: Headers, kind: str) -> dict[str, str | None]:
    """What ``X-KIND-Meta-…`` and ``X-Remove-KIND-Meta-…`` ask for: an empty value takes one away, too.

    :raises InvalidRequest: if it is too much.
    """
    prefix, remove = f"x-{kind}-meta-", f"x-remove-{kind}-meta-"
    changes: dict[str, str | None] = {}
    for name in headers:
        if name.startswith(prefix) and len(name) > len(prefix):
            changes[titled(name)] = text_of(headers, name) or None
        elif name.startswith(remove) and len(name) > len(remove):
            changes[titled(prefix + name[len(remove) :])] = None
    check_metadata(changes)
    return changes


def container_changes(headers: Headers) -> dict[str, str | None]:
    """The same of a container, with who may read it."""
    changes = metadata_changes(headers, "container")
    if "x-container-read" in headers:
        rights = text_of(headers, "X-Container-Read")
        if not {right.strip() for right in rights.split(",")} <= _READ_RIGHTS:
            raise NotSupported("X-Container-Read knows .r:* and .rlistings here, and no other rights.")
        changes["X-Container-Read"] = rights or None
    if "x-remove-container-read" in headers:
        changes["X-Container-Read"] = None
    return changes


def object_metadata(headers: Headers) -> dict[str, str]:
    """All that an object is to have."""
    found = {name: value for name, value in metadata_changes(headers, "object").items() if value}
    found |= {name: text_of(headers, name) for name in kept_in(headers)}
    check_metadata(found)
    return found


def manifest_in(headers: Headers) -> str:
    """``X-Object-Manifest``, as it is kept. :raises InvalidRequest:"""
    text = decoded(text_of(headers, "X-Object-Manifest"), "X-Object-Manifest").lstrip("/")
    container, _, prefix = text.partition("/")
    if text and not (container and prefix):
        raise InvalidRequest("X-Object-Manifest has the form CONTAINER/PREFIX.")
    return dynamic(container, prefix) if text else ""


def etag_in(headers: Headers) -> str | None:
    """The MD5 that the client says the body has."""
    return headers.get("etag").strip().strip('"').lower() or None


def expires_in(headers: Headers) -> int:
    """When an object ends by ``X-Delete-After`` or ``X-Delete-At``, in seconds since the epoch; 0: never.

    :raises InvalidRequest: if that is no time, or is past.
    """
    now = int(time.time())
    for name, begin in (("X-Delete-After", now), ("X-Delete-At", 0)):
        text = headers.get(name.lower()).strip()
        if not text:
            continue
        if not (text.isascii() and text.isdecimal() and len(text) < 13):
            raise InvalidRequest(f"{name} is a number of seconds.")
        when = begin + int(text)
        if when <= now:
            raise InvalidRequest(f"{name} is in the past.")
        return when
    return 0


def visible(metadata: Metadata, *, to_writers: bool) -> dict[str, str]:
    """Without what is kept for S3; and without what one could write with, unless *to_writers*."""
    return {
        name: value
        for name, value in metadata.items()
        if not name.startswith(OWN) and (to_writers or "-Meta-Temp-Url-Key" not in name)
    }


def object_lines(info: ObjectInfo, etag: str) -> Iterator[tuple[str, str]]:
    """The headers of an object, but for its length."""
    yield "Content-Type", info.content_type
    yield "ETag", etag
    yield "Last-Modified", last_modified(info.modified)
    yield "X-Timestamp", timestamp(info.modified)
    yield "Accept-Ranges", "bytes"
    if (
        is_static(info.manifest) or info.manifest == IN_PARTS
    ):  # (what S3 has put in parts is that to clients, too)
        yield "X-Static-Large-Object", "True"
    elif is_of_others(info):
        yield "X-Object-Manifest", quote(target_of(info.manifest))
    if info.expires:
        yield "X-Delete-At", str(info.expires)
    yield from info.metadata.items()


def conditions_of(headers: Headers) -> Headers:
    """*headers*, with the quotes that clients of Swift leave away around ETags."""
    if _WITH_ETAGS.isdisjoint(headers.raw):
        return headers
    raw = dict(headers.raw)
    for name in _WITH_ETAGS:
        value = raw.get(name, b"").strip()
        if value and b'"' not in value and value != b"*":
            raw[name] = b", ".join(b'"%b"' % part.strip() for part in value.split(b","))
    return Headers(raw)


def timestamp(us: int) -> str:
    return f"{us // 1_000_000}.{us % 1_000_000 // 10:05}"


def listed_time(us: int) -> str:
    when = datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
    return when.isoformat(timespec="microseconds").removesuffix("+00:00")


def content_type_in(headers: Headers, name: str) -> str:
    """The one that is given, else what the *name* says."""
    given = text_of(headers, "Content-Type")
    if len(given) > MOST_KEPT:
        raise InvalidRequest(f"The Content-Type has at most {MOST_KEPT} bytes.")
    wants_guess = is_true(headers.get("x-detect-content-type").strip())
    if given and not wants_guess:
        return given
    return _guessed(tuple(name.rpartition("/")[2].split(".")[1:][-2:]))


@lru_cache(maxsize=1024)
def _guessed(suffixes: tuple[str, ...]) -> str:
    return mimetypes.guess_type(".".join(("x", *suffixes)))[0] or UNKNOWN_TYPE
