"""Archives whose files become objects, as Swift's bulk middleware does it.

Source: https://docs.openstack.org/swift/latest/middleware.html#module-swift.common.middleware.bulk.
"""

from sfss.errors import FileTooLarge, InvalidRequest, Overloaded, SfssError
from sfss.http.messages import Response
from sfss.objects.manifests import is_utf8
from sfss.objects.service import Objects, check_names
from sfss.web.api.swift_bulk import outcome
from sfss.web.api.swift_request import Asked
from sfss.web.archives import KINDS, UNREADABLE, Members

#: So many archives are read at once, each in a thread of its own.
MOST_AT_ONCE = 8
MOST_FILES = 10_000
MOST_ERRORS = 1000


async def extract(objects: Objects, asked: Asked, kind: str, content_type: str) -> Response:
    """Its files below what the URL names. The answer says how many, and which could not be put."""
    if kind not in KINDS:
        raise InvalidRequest("extract-archive is tar, tar.gz or tar.bz2.")
    below = f"{asked.container}/{asked.name}".strip("/")
    created = 0
    errors: list[list[str]] = []
    made: set[str] = set()  # containers
    if len(_under_way) >= MOST_AT_ONCE:
        raise Overloaded.now()
    members = Members(asked.body, KINDS[kind])
    _under_way.add(members)
    status = "201 Created"
    try:
        while (member := await members.next()) is not None:
            path = f"{below}/{member.name.removeprefix('./').lstrip('/')}".lstrip("/")
            container, _, name = path.partition("/")
            try:
                if not is_utf8(path):
                    raise InvalidRequest("The name is not valid UTF-8.")
                if member.issparse():
                    raise InvalidRequest("Sparse files are not unpacked.")
                check_names(container, name)
                if container not in made:
                    await objects.catalog.make_container(asked.account, container, {})
                    made.add(container)
                content = members.content()
                await objects.put(
                    asked.account,
                    container,
                    name,
                    content,
                    content_type=content_type,
                    metadata={},
                    length=member.size,
                )
                created += 1
            except (InvalidRequest, FileTooLarge) as error:
                errors.append([path.encode("utf-8", "replace").decode(), f"400 Bad Request: {error}"])
            if created + len(errors) > MOST_FILES or len(errors) > MOST_ERRORS:
                raise InvalidRequest(f"There are at most {MOST_FILES} files in an archive.")
    except UNREADABLE as error:
        errors.append(["", f"The archive cannot be read: {error}"])
        status = "400 Bad Request"
    except SfssError as error:
        if not created:
            raise
        errors.append(["", str(error)])  # what is there already stays: the client has to know
        status = "400 Bad Request"
    finally:
        _under_way.discard(members)
        members.close()
    return outcome({"Number Files Created": created}, errors, asked.headers, status=status)


_under_way: set[Members] = set()
