"""What a bucket of S3 has beside its objects: who may read it, tags, rules for pages of other sites, a lifecycle."""

from collections.abc import Callable, Mapping

from sfss.errors import NotSupported
from sfss.http.messages import Response
from sfss.objects.lifecycle import LIFECYCLE, rules_of, written
from sfss.objects.models import Metadata
from sfss.objects.service import Objects
from sfss.web.api import s3_cors, s3_lifecycle
from sfss.web.api.s3_acl import acl_document, acl_in, acl_in_body, bucket_acl, rights_of
from sfss.web.api.s3_body import document_of
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_request import S3Request, answer, xml_answer
from sfss.web.api.s3_tags import tags_document, tags_in
from sfss.web.api.s3_xml import document

_TAGS = "X-Sfss-Tags"
#: Configurations that no bucket has, or that this one may not have: the code that says so.
_NONE_THERE = {
    "policy": "NoSuchBucketPolicy",
    "cors": "NoSuchCORSConfiguration",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "tagging": "NoSuchTagSet",
    "website": "NoSuchWebsiteConfiguration",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "replication": "ReplicationConfigurationNotFoundError",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "ownershipControls": "OwnershipControlsNotFoundError",
}
#: Those that can be put: where they are kept, how a document is read, and how it is written.
_KEPT: Mapping[str, tuple[str, Callable[[bytes], str], Callable[[Metadata], bytes]]] = {
    "cors": (
        s3_cors.CORS,
        s3_cors.rules_in,
        lambda metadata: s3_cors.rules_document(s3_cors.rules_of(metadata)),
    ),
    "lifecycle": (
        LIFECYCLE,
        lambda body: written(s3_lifecycle.rules_in(body)),
        lambda metadata: s3_lifecycle.rules_document(rules_of(metadata)),
    ),
    "tagging": (
        _TAGS,
        lambda body: tags_in(body, of_bucket=True),
        lambda metadata: tags_document(metadata[_TAGS]),
    ),
}


class ConfigurationHandlers:
    def __init__(self, objects: Objects):
        self._catalog = objects.catalog

    async def get(self, what: str, asked: S3Request) -> Response:
        """:raises S3Error: if the bucket has none."""
        metadata = (await self._catalog.container(asked.account, asked.bucket)).metadata
        if what in _KEPT and _KEPT[what][0] in metadata:
            return xml_answer(_KEPT[what][2](metadata))
        if what == "location":
            return xml_answer(document("LocationConstraint", []))
        if what == "acl":
            return xml_answer(acl_document(asked.user, bucket_acl(metadata)))
        if what == "requestPayment":
            return xml_answer(document("RequestPaymentConfiguration", [("Payer", "BucketOwner")]))
        if what in _NONE_THERE:
            raise S3Error(_NONE_THERE[what], f"The bucket has no {what} configuration.", 404)
        raise NotSupported(f"{what} is not supported here.")

    async def put(self, what: str, asked: S3Request) -> Response:
        if what == "acl":
            acl = acl_in(asked.headers)
            body = await document_of(asked)
            changes = rights_of(acl or acl_in_body(body, asked.user.account_name))
        elif what in _KEPT:
            name, read, _ = _KEPT[what]
            changes = {name: read(await document_of(asked))}
        else:
            raise NotSupported(f"PUT of {what} is not supported here.")
        await self._catalog.change_container(asked.account, asked.bucket, changes)
        return answer(200)

    async def delete(self, what: str, asked: S3Request) -> Response:
        if what not in _KEPT:
            raise NotSupported(f"DELETE of {what} is not supported here.")
        await self._catalog.change_container(asked.account, asked.bucket, {_KEPT[what][0]: None})
        return answer(204)
