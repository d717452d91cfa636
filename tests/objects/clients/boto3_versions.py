"""Versions of objects by boto3; it ends with "all steps"."""

import sys

import boto3
from botocore.exceptions import ClientError

url, account, user, key, folder = sys.argv[1:]
s3 = boto3.client(
    "s3",
    endpoint_url=url,
    region_name="us-east-1",
    aws_access_key_id=f"{account}:{user}",
    aws_secret_access_key=key,
)
BUCKET = {"Bucket": "bucket"}
OBJECT = {"Bucket": "bucket", "Key": "dir/ö"}


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        return error.response["ResponseMetadata"]["HTTPHeaders"]
    raise AssertionError(f"{call} was not refused")


s3.create_bucket(**BUCKET)
assert "Status" not in s3.get_bucket_versioning(**BUCKET)
assert "VersionId" not in s3.put_object(**OBJECT, Body=b"null")
refused("MalformedXML", s3.put_bucket_versioning, **BUCKET, VersioningConfiguration={"Status": "On"})
s3.put_bucket_versioning(**BUCKET, VersioningConfiguration={"Status": "Enabled"})
assert s3.get_bucket_versioning(**BUCKET)["Status"] == "Enabled"
one = s3.put_object(**OBJECT, Body=b"one", Tagging="v=1")["VersionId"]
large = bytes(range(256)) * 20_000
two = s3.put_object(**OBJECT, Body=large)["VersionId"]
assert s3.get_object(**OBJECT)["VersionId"] == two == s3.head_object(**OBJECT)["VersionId"]
assert s3.get_object(**OBJECT, VersionId=one)["Body"].read() == b"one"
assert s3.get_object(**OBJECT, VersionId="null")["Body"].read() == b"null"
assert s3.get_object(**OBJECT, VersionId=two, Range="bytes=5-9")["Body"].read() == large[5:10]
assert s3.get_object_tagging(**OBJECT, VersionId=one)["TagSet"] == [{"Key": "v", "Value": "1"}]
assert s3.get_object_tagging(**OBJECT)["TagSet"] == []
other = [{"Key": "v", "Value": "one"}]
put = s3.put_object_tagging(**OBJECT, VersionId=one, Tagging={"TagSet": other})
assert put["VersionId"] == one == s3.get_object_tagging(**OBJECT, VersionId=one)["VersionId"]
assert s3.get_object_tagging(**OBJECT, VersionId=one)["TagSet"] == other
s3.delete_object_tagging(**OBJECT, VersionId=one)
assert s3.get_object_tagging(**OBJECT, VersionId=one)["TagSet"] == []
refused("NoSuchVersion", s3.get_object, **OBJECT, VersionId="0123")

# A delete leaves a marker; a copy, or a delete of the marker, restores.
deleted = s3.delete_object(**OBJECT)
assert deleted["DeleteMarker"] is True
marker = deleted["VersionId"]
headers = refused("NoSuchKey", s3.get_object, **OBJECT)
assert headers["x-amz-delete-marker"] == "true" and headers["x-amz-version-id"] == marker
headers = refused("MethodNotAllowed", s3.get_object, **OBJECT, VersionId=marker)
assert headers["x-amz-delete-marker"] == "true"
listed = s3.list_object_versions(**BUCKET)
assert [each["VersionId"] for each in listed["Versions"]] == [two, one, "null"]
assert [(each["VersionId"], each["IsLatest"]) for each in listed["DeleteMarkers"]] == [(marker, True)]
assert not any(each["IsLatest"] for each in listed["Versions"]) and listed["Versions"][1]["Size"] == 3
assert "Contents" not in s3.list_objects_v2(**BUCKET)
copied = s3.copy_object(**OBJECT, CopySource={**OBJECT, "VersionId": one})
assert copied["CopySourceVersionId"] == one and s3.get_object(**OBJECT)["Body"].read() == b"one"
s3.delete_object(**OBJECT, VersionId=copied["VersionId"])
refused("NoSuchKey", s3.get_object, **OBJECT)  # the marker is the newest again
assert s3.delete_object(**OBJECT, VersionId=marker)["DeleteMarker"] is True
assert s3.get_object(**OBJECT)["Body"].read() == large
refused("BucketNotEmpty", s3.delete_bucket, **BUCKET)

# Pages, folders.
for name in ("a", "dir/z", "é"):
    for _ in range(3):
        s3.put_object(**BUCKET, Key=name, Body=b"x")
everything = [(each["Key"], each["VersionId"]) for each in s3.list_object_versions(**BUCKET)["Versions"]]
assert len(everything) == 12 and [name for name, _ in everything] == sorted(name for name, _ in everything)
for size in (1, 2, 5):
    pages = s3.get_paginator("list_object_versions").paginate(**BUCKET, PaginationConfig={"PageSize": size})
    assert [
        (each["Key"], each["VersionId"]) for page in pages for each in page.get("Versions", [])
    ] == everything
    pages = list(
        s3.get_paginator("list_object_versions").paginate(
            **BUCKET, Delimiter="/", PaginationConfig={"PageSize": size}
        )
    )
    assert [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", [])] == ["dir/"]
    assert len([each for page in pages for each in page.get("Versions", [])]) == 6
assert {each["Key"] for each in s3.list_object_versions(**BUCKET, Prefix="dir/")["Versions"]} == {
    "dir/z",
    "dir/ö",
}

# Uploads in parts have versions, too; suspended, what has none is replaced.
upload = s3.create_multipart_upload(**OBJECT)["UploadId"]
part = s3.upload_part(**OBJECT, UploadId=upload, PartNumber=1, Body=b"part")
done = s3.complete_multipart_upload(
    **OBJECT, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
)
s3.put_object(**OBJECT, Body=b"last")
assert s3.get_object(**OBJECT, VersionId=done["VersionId"])["Body"].read() == b"part"
s3.put_bucket_versioning(**BUCKET, VersioningConfiguration={"Status": "Suspended"})
assert "VersionId" not in s3.put_object(**OBJECT, Body=b"without")
assert s3.get_object(**OBJECT, VersionId="null")["Body"].read() == b"without"
assert s3.delete_object(**OBJECT)["VersionId"] == "null"
refused("NoSuchKey", s3.get_object, **OBJECT)

# Everything goes, many at once.
while True:
    listed = s3.list_object_versions(**BUCKET, MaxKeys=7)
    named = [
        {"Key": each["Key"], "VersionId": each["VersionId"]}
        for each in [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]
    ]
    if not named:
        break
    answer = s3.delete_objects(**BUCKET, Delete={"Objects": named})
    assert len(answer["Deleted"]) == len(named) and "Errors" not in answer
s3.delete_bucket(**BUCKET)
print("all steps")
