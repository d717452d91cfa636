"""What the APIs of Swift and of S3 do alike with headers and names."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape, quoteattr

from sfss.errors import InvalidRequest, NotFound, SfssError
from sfss.http.messages import Headers
from sfss.models import FileInfo
from sfss.objects.catalog import Catalog
from sfss.objects.models import Metadata, ObjectInfo
from sfss.objects.service import Conditions, EtagOf, Found, Objects, Path
from sfss.web.content_headers import http_date, may_run

#: Somebody's scripts run, but as those of no site: at ours there is the page, and the token in it. (CSP 3, 6.2.1.)
SANDBOX = (
    "Content-Security-Policy: sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts\r\n"
)
#: What is kept of an object beside its metadata, and given back as it is; with the keys of these headers.
_KEPT = {
    name: name.lower()
    for name in ("Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control", "Expires")
}
#: What the names of an object's metadata begin with, as they are kept.
OF_OBJECTS = "X-Object-Meta-"
#: The property of an object that says who may read it, and what it says.
ACL = "acl"
#: What the names of S3's checksums begin with, which are kept beside the metadata.
CHECKSUM = "x-amz-checksum-"
PRIVATE, PUBLIC = "private", "public-read"
#: So many are remembered.
_MOST_DESCRIBED = 4096
_TRUE = frozenset(("true", "1", "yes", "on", "t", "y"))
#: XML 1.0 has no way to write these.
_NOT_IN_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), "\ufffd")
#: What a reader would make a line feed of.
_AS_NUMBERS = {"\r": "&#13;"}


def lines_of(headers: Mapping[str, str]) -> str:
    """As an answer has them. :raises InvalidRequest: if one has what would end it: whoever gave it may not say more."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise InvalidRequest("A value cannot stand in a header.")
    return lines


def text_of(headers: Headers, name: str) -> str:
    """The value of a header. :raises InvalidRequest: if it is not UTF-8."""
    value = headers.get(name.lower()).strip()
    try:
        value.encode()
    except UnicodeError:
        raise InvalidRequest(f"The header {name} is not valid UTF-8.") from None
    return value


def kept_in(headers: Headers) -> list[str]:
    """What of a request is kept of its object beside its metadata: the names of headers that are not empty."""
    return [name for name, key in _KEPT.items() if key in headers and headers.get(key).strip()]


def with_sums(wanted: Metadata, source: Metadata) -> dict[str, str]:
    """The metadata *wanted* of a copy, with the checksums (S3's) of its *source*: the bytes are the same. One of an
    upload in parts is not the copy's, which has none.
    """
    sums = {name: value for name, value in source.items() if name.startswith(CHECKSUM) and "-" not in value}
    return {name: value for name, value in wanted.items() if not name.startswith(CHECKSUM)} | sums


def is_true(text: str) -> bool:
    return text.lower() in _TRUE


def titled(name: str) -> str:
    """The name of a header as it is usually written."""
    return "-".join(part.capitalize() for part in name.split("-"))


def decoded(text: str, what: str) -> str:
    """Percent-decoded, once. :raises InvalidRequest: if that is not UTF-8."""
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        raise InvalidRequest(f"{what} is not valid UTF-8.") from None


async def conditions_in(
    headers: Headers, refusal: type[SfssError], objects: Objects, path: Path, etag_of: EtagOf
) -> Conditions:
    """What ``If-None-Match`` and ``If-Match`` ask for before a write to *path*. *etag_of*: as clients see it.

    :raises refusal: if that is not done here. :raises InvalidRequest:
    """
    if_none_match = headers.get("if-none-match").strip()
    if if_none_match not in ("", "*"):
        raise refusal("A write knows no If-None-Match but *.")
    must_have = if_match_in(headers)
    if must_have is not None:
        must_have = await objects.etag_itself(path, must_have, etag_of)
    return {"must_be_new": if_none_match == "*", "must_have": must_have}


def if_match_in(headers: Headers) -> str | None:
    """The ETag that an object must have before a write. ("" has none: it never does.) :raises InvalidRequest:"""
    if "if-match" not in headers:
        return None
    value = headers.get("if-match").strip()
    if "," in value:
        raise InvalidRequest("A write knows one ETag in If-Match, and no list.")
    return value.strip('"')


def info_for_conditions(info: ObjectInfo, size: int, etag: str) -> FileInfo:
    """What the conditions of a GET are held against."""
    return FileInfo(size, etag, info.modified / 1_000_000)


class Described(NamedTuple):
    """What an answer says of an object."""

    info: FileInfo  #: what conditions are held against
    lines: str  #: the headers of an answer with its content
    unchanged: str  #: and of one that says that the client has it


def described(info: ObjectInfo, size: int, etag: str, lines: Mapping[str, str]) -> Described:
    """*lines*: the headers that an answer has. The last one is :data:`SANDBOX`, if it may be a page with scripts."""
    unchanged = lines_of({name: lines[name] for name in ("ETag", "Last-Modified")})
    text = lines_of(lines)
    if may_run(lines["Content-Type"]):
        text += SANDBOX
    return Described(info_for_conditions(info, size, etag), text, unchanged)


class Descriptions:
    """What is said of objects that are asked for again and again: *describe* makes it."""

    def __init__(self, describe: Callable[[Found], Described]):
        self._describe = describe
        self._known: dict[str, tuple[ObjectInfo, Described]] = {}  # by the content, which no other object has

    def of(self, found: Found) -> Described:
        info = found.info
        if not info.content or info.manifest:
            return self._describe(found)
        known = self._known.get(info.content)
        if known is not None and known[0] is info:  # (its metadata may have changed)
            return known[1]
        made = self._describe(found)
        if len(self._known) >= _MOST_DESCRIBED:
            self._known.clear()
        self._known[info.content] = (info, made)
        return made


def last_modified(us: int) -> str:
    """The second in which it was: RFC 9110 8.8.2.1 wants no date that is to come."""
    return _date(us // 1_000_000)


@lru_cache(maxsize=4096)
def _date(second: int) -> str:
    return http_date(second)


def copied_properties(info: ObjectInfo) -> Metadata:
    """Those that a copy of it has. That everybody may read it is not one of them, and that nobody else may is."""
    if info.properties.get(ACL) != PUBLIC:
        return info.properties
    return {name: value for name, value in info.properties.items() if name != ACL}


def is_private(info: ObjectInfo) -> bool:
    """Whether an object is its account's alone, whatever its container says."""
    return info.properties.get(ACL) == PRIVATE


async def is_open(catalog: Catalog, account: int, container: str) -> bool:
    """Whether everybody may read what is in a container. (One that is not there is closed: nobody is told.)"""
    try:
        info = await catalog.container(account, container)
    except NotFound:
        return False
    return is_public(info.metadata, listing=False)


def is_public(metadata: Metadata, *, listing: bool) -> bool:
    """Whether ``X-Container-Read`` lets everybody read, or list."""
    rights = {right.strip() for right in metadata.get("X-Container-Read", "").split(",")}
    return (".rlistings" in rights) if listing else (".r:*" in rights)


def xml_text(value: str) -> str:
    """As it stands between the tags of a document."""
    return escape(value.translate(_NOT_IN_XML), _AS_NUMBERS)


def xml_attribute(value: str) -> str:
    """The same of an attribute, with its quotes."""
    return quoteattr(value.translate(_NOT_IN_XML), _AS_NUMBERS)
