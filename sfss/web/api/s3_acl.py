"""Who may read, as S3 says it: everything is its account's; buckets and objects may be for everybody to read.

A bucket that is ``public-read`` is one whose objects everybody may read, and list, in Swift's API, too
(``X-Container-Read: .r:*,.rlistings``); an object that is ``private`` is not. An object may be ``public-read`` in any
bucket. Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html.
"""

from collections.abc import Mapping
from xml.sax.saxutils import escape

from sfss.errors import NotSupported
from sfss.http.messages import Headers
from sfss.objects.models import Metadata, ObjectInfo, User
from sfss.web.api.object_headers import ACL, PRIVATE, PUBLIC, is_public
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_xml import Element, Raw, children, document, read, text_in

_EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
#: What says that it is its account's alone.
_AS_PRIVATE = frozenset((PRIVATE, "bucket-owner-full-control", "bucket-owner-read"))
_READ = "X-Container-Read"


def acl_in(headers: Headers) -> str:
    """``private``, ``public-read``, or "" if the headers do not say. :raises NotSupported:"""
    for name in headers:
        if name.startswith("x-amz-grant-"):
            raise NotSupported(f"{name} is not supported here.")
    acl = headers.get("x-amz-acl").strip()
    if acl in ("", PUBLIC):
        return acl
    if acl in _AS_PRIVATE:
        return PRIVATE
    raise NotSupported(f"The ACL {acl[:40]!r} is not supported here.")


def acl_in_body(body: bytes, owner: str) -> str:
    """What a document asks for. :raises NotSupported: if that is something else."""
    root = read(body, "AccessControlPolicy")
    acl = PRIVATE
    if not list(children(root, "AccessControlList")):
        raise S3Error("MalformedACLError", "There is no AccessControlList.")
    for grants in children(root, "AccessControlList"):
        for grant in children(grants, "Grant"):
            right = text_in(grant, "Permission")
            grantees = list(children(grant, "Grantee"))
            group = [text_in(grantee, "URI") for grantee in grantees]
            others = {text_in(grantee, "ID") for grantee in grantees} - {"", owner}
            if group == [_EVERYBODY] and right == "READ":
                acl = PUBLIC
            elif group != [""] or right != "FULL_CONTROL" or others:
                raise NotSupported("Everything is its account's; everybody may have READ, and nothing else.")
    return acl


def rights_of(acl: str) -> dict[str, str | None]:
    """The change of a bucket that gives it this *acl*."""
    return {_READ: ".r:*,.rlistings" if acl == PUBLIC else None}


def bucket_acl(metadata: Metadata) -> str:
    return PUBLIC if is_public(metadata, listing=True) else PRIVATE


def object_acl(info: ObjectInfo, bucket: Metadata) -> str:
    return info.properties.get(ACL) or (PUBLIC if is_public(bucket, listing=False) else PRIVATE)


def properties_of(acl: str) -> Mapping[str, str]:
    return {ACL: acl} if acl else {}


def owner_of(user: User, name: str = "Owner") -> Element:
    return name, (("ID", user.account_name), ("DisplayName", user.account_name))


def acl_document(user: User, acl: str) -> bytes:
    name = escape(user.account_name)
    kind = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type'
    owner = f'<Grantee {kind}="CanonicalUser"><ID>{name}</ID><DisplayName>{name}</DisplayName></Grantee>'
    grants = f"<Grant>{owner}<Permission>FULL_CONTROL</Permission></Grant>"
    if acl == PUBLIC:
        group = f'<Grantee {kind}="Group"><URI>{_EVERYBODY}</URI></Grantee>'
        grants += f"<Grant>{group}<Permission>READ</Permission></Grant>"
    return document("AccessControlPolicy", [owner_of(user), ("AccessControlList", Raw(grants))])


def check_public(is_allowed: bool) -> None:
    """:raises S3Error:"""
    if not is_allowed:
        raise S3Error("AccessDenied", "This is not for everybody: sign the request.", 403)
