"""What buckets and objects have beside their bytes, by boto3 and by what browsers do; it ends with "all steps"."""

import datetime as dt
import sys

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

url, account, user, key, folder = sys.argv[1:]


def client(version=None):
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=f"{account}:{user}",
        aws_secret_access_key=key,
        config=Config(signature_version=version),
    )


s3 = client()


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
    else:
        raise AssertionError(f"{call} was not refused")


s3.create_bucket(Bucket="bucket")

# Tags.
s3.put_object(Bucket="bucket", Key="o", Body=b"content", Tagging="a=1&b=%C3%A9+x")
tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "é x"}]
assert s3.get_object_tagging(Bucket="bucket", Key="o")["TagSet"] == tags
assert (
    s3.head_object(Bucket="bucket", Key="o")["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "2"
)
s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/o")
assert s3.get_object_tagging(Bucket="bucket", Key="copy")["TagSet"] == tags
s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/o", Tagging="c=3", TaggingDirective="REPLACE")
assert s3.get_object_tagging(Bucket="bucket", Key="copy")["TagSet"] == [{"Key": "c", "Value": "3"}]
s3.put_object_tagging(Bucket="bucket", Key="o", Tagging={"TagSet": [{"Key": "d", "Value": ""}]})
assert s3.get_object_tagging(Bucket="bucket", Key="o")["TagSet"] == [{"Key": "d", "Value": ""}]
s3.delete_object_tagging(Bucket="bucket", Key="o")
assert s3.get_object_tagging(Bucket="bucket", Key="o")["TagSet"] == []
many = [{"Key": str(n), "Value": ""} for n in range(11)]
refused("BadRequest", s3.put_object_tagging, Bucket="bucket", Key="o", Tagging={"TagSet": many})
refused("InvalidTag", s3.put_object_tagging, Bucket="bucket", Key="o", Tagging={"TagSet": many[:1] * 2})
refused("NoSuchKey", s3.put_object_tagging, Bucket="bucket", Key="none", Tagging={"TagSet": []})
refused("NoSuchTagSet", s3.get_bucket_tagging, Bucket="bucket")
s3.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": many})
assert s3.get_bucket_tagging(Bucket="bucket")["TagSet"] == many
s3.delete_bucket_tagging(Bucket="bucket")
refused("NoSuchTagSet", s3.get_bucket_tagging, Bucket="bucket")
upload = s3.create_multipart_upload(Bucket="bucket", Key="parts", Tagging="p=1", ACL="public-read")[
    "UploadId"
]
part = s3.upload_part(Bucket="bucket", Key="parts", UploadId=upload, PartNumber=1, Body=b"part")
parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
s3.complete_multipart_upload(Bucket="bucket", Key="parts", UploadId=upload, MultipartUpload=parts)
assert s3.get_object_tagging(Bucket="bucket", Key="parts")["TagSet"] == [{"Key": "p", "Value": "1"}]

# Attributes.
found = s3.get_object_attributes(
    Bucket="bucket", Key="parts", ObjectAttributes=["ETag", "ObjectSize", "ObjectParts"]
)
assert (found["ObjectSize"], found["ObjectParts"]["TotalPartsCount"]) == (4, 1) and found["ETag"].endswith(
    "-1"
)
found = s3.get_object_attributes(Bucket="bucket", Key="o", ObjectAttributes=["Checksum", "StorageClass"])
assert found["StorageClass"] == "STANDARD" and found["Checksum"]["ChecksumCRC32"]


# Who may read.
def grants(acl):
    return sorted(
        grant["Grantee"].get("URI", grant["Permission"]).rpartition("/")[2] for grant in acl["Grants"]
    )


assert (
    grants(s3.get_bucket_acl(Bucket="bucket"))
    == ["FULL_CONTROL"]
    == grants(s3.get_object_acl(Bucket="bucket", Key="o"))
)
assert requests.get(f"{url}/bucket/parts").content == b"part"  # which is public-read in a private bucket
for path in ("bucket/o", "bucket", "bucket/none", ""):
    assert requests.get(f"{url}/{path}").status_code in ((300,) if not path else (403,)), path
assert requests.get(f"{url}/nobucket/x").status_code == 404
assert requests.get(f"{url}/bucket/parts?acl").status_code == 403
assert requests.put(f"{url}/bucket/parts", b"x").status_code == 403
s3.put_object_acl(Bucket="bucket", Key="parts", ACL="private")
assert requests.get(f"{url}/bucket/parts").status_code == 403
s3.create_bucket(Bucket="public", ACL="public-read")
s3.put_object(Bucket="public", Key="dir/é", Body=b"for all")
s3.put_object(Bucket="public", Key="secret", Body=b"not", ACL="private")
assert grants(s3.get_bucket_acl(Bucket="public")) == ["AllUsers", "FULL_CONTROL"]
assert grants(s3.get_object_acl(Bucket="public", Key="secret")) == ["FULL_CONTROL"]
found = requests.get(f"{url}/public/dir/é")
assert (
    found.content == b"for all"
    and requests.head(f"{url}/public/dir/é").headers["etag"] == found.headers["etag"]
)
assert (
    requests.get(f"{url}/public/secret").status_code == 403
    and requests.get(f"{url}/public/none").status_code == 404
)
assert requests.get(f"{url}/v1/AUTH_{account}/public/secret").status_code == 403
assert requests.get(f"{url}/v1/AUTH_{account}/public/dir/é").content == b"for all"
assert "<Key>dir/é</Key>" in requests.get(f"{url}/public?list-type=2").content.decode()
assert requests.get(f"{url}/public?cors").status_code == 403
s3.put_bucket_acl(Bucket="public", ACL="private")
assert requests.get(f"{url}/public/dir/é").status_code == 403
acl = s3.get_bucket_acl(Bucket="public")
everybody = {
    "Grantee": {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"},
    "Permission": "READ",
}
policy = {"Owner": acl["Owner"], "Grants": [*acl["Grants"], everybody]}
s3.put_bucket_acl(Bucket="public", AccessControlPolicy=policy)
assert requests.get(f"{url}/public/dir/é").status_code == 200
for acl in ("public-read-write", "authenticated-read"):
    refused("NotImplemented", s3.put_bucket_acl, Bucket="public", ACL=acl)
    refused("NotImplemented", s3.put_object, Bucket="public", Key="x", ACL=acl)

# Pages of other sites.
refused("NoSuchCORSConfiguration", s3.get_bucket_cors, Bucket="bucket")
rules = [
    {
        "ID": "one",
        "AllowedOrigins": ["https://*.example.org"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["content-*", "x-amz-*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 600,
    }
]
s3.put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": rules})
assert s3.get_bucket_cors(Bucket="bucket")["CORSRules"] == rules
presigned = s3.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "from a page"})
origin = {"Origin": "https://www.example.org"}
asks = {
    **origin,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "content-type,X-Amz-Date",
}
answer = requests.options(presigned, headers=asks)
assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == origin["Origin"]
assert answer.headers["access-control-allow-headers"] == "content-type, x-amz-date"
assert answer.headers["access-control-max-age"] == "600"
for wrong in (
    {**asks, "Origin": "https://example.com"},
    {**asks, "Access-Control-Request-Method": "DELETE"},
    {**asks, "Access-Control-Request-Headers": "authorization"},
):
    answer = requests.options(presigned, headers=wrong)
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
answer = requests.put(presigned, b"x", headers=origin)
assert answer.status_code == 200 and answer.headers["access-control-expose-headers"] == "ETag"
answer = requests.get(presigned, headers=origin)  # signed for something else: the page shall see why
assert answer.status_code == 403 and answer.headers["access-control-allow-origin"] == origin["Origin"]
answer = requests.put(presigned, b"x", headers={"Origin": "https://example.com"})
assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
s3.delete_bucket_cors(Bucket="bucket")
assert requests.options(presigned, headers=asks).status_code == 403
refused(
    "InvalidRequest",
    s3.put_bucket_cors,
    Bucket="bucket",
    CORSConfiguration={"CORSRules": [{**rules[0], "AllowedMethods": ["COPY"]}]},
)

# Lifecycles. (What they do is tested elsewhere: it takes days.)
refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, Bucket="bucket")
rules = [
    {"ID": "logs", "Filter": {"Prefix": "logs/"}, "Status": "Enabled", "Expiration": {"Days": 7}},
    {
        "ID": "uploads",
        "Filter": {"Prefix": ""},
        "Status": "Disabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 3},
    },
    {
        "ID": "day",
        "Filter": {"Prefix": "a"},
        "Status": "Enabled",
        "Expiration": {"Date": dt.datetime(2030, 1, 1, tzinfo=dt.UTC)},
    },
]
s3.put_bucket_lifecycle_configuration(Bucket="bucket", LifecycleConfiguration={"Rules": rules})
found = s3.get_bucket_lifecycle_configuration(Bucket="bucket")["Rules"]
assert [{**rule, "Expiration": rule.get("Expiration")} for rule in found] == [
    {**rule, "Expiration": rule.get("Expiration")} for rule in rules
], found
transition = {**rules[0], "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}
refused(
    "NotImplemented",
    s3.put_bucket_lifecycle_configuration,
    Bucket="bucket",
    LifecycleConfiguration={"Rules": [transition]},
)
by_tag = {**rules[0], "Filter": {"Tag": {"Key": "a", "Value": "b"}}}
refused(
    "NotImplemented",
    s3.put_bucket_lifecycle_configuration,
    Bucket="bucket",
    LifecycleConfiguration={"Rules": [by_tag]},
)
s3.delete_bucket_lifecycle(Bucket="bucket")

# Forms of browsers.
for version in ("s3", "s3v4"):
    signer = client(version)
    signature = "signature" if version == "s3" else "x-amz-signature"
    post = signer.generate_presigned_post(
        "bucket",
        "forms/${filename}",
        Fields={"Content-Type": "text/plain", "x-amz-meta-colour": "red", "success_action_status": "201"},
        Conditions=[
            {"Content-Type": "text/plain"},
            {"x-amz-meta-colour": "red"},
            {"success_action_status": "201"},
            ["content-length-range", 3, 3_000_000],
            ["starts-with", "$key", "forms/"],
        ],
    )
    assert post["url"] == f"{url}/bucket"
    for content in (b"small", bytes(range(256)) * 10_000, b"\r\n--x\r\n" * 1000):
        answer = requests.post(post["url"], data=post["fields"], files={"file": ("dir/ö.txt", content)})
        assert answer.status_code == 201 and "<Key>forms/ö.txt</Key>" in answer.content.decode(), (
            answer.content
        )
        found = s3.get_object(Bucket="bucket", Key="forms/ö.txt")
        assert (
            found["Body"].read() == content
            and found["Metadata"] == {"colour": "red"}
            and found["ContentType"] == "text/plain"
        )
    file = {"file": ("a", b"123")}
    for change, code in (
        ({"key": "other/a"}, "AccessDenied"),
        ({"x-amz-meta-more": "1"}, "AccessDenied"),
        ({"Content-Type": "text/html"}, "AccessDenied"),
        ({signature: "0" * 64}, "SignatureDoesNotMatch"),
        (
            {"policy": post["fields"]["policy"][:-8] + "AAAA" + post["fields"]["policy"][-4:]},
            "SignatureDoesNotMatch",
        ),
    ):
        answer = requests.post(post["url"], data={**post["fields"], **change}, files=file)
        assert answer.status_code == 403 and code in answer.text, (change, answer.text)
    for content, code in ((b"12", "EntityTooSmall"), (bytes(3_000_001), "EntityTooLarge")):
        answer = requests.post(post["url"], data=post["fields"], files={"file": ("bad", content)})
        assert answer.status_code == 400 and code in answer.text, answer.text
    assert requests.post(post["url"], files=file).status_code == 403
    assert requests.post(post["url"], data=post["fields"]).status_code in (400, 403, 405)
    old = signer.generate_presigned_post("bucket", "old", ExpiresIn=-1)
    assert requests.post(old["url"], data=old["fields"], files=file).status_code == 403
    back = signer.generate_presigned_post(
        "bucket",
        "back",
        Fields={"success_action_redirect": "https://example.org/x?y=1"},
        Conditions=[["starts-with", "$success_action_redirect", ""]],
    )
    answer = requests.post(back["url"], data=back["fields"], files=file, allow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"].startswith(
        "https://example.org/x?y=1&bucket=bucket&key=back&etag="
    )
    assert [each["Key"] for each in s3.list_objects_v2(Bucket="bucket", Prefix="forms/")["Contents"]] == [
        "forms/ö.txt"
    ]

# A delete with a condition.
refused("PreconditionFailed", s3.delete_object, Bucket="bucket", Key="o", IfMatch='"x"')
s3.delete_object(Bucket="bucket", Key="o", IfMatch=s3.head_object(Bucket="bucket", Key="copy")["ETag"])
refused("404", s3.head_object, Bucket="bucket", Key="o")
print("all steps")
