"""Requests of S3 that nobody has signed: what everybody may read, by the URL ``/BUCKET/KEY``.

A URL names no account: it means the oldest bucket of that name, whoever makes another one later.
"""

from sfss.errors import NoSuchContainer, NotFound
from sfss.objects import manifests
from sfss.objects.catalog import Catalog
from sfss.objects.models import ContainerInfo, ObjectInfo, User
from sfss.web.api.object_headers import PUBLIC, is_open, is_private, is_public
from sfss.web.api.s3_acl import bucket_acl, check_public, object_acl
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_request import PARTS_OF_BUCKETS, PARTS_OF_OBJECTS
from sfss.web.api.s3_signature import UNSIGNED, Signed


async def anybody(catalog: Catalog, method: str, bucket: str, key: str, arguments: frozenset[str]) -> Signed:
    """Whose bucket it is, if everybody may do this with it. (What nobody knows of *arguments* is for caches.)

    :raises S3Error: :raises NoSuchContainer:
    """
    check_public(method in ("GET", "HEAD") and bool(bucket))
    found = await catalog.containers_named(bucket)
    if not found:
        raise NoSuchContainer.of(bucket)
    account, account_name, info = found[0]
    if key:
        if any(name.startswith("response-") for name in arguments):
            raise S3Error("InvalidRequest", "What an answer says is for requests that are signed.")
        check_public(PARTS_OF_OBJECTS.isdisjoint(arguments) and "versionId" not in arguments)
        check_public(await _is_readable(catalog, account, info, key))
    else:
        check_public(PARTS_OF_BUCKETS.isdisjoint(arguments) and bucket_acl(info.metadata) == PUBLIC)
    return Signed(User(account, account_name, "", "", "", read_only=True), UNSIGNED)


async def _is_readable(catalog: Catalog, account: int, bucket: ContainerInfo, key: str) -> bool:
    try:
        info = await catalog.object(account, bucket.path, key)
    except NotFound:
        if is_public(bucket.metadata, listing=True):
            raise  # who may list may know it
        return False
    return object_acl(info, bucket.metadata) == PUBLIC and await _are_parts_public(catalog, account, info)


async def _are_parts_public(catalog: Catalog, account: int, info: ObjectInfo) -> bool:
    """Whether what it is made of is for everybody to read, too: the containers, and each object in them.

    :raises S3Error: if a container is not.
    """
    if not manifests.is_of_others(info):
        return True

    async def enter(container: str) -> None:
        check_public(await is_open(catalog, account, container))

    joined = await manifests.joined(catalog, account, info, enter)
    return not any(map(is_private, (*joined.through, *(part.info for part in joined.parts))))
