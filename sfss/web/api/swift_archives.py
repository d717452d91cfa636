"""Archives whose files become objects, as Swift's bulk middleware does it.

Source: https://docs.openstack.org/swift/latest/middleware.html#module-swift.common.middleware.bulk.
"""

from sfss.errors import FileTooLarge, InvalidRequest, SfssError
from sfss.http.messages import Response
from sfss.objects.manifests import is_utf8
from sfss.objects.service import Objects, check_names
from sfss.web.api.swift_bulk import outcome
from sfss.web.api.swift_headers import content_type_in, expires_in, object_metadata
from sfss.web.api.swift_request import Asked
from sfss.web.archives import FILE, KINDS, SPARSE, Archive, NoArchive, plain

MOST_FILES = 10_000
MOST_ERRORS = 1000


async def extract(objects: Objects, asked: Asked, kind: str) -> Response:
    """Its files below what the URL names, each as if it were put with the headers of the request. (Files that would be
    in no container are passed over.) The answer says how many, and which could not be put.
    """
    if kind not in KINDS:
        raise InvalidRequest("extract-archive is tar, tar.gz or tar.bz2.")
    below = f"{asked.container}/{asked.name}".strip("/")
    created = 0
    errors: list[list[str]] = []
    made: set[str] = set()  # containers
    metadata, expires = object_metadata(asked.headers), expires_in(asked.headers)
    archive = Archive(plain(asked.body, kind))
    try:
        while (member := await archive.next()) is not None:
            if member.kind not in (FILE, SPARSE):
                continue
            path = f"{below}/{member.path}".lstrip("/")
            container, _, name = path.partition("/")
            if not name:
                continue
            try:
                if not is_utf8(path):
                    raise InvalidRequest("The name is not valid UTF-8.")
                if member.kind == SPARSE:
                    raise InvalidRequest("Sparse files are not unpacked.")
                check_names(container, name)
                if container not in made:
                    await objects.catalog.make_container(asked.account, container, {})
                    made.add(container)
                await objects.put(
                    asked.account,
                    container,
                    name,
                    archive.content(member),
                    content_type=content_type_in(asked.headers, name),
                    metadata=metadata,
                    expires=expires,
                    length=member.size,
                )
                created += 1
            except NoArchive:
                raise
            except (InvalidRequest, FileTooLarge) as error:
                errors.append([path.encode("utf-8", "replace").decode(), f"400 Bad Request: {error}"])
            if created + len(errors) > MOST_FILES or len(errors) > MOST_ERRORS:
                raise InvalidRequest(f"There are at most {MOST_FILES} files in an archive.")
    except NoArchive as error:
        errors.append(["", str(error)])
    except SfssError as error:
        if not created:
            raise
        errors.append(["", str(error)])  # what is there already stays: the client has to know
    status = "400 Bad Request" if errors else "201 Created"
    return outcome({"Number Files Created": created}, errors, asked.headers, status=status)
