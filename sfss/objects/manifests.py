"""Objects that are made of others: a manifest names them, and a GET joins their contents.

A *dynamic* one (DLO) names a prefix, CONTAINER/PREFIX: what has it at the time of a GET is joined. A *static* one (SLO)
names each object, with the ETag that it had, and is valid for as long as they have it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sfss.errors import InvalidRequest, NotFound, NotSupported, SegmentChanged
from sfss.objects.catalog import Catalog
from sfss.objects.contents import Part, cut
from sfss.objects.models import DYNAMIC, IN_PARTS, STATIC, ObjectInfo, Query, UploadedPart

#: So many objects are joined at the most.
MOST_SEGMENTS, MOST_STATIC = 10_000, 1000
_PAGE = 1000
_NUMBER = re.compile("[0-9]{1,15}")


class Segment(NamedTuple):
    """An object of a static manifest. *start*, *stop*: what of it is wanted."""

    container: str
    name: str
    etag: str
    size: int  #: of the whole object
    start: int
    stop: int

    @property
    def path(self) -> str:
        return f"/{self.container}/{self.name}"

    @property
    def range(self) -> str | None:
        """As its maker gave it; None: all of it."""
        return None if (self.start, self.stop) == (0, self.size) else f"{self.start}-{self.stop - 1}"


def is_static(manifest: str) -> bool:
    return manifest.startswith(STATIC)


def dynamic(container: str, prefix: str) -> str:
    """What is kept of a dynamic manifest."""
    return f"{DYNAMIC}{container}/{prefix}"


def target_of(manifest: str) -> str:
    """CONTAINER/PREFIX of a dynamic manifest."""
    return manifest.removeprefix(DYNAMIC)


def containers_of(manifest: str) -> set[str]:
    """Whose objects it joins."""
    if is_static(manifest):
        return {segment.container for segment in segments_in(manifest)}
    return {target_of(manifest).partition("/")[0]} if manifest.startswith(DYNAMIC) else set()


def is_of_others(info: ObjectInfo) -> bool:
    """Whether its bytes are those of other objects."""
    return info.manifest not in ("", IN_PARTS)


def written(segments: Iterable[Segment]) -> str:
    """What is kept of a static manifest."""
    return STATIC + json.dumps([list(each) for each in segments], ensure_ascii=False, separators=(",", ":"))


def segments_in(manifest: str) -> list[Segment]:
    return [Segment(*each) for each in json.loads(manifest.removeprefix(STATIC))]


def static_etag(segments: Iterable[Segment]) -> str:
    texts = [each.etag + (f":{each.range};" if each.range else "") for each in segments]
    return _md5("".join(texts))


async def requested(catalog: Catalog, account: int, document: Any) -> list[Segment]:
    """The segments that the body of a PUT asks for. :raises InvalidRequest: with all that is wrong.

    :raises NotSupported:
    """
    if not isinstance(document, list) or not 0 < len(document) <= MOST_STATIC:
        raise InvalidRequest(f"The manifest is a list of 1 to {MOST_STATIC} objects.")
    segments: list[Segment] = []
    errors: list[str] = []
    for entry in document:
        try:
            segments.append(await _requested(catalog, account, entry))
        except InvalidRequest as error:
            errors.append(str(error))
    if errors:
        raise InvalidRequest("Errors: " + "; ".join(errors[:20]))
    return segments


async def _requested(catalog: Catalog, account: int, entry: Any) -> Segment:
    if isinstance(entry, dict) and "data" in entry:
        raise NotSupported("Data in a manifest are not supported here: put them as an object.")
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise InvalidRequest("each entry has a path")
    path: str = entry["path"]
    if not is_utf8(path):
        raise InvalidRequest("a path is not valid UTF-8")
    container, _, name = path.lstrip("/").partition("/")
    try:
        info = await catalog.object(account, container, name)
    except NotFound:
        raise InvalidRequest(f"{path}, 404 Not Found") from None
    if is_of_others(info):
        raise NotSupported(
            f"A manifest among the objects that a static one joins is not supported here: {path}."
        )
    etag, size = entry.get("etag"), entry.get("size_bytes")
    if etag not in (None, "") and str(etag).strip('"').lower() != info.etag:
        raise InvalidRequest(f"{path}, Etag Mismatch")
    if size is not None and size != info.size:
        raise InvalidRequest(f"{path}, Size Mismatch")
    start, stop = _range_of(entry.get("range"), info)
    return Segment(container, name, info.etag, info.size, start, stop)


def _range_of(text: Any, info: ObjectInfo) -> tuple[int, int]:
    if text in (None, ""):
        if not info.size:
            raise InvalidRequest(f"{info.path}, Too Small; each segment must be at least 1 byte")
        return 0, info.size
    first, dash, last = str(text).partition("-")
    if not dash or not all(part == "" or _NUMBER.fullmatch(part) for part in (first, last)):
        raise InvalidRequest(f"{info.path}, Invalid Range")
    if first:
        start, stop = int(first), min(int(last) + 1, info.size) if last else info.size
    else:
        start, stop = max(info.size - int(last or 0), 0), info.size
    if start >= stop:
        raise InvalidRequest(f"{info.path}, Unsatisfiable Range")
    return start, stop


async def parts(catalog: Catalog, account: int, info: ObjectInfo) -> tuple[list[Part], str]:
    """The bytes that a GET joins, and their ETag. :raises SegmentChanged:"""
    if not info.manifest:
        return [Part(info, 0, info.size)], info.etag
    if info.manifest == IN_PARTS:
        return [_part_of(info, part) for part in await catalog.parts(info.content)], info.etag
    if is_static(info.manifest):
        segments = segments_in(info.manifest)
        there = [await _still_there(catalog, account, each) for each in segments]
        return [part for parts in there for part in parts], info.etag
    found = await _with_prefix(catalog, account, target_of(info.manifest))
    # (A dynamic manifest among them, which may be this one, has the bytes that it has itself: with Swift, too.)
    own = [each._replace(manifest="") if each.manifest.startswith(DYNAMIC) else each for each in found]
    joined = [part for each in own for part in (await parts(catalog, account, each))[0]]
    return joined, _md5("".join(each.etag for each in found))


def _part_of(info: ObjectInfo, part: UploadedPart) -> Part:
    own = info._replace(size=part.size, content=part.content, piece_size=part.piece_size, manifest="")
    return Part(own, 0, part.size)


async def _still_there(catalog: Catalog, account: int, segment: Segment) -> list[Part]:
    try:
        info = await catalog.object(account, segment.container, segment.name)
    except NotFound:
        raise SegmentChanged(f"The segment {segment.path} is not there any more.") from None
    if (info.etag, info.size) != (segment.etag, segment.size) or is_of_others(info):
        raise SegmentChanged(f"The segment {segment.path} is another one now.")
    return cut((await parts(catalog, account, info))[0], segment.start, segment.stop)


async def _with_prefix(catalog: Catalog, account: int, target: str) -> Sequence[ObjectInfo]:
    """In their order; none, if the container is not there."""
    container, _, prefix = target.partition("/")
    found: list[ObjectInfo] = []
    marker: str | None = ""
    while marker is not None:
        try:
            page = await catalog.objects(account, container, Query(_PAGE, prefix=prefix, marker=marker))
        except NotFound:
            break
        found += page.files
        if any(is_static(each.manifest) for each in page.files):
            raise NotSupported(
                "A static manifest among the objects that a dynamic one joins is not supported here."
            )
        if len(found) > MOST_SEGMENTS:
            raise InvalidRequest(f"A manifest joins at most {MOST_SEGMENTS} objects.")
        marker = page.cursor
    return found


def is_utf8(text: str) -> bool:
    """Whether it can be written as such (JSON can say what cannot)."""
    try:
        text.encode()
    except UnicodeError:
        return False
    return True


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
