"""Objects that are made of others: a manifest names them, and a GET joins their contents.

A *dynamic* one (DLO) names a prefix, CONTAINER/PREFIX: what has it at the time of a GET is joined. A *static* one (SLO)
names each object, with the ETag that it had, and is valid for as long as they have it. What either joins may have a
static manifest itself.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sfss.errors import InvalidRequest, NotFound, NotSupported, SegmentChanged
from sfss.objects.catalog import Catalog
from sfss.objects.contents import Part, cut
from sfss.objects.models import DYNAMIC, IN_PARTS, STATIC, ObjectInfo, Query, UploadedPart

#: So many objects are joined at the most.
MOST_SEGMENTS, MOST_STATIC = 10_000, 1000
#: Of manifests that join manifests: so deep (as with Swift); so many objects are asked for; so many contents are there,
#: those of each manifest on the way counted, too.
MOST_DEPTH, MOST_ASKED, MOST_PARTS = 10, 10_000, 100_000
#: After so many, others have their turn.
_TURN = 50

#: Called with each container before its objects are looked at; raises if they may not be.
Enter = Callable[[str], Awaitable[None]]
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
    is_static: bool = False  #: it has a static manifest itself

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
    fields = [list(each if each.is_static else each[:-1]) for each in segments]
    return STATIC + json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def segments_in(manifest: str) -> list[Segment]:
    return [Segment(*each) for each in json.loads(manifest.removeprefix(STATIC))]


def static_etag(segments: Iterable[Segment]) -> str:
    texts = [each.etag + (f":{each.range};" if each.range else "") for each in segments]
    return _md5("".join(texts))


async def requested(catalog: Catalog, account: int, own: tuple[str, str], document: Any) -> list[Segment]:
    """The segments that the body of a PUT asks for. *own*: container and name of what is put.

    :raises InvalidRequest: with all that is wrong. :raises NotSupported:
    """
    if not isinstance(document, list) or not 0 < len(document) <= MOST_STATIC:
        raise InvalidRequest(f"The manifest is a list of 1 to {MOST_STATIC} objects.")
    segments: list[Segment] = []
    errors: list[str] = []
    joining = _Joining(catalog, account)
    for entry in document:
        try:
            segments.append(await _requested(joining, own, entry))
        except InvalidRequest as error:
            errors.append(str(error))
    if errors:
        raise InvalidRequest("Errors: " + "; ".join(errors[:20]))
    return segments


async def _requested(joining: "_Joining", own: tuple[str, str], entry: Any) -> Segment:
    if isinstance(entry, dict) and "data" in entry:
        raise NotSupported("Data in a manifest are not supported here: put them as an object.")
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise InvalidRequest("each entry has a path")
    path: str = entry["path"]
    if not is_utf8(path):
        raise InvalidRequest("a path is not valid UTF-8")
    container, _, name = path.lstrip("/").partition("/")
    if (container, name) == own:
        raise InvalidRequest(f"{path} is what is put, and cannot be a part of it")
    try:
        info = await joining.object(container, name)
        if info.manifest:
            await joining.parts_of_object(container, info, 1)
    except NotFound:
        raise InvalidRequest(f"{path}, 404 Not Found") from None
    except SegmentChanged as error:
        raise InvalidRequest(f"{path}, {error}") from None
    etag, size = entry.get("etag"), entry.get("size_bytes")
    if etag not in (None, "") and str(etag).strip('"').lower() != info.etag:
        raise InvalidRequest(f"{path}, Etag Mismatch")
    if size is not None and size != info.size:
        raise InvalidRequest(f"{path}, Size Mismatch")
    start, stop = _range_of(entry.get("range"), info)
    return Segment(container, name, info.etag, info.size, start, stop, is_static(info.manifest))


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


async def paths(catalog: Catalog, account: int, info: ObjectInfo) -> Iterable[tuple[str, str]]:
    """Container and name of each object that a static manifest joins, and of what those join, each once."""
    found: dict[tuple[str, str], None] = {}
    waiting = [info]
    while waiting:
        manifest = waiting.pop().manifest
        for segment in segments_in(manifest) if is_static(manifest) else ():
            path = (segment.container, segment.name)
            if segment.is_static and path not in found:
                with suppress(NotFound):
                    waiting.append(await catalog.object(account, *path))
            found[path] = None
    return found


class Joined(NamedTuple):
    """What a manifest joins. *through*: those objects of it that are joined themselves."""

    parts: list[Part]
    etag: str
    through: Sequence[ObjectInfo]


async def joined(catalog: Catalog, account: int, info: ObjectInfo, enter: Enter | None = None) -> Joined:
    """The bytes that a GET joins. :raises SegmentChanged: and what *enter* raises."""
    joining = _Joining(catalog, account, enter)
    parts = await joining.parts_of(info, 0)
    return Joined(parts, info.etag if joining.etag is None else joining.etag, joining.through)


class _Joining:
    """What is found on the way down from one manifest: each object is asked for once. *etag*: of a dynamic one."""

    def __init__(self, catalog: Catalog, account: int, enter: Enter | None = None):
        self._catalog = catalog
        self._account = account
        self._enter = enter
        self._entered: set[str] = set()
        self._asked = self._joined = 0
        self._objects: dict[tuple[str, str], ObjectInfo] = {}
        self._parts: dict[tuple[str, str], list[Part]] = {}
        self.through: list[ObjectInfo] = []
        self.etag: str | None = None

    async def object(self, container: str, name: str) -> ObjectInfo:
        """As it is joined. :raises NotFound:"""
        known = self._objects.get((container, name))
        if known is None:
            await self._go_into(container)
            await self._count()
            known = _as_joined(await self._catalog.object(self._account, container, name))
            self._objects[container, name] = known
        return known

    async def parts_of_object(self, container: str, info: ObjectInfo, depth: int) -> list[Part]:
        """As :meth:`parts_of`, of an object that may be there several times."""
        known = self._parts.get((container, info.path))
        if known is None:
            known = self._parts[container, info.path] = await self.parts_of(info, depth)
        self._joined += len(known)
        if self._joined > MOST_PARTS:
            raise SegmentChanged(f"It joins more than {MOST_PARTS} contents.")
        return known

    async def parts_of(self, info: ObjectInfo, depth: int) -> list[Part]:
        """Its bytes. :raises SegmentChanged: if they cannot be had."""
        if not info.manifest:
            return [Part(info, 0, info.size)]
        if info.manifest == IN_PARTS:
            await self._count()
            return [_part_of(info, part) for part in await self._catalog.parts(info.content)]
        if depth == MOST_DEPTH:
            raise SegmentChanged(f"It joins what is joined of others more than {MOST_DEPTH} times.")
        if depth:
            self.through.append(info._replace(manifest=""))
        if not is_static(info.manifest):
            return await self._parts_of_dynamic(info, depth)
        parts: list[Part] = []
        for segment in segments_in(info.manifest):
            own = await self.parts_of_object(segment.container, await self._still_there(segment), depth + 1)
            parts += cut(own, segment.start, segment.stop)
        return parts

    async def _parts_of_dynamic(self, info: ObjectInfo, depth: int) -> list[Part]:
        container, _, prefix = target_of(info.manifest).partition("/")
        await self._go_into(container)
        parts: list[Part] = []
        segments = await self._with_prefix(container, prefix)
        for each in segments:
            parts += await self.parts_of_object(container, _as_joined(each), depth + 1)
        self.etag = _md5("".join(each.etag for each in segments))
        return parts

    async def _go_into(self, container: str) -> None:
        if self._enter is not None and container not in self._entered:
            await self._enter(container)
            self._entered.add(container)

    async def _count(self) -> None:
        self._asked += 1
        if self._asked > MOST_ASKED:
            raise SegmentChanged(f"It joins more than {MOST_ASKED} objects.")
        if self._asked % _TURN == 0:
            await asyncio.sleep(0)

    async def _still_there(self, segment: Segment) -> ObjectInfo:
        info = await self._segment(segment.container, segment.name)
        if (info.etag, info.size) != (segment.etag, segment.size):
            raise SegmentChanged(f"The segment {segment.path} is another one now.")
        return info

    async def _segment(self, container: str, name: str) -> ObjectInfo:
        try:
            return await self.object(container, name)
        except NotFound:
            raise SegmentChanged(f"The segment /{container}/{name} is not there any more.") from None

    async def _with_prefix(self, container: str, prefix: str) -> Sequence[ObjectInfo]:
        """In their order; none, if the container is not there."""
        found: list[ObjectInfo] = []
        marker: str | None = ""
        while marker is not None:
            query = Query(_PAGE, prefix=prefix, marker=marker)
            try:
                page = await self._catalog.objects(self._account, container, query)
            except NotFound:
                break
            for each in page.files:
                # (Of what is listed only the kind of its manifest is known.)
                is_whole = not is_static(each.manifest)
                found.append(each if is_whole else await self._segment(container, each.path))
            if len(found) > MOST_SEGMENTS:
                raise InvalidRequest(f"A manifest joins at most {MOST_SEGMENTS} objects.")
            marker = page.cursor
        return found


def _as_joined(info: ObjectInfo) -> ObjectInfo:
    """A dynamic manifest, which may be the one that joins it, has the bytes that it has itself: with Swift, too."""
    return info._replace(manifest="") if info.manifest.startswith(DYNAMIC) else info


def _part_of(info: ObjectInfo, part: UploadedPart) -> Part:
    own = info._replace(size=part.size, content=part.content, piece_size=part.piece_size, manifest="")
    return Part(own, 0, part.size)


def is_utf8(text: str) -> bool:
    """Whether it can be written as such (JSON can say what cannot)."""
    try:
        text.encode()
    except UnicodeError:
        return False
    return True


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
