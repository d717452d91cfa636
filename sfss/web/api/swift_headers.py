"""Headers of Swift: metadata as clients give and get it, times, names in URLs.

Source: OpenStack's Object Storage API reference (https://docs.openstack.org/api-ref/object-store/).
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from sfss.errors import InvalidRequest
from sfss.http.messages import Headers
from sfss.models import FileInfo
from sfss.objects.manifests import is_of_others, is_static
from sfss.objects.models import Metadata, ObjectInfo
from sfss.web.content_headers import http_date

#: What is kept of an object beside its metadata, and given back as it is.
_KEPT = ("Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control", "Expires")
#: So much metadata a thing may have: how many, of a name, of a value, together. Bytes.
_MOST, _MOST_NAME, _MOST_VALUE, _MOST_TOGETHER = 90, 128, 256, 4096


def text_of(headers: Headers, name: str) -> str:
    """The value of a header. :raises InvalidRequest: if it is not UTF-8."""
    value = headers.get(name.lower()).strip()
    try:
        value.encode()
    except UnicodeError:
        raise InvalidRequest(f"The header {name} is not valid UTF-8.") from None
    return value


def metadata_changes(headers: Headers, kind: str) -> dict[str, str | None]:
    """What ``X-KIND-Meta-…`` and ``X-Remove-KIND-Meta-…`` ask for: an empty value takes one away, too.

    :raises InvalidRequest: if it is too much.
    """
    prefix, remove = f"x-{kind}-meta-", f"x-remove-{kind}-meta-"
    changes: dict[str, str | None] = {}
    for name in headers:
        if name.startswith(prefix) and len(name) > len(prefix):
            changes[_titled(name)] = text_of(headers, name) or None
        elif name.startswith(remove) and len(name) > len(remove):
            changes[_titled(prefix + name[len(remove) :])] = None
    _check(changes, len(prefix))
    return changes


def container_changes(headers: Headers) -> dict[str, str | None]:
    """The same of a container, with who may read it."""
    changes = metadata_changes(headers, "container")
    for name in ("X-Container-Read", "X-Container-Write"):
        if name.lower() in headers:
            changes[name] = text_of(headers, name) or None
        if f"x-remove-{name[2:].lower()}" in headers:
            changes[name] = None
    return changes


def object_metadata(headers: Headers) -> dict[str, str]:
    """All that an object is to have."""
    found = {name: value for name, value in metadata_changes(headers, "object").items() if value}
    found |= {name: text_of(headers, name) for name in _KEPT if headers.get(name.lower()).strip()}
    return found


def manifest_in(headers: Headers) -> str:
    """``X-Object-Manifest``, decoded. :raises InvalidRequest:"""

    text = unquote(text_of(headers, "X-Object-Manifest"), errors="strict").lstrip("/")
    container, _, prefix = text.partition("/")
    if text and not (container and prefix):
        raise InvalidRequest("X-Object-Manifest has the form CONTAINER/PREFIX.")
    return text


def etag_in(headers: Headers) -> str | None:
    """The MD5 that the client says the body has."""
    return headers.get("etag").strip().strip('"').lower() or None


def object_lines(info: ObjectInfo, etag: str) -> Iterator[tuple[str, str]]:
    """The headers of an object, but for its length."""
    yield "Content-Type", info.content_type
    yield "ETag", etag
    yield "Last-Modified", last_modified(info.modified)
    yield "X-Timestamp", timestamp(info.modified)
    yield "Accept-Ranges", "bytes"
    if is_static(info.manifest):
        yield "X-Static-Large-Object", "True"
    elif is_of_others(info):
        yield "X-Object-Manifest", quote(info.manifest)
    yield from info.metadata.items()


def info_for_conditions(info: ObjectInfo, size: int, etag: str) -> FileInfo:
    return FileInfo(size, etag, float(-(-info.modified // 1_000_000)))


def conditions_of(headers: Headers) -> Headers:
    """*headers*, with the quotes that clients of Swift leave away around ETags."""
    raw = dict(headers.raw)
    for name in ("if-match", "if-none-match", "if-range"):
        value = raw.get(name, b"").strip()
        if value and b'"' not in value and value != b"*":
            raw[name] = b", ".join(b'"%b"' % part.strip() for part in value.split(b","))
    return Headers(raw)


def timestamp(us: int) -> str:
    return f"{us // 1_000_000}.{us % 1_000_000 // 10:05}"


def last_modified(us: int) -> str:
    """The next whole second: nothing has changed since."""
    return http_date(-(-us // 1_000_000))


def listed_time(us: int) -> str:
    when = datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
    return when.isoformat(timespec="microseconds").removesuffix("+00:00")


def _titled(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _check(metadata: Mapping[str, str | None], prefix: int) -> None:
    sizes = [(len(name) - prefix, len((value or "").encode())) for name, value in metadata.items()]
    if len(sizes) > _MOST or sum(name + value for name, value in sizes) > _MOST_TOGETHER:
        raise InvalidRequest(f"There are at most {_MOST} metadata, of {_MOST_TOGETHER} bytes together.")
    if any(name > _MOST_NAME or value > _MOST_VALUE for name, value in sizes):
        raise InvalidRequest(f"The name of metadata has at most {_MOST_NAME} bytes, the value {_MOST_VALUE}.")


def is_public(metadata: Metadata, *, listing: bool) -> bool:
    """Whether ``X-Container-Read`` lets everybody read, or list."""
    rights = {right.strip() for right in metadata.get("X-Container-Read", "").split(",")}
    return (".rlistings" in rights) if listing else (".r:*" in rights)
