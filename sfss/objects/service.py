"""The rules between HTTP and the catalog: how an object is put, read, joined and deleted."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

from sfss.admission import Room
from sfss.errors import ContentMismatch, FileTooLarge, InvalidRequest, NameTooLong, NotFound
from sfss.objects import manifests
from sfss.objects.catalog import Catalog
from sfss.objects.clock import now_us
from sfss.objects.contents import Part, Pieces, cut
from sfss.objects.limits import MAX_OBJECT_SIZE
from sfss.objects.models import NONE, Metadata, ObjectInfo, Upload, UploadedPart
from sfss.objects.writing import Body, Writing
from sfss.service import FileService

MAX_CONTAINER_NAME, MAX_OBJECT_NAME = 256, 1024  # bytes
#: What an object of a listing takes, about.
_LISTED_BYTES = 1024


class Found(NamedTuple):
    """An object as a GET gives it. *parts*: what it is made of."""

    info: ObjectInfo
    parts: list[Part]
    size: int
    etag: str
    through: Sequence[ObjectInfo] = ()  #: what is joined of others on the way to them


#: An account, a container, and the name of an object.
Path = tuple[int, str, str]
#: The ETag of an object as clients see it.
EtagOf = Callable[[Found], str]


class Conditions(TypedDict):
    """What :meth:`Objects.put` asks for before it puts."""

    must_be_new: bool
    must_have: str | None


class Objects:
    """Objects whose contents are in *service*. *piece_size*: bytes of each piece of a new content."""

    def __init__(self, service: FileService, catalog: Catalog):
        self.service = service
        self.catalog = catalog
        self.piece_size = service.max_file_size
        #: Whether a small object is read without waiting for anything.
        self.reads_at_once = service.reads_at_once and catalog.reads_at_once

    async def put(
        self,
        account: int,
        container: str,
        name: str,
        body: Body,
        *,
        content_type: str,
        metadata: Metadata,
        manifest: str = "",
        properties: Metadata = NONE,
        expires: int = 0,
        etag: str | None = None,
        length: int | None = None,
        must_be_new: bool = False,
        must_have: str | None = None,
    ) -> ObjectInfo:
        """*etag*: what the MD5 of the body has to be. *length*: of the body, if it is known. *metadata* is looked at
        when the body has come. *must_be_new*, *must_have*: there must be no such object, or one with this ETag.

        :raises NoSuchContainer: :raises FileTooLarge: :raises ContentMismatch: :raises PreconditionFailed:
        """
        check_names(container, name)
        if (
            length is None or length > self.piece_size
        ):  # (a smaller one is here before an answer would be there)
            await self.catalog.container(account, container)
        writing = Writing(self.service, self.catalog, self.piece_size)
        written = await writing.or_given_up(writing.take(body, etag, length))
        info = ObjectInfo(
            name,
            written.size,
            written.md5,
            content_type,
            now_us(),
            written.content,
            self.piece_size,
            metadata,
            manifest,
            properties,
            expires,
        )
        naming = self.catalog.put_object(
            account, container, info, must_be_new=must_be_new, must_have=must_have
        )
        return info._replace(version=await writing.or_given_up(naming))

    async def put_part(
        self, upload: Upload, number: int, body: Body, *, length: int | None, checksum: Callable[[], str]
    ) -> UploadedPart:
        """*checksum*: gives that of the body, when it has come. :raises NoSuchUpload: if it was completed or aborted
        meanwhile.
        """
        writing = Writing(self.service, self.catalog, self.piece_size)
        written = await writing.or_given_up(writing.take(body, None, length))
        part = UploadedPart(
            number, written.size, written.md5, now_us(), written.content, self.piece_size, checksum()
        )
        await writing.or_given_up(self.catalog.put_part(upload.id, part))
        return part

    async def find(
        self,
        account: int,
        container: str,
        name: str,
        version: str | None = None,
        enter: manifests.Enter | None = None,
    ) -> Found:
        """*version*: of the object; None: the one that is there now. *enter*: as :func:`manifests.joined` has it.

        :raises NoSuchContainer: :raises NotFound:
        """
        check_names(container, name)
        if version is None:
            info = await self.catalog.object(account, container, name)
        else:
            info = await self.catalog.object_version(account, container, name, version)
        return await self._found(account, info, enter)

    async def _found(self, account: int, info: ObjectInfo, enter: manifests.Enter | None = None) -> Found:
        if not info.manifest:
            return Found(info, [Part(info, 0, info.size)], info.size, info.etag)
        parts, etag, through = await manifests.joined(self.catalog, account, info, enter)
        return Found(info, parts, sum(part.stop - part.start for part in parts), etag, through)

    async def etag_itself(self, path: Path, shown: str, etag_of: EtagOf) -> str:
        """The ETag that the catalog knows an object by, whose clients know it by *shown*, as *etag_of* gives it: of
        what is joined of others these are two. *shown* itself, if it is not that one, or there is no such object.
        """
        try:
            info = await self.catalog.object(*path)
            if manifests.is_of_others(info) and etag_of(await self._found(path[0], info)) == shown:
                return info.etag
        except NotFound:
            pass  # (which the write will say)
        return shown

    async def put_static(
        self,
        account: int,
        container: str,
        name: str,
        document: Any,
        *,
        content_type: str,
        metadata: Metadata,
        expires: int = 0,
        etag: str | None = None,
        must_be_new: bool = False,
        must_have: str | None = None,
    ) -> ObjectInfo:
        """An object that is made of others. :raises InvalidRequest: if it cannot be."""
        check_names(container, name)
        segments = await manifests.requested(self.catalog, account, (container, name), document)
        size, found = sum(each.stop - each.start for each in segments), manifests.static_etag(segments)
        if etag is not None and etag != found:
            raise ContentMismatch(f"The ETag of the segments is {found}, and not {etag}.")
        if size > MAX_OBJECT_SIZE * manifests.MOST_STATIC:
            raise FileTooLarge("The object would be too large.")
        manifest = manifests.written(segments)
        own = (name, size, found, content_type, now_us(), "", self.piece_size, metadata, manifest)
        info = ObjectInfo(*own, expires=expires)
        await self.catalog.put_object(account, container, info, must_be_new=must_be_new, must_have=must_have)
        return info

    async def room_for(self, entries: int) -> Room:
        """To list so many; its taker gives it back. :raises Overloaded:"""
        room = self.service.room_to_read()
        await room.grow(entries * _LISTED_BYTES)
        return room

    def reading(self, found: Found, start: int, stop: int) -> "Reading":
        """The bytes from *start* to *stop*, in a context."""
        return Reading(self, found, start, stop)

    async def read(self, found: Found, start: int, stop: int, room: Room) -> Pieces:
        """The same, with room that is the caller's. :raises Overloaded:"""
        largest = max([part.info.piece_size for part in found.parts], default=0)
        await room.grow(min(stop - start, 2 * largest))
        return Pieces(self.service, cut(found.parts, start, stop), room)


class Reading:
    """See :meth:`Objects.reading`. :raises Overloaded:"""

    def __init__(self, objects: Objects, found: Found, start: int, stop: int):
        self._objects = objects
        self._found = found
        self._start = start
        self._stop = stop
        self._room = objects.service.room_to_read()
        self._pieces: Pieces | None = None

    async def __aenter__(self) -> Pieces:
        self._pieces = await self._objects.read(self._found, self._start, self._stop, self._room)
        return self._pieces

    async def __aexit__(self, *problem: object) -> None:
        if self._pieces is not None:
            self._pieces.close()
        self._room.release()


def check_names(container: str, name: str) -> None:
    """:raises InvalidRequest: if no object can have these."""
    check_container_name(container)
    check_object_name(name)


def check_object_name(name: str) -> None:
    """:raises InvalidRequest: if no object can have it."""
    if not name or "\0" in name:
        raise InvalidRequest(f"The name of an object has 1 to {MAX_OBJECT_NAME} bytes, none of them null.")
    if len(name.encode()) > MAX_OBJECT_NAME:
        raise NameTooLong(f"The name of an object has at most {MAX_OBJECT_NAME} bytes.")


def check_container_name(name: str) -> None:
    """:raises InvalidRequest: if it can be none."""
    if not name or "/" in name or "\0" in name or len(name.encode()) > MAX_CONTAINER_NAME:
        raise InvalidRequest(f"The name of a container has 1 to {MAX_CONTAINER_NAME} bytes, and no '/'.")
