"""What boto3 does with buckets and objects, with its defaults of today.

boto3_objects.py URL ACCOUNT USER KEY FOLDER
"""

import io
import os
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

url, account, user, key, folder = sys.argv[1:]
certificates = os.environ.get("SFSS_TEST_CA")


def client(kind=boto3.client, secret=key, **config):
    return kind(
        "s3",
        endpoint_url=url,
        aws_access_key_id=f"{account}:{user}",
        aws_secret_access_key=secret,
        region_name="us-east-1",
        verify=certificates,
        config=Config(**config),
    )


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, (error, code)
    else:
        raise AssertionError(f"{code} was expected")


s3 = client()
s3.create_bucket(Bucket="bucket")
assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["bucket"]
s3.head_bucket(Bucket="bucket")
assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] is None
assert s3.get_bucket_acl(Bucket="bucket")["Grants"][0]["Permission"] == "FULL_CONTROL"
assert "Status" not in s3.get_bucket_versioning(Bucket="bucket")

# An object, its metadata, a part of it, its checksum.
name, content = "a/ü x+&.bin", os.urandom(3_000_000)
put = s3.put_object(Bucket="bucket", Key=name, Body=content, Metadata={"colour": "red"}, ContentType="a/b")
got = s3.get_object(Bucket="bucket", Key=name)
assert got["Body"].read() == content and got["ETag"] == put["ETag"]
assert (got["Metadata"], got["ContentType"]) == ({"colour": "red"}, "a/b")
assert got["ChecksumCRC32"] == put["ChecksumCRC32"]
assert s3.get_object(Bucket="bucket", Key=name, Range="bytes=5-10")["Body"].read() == content[5:11]
for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"):
    for number, body in enumerate((b"x" * 1000, io.BytesIO(b"x" * 100_000), b"")):
        s3.put_object(Bucket="bucket", Key=f"c/{algorithm}{number}", Body=body, ChecksumAlgorithm=algorithm)
    head = s3.head_object(Bucket="bucket", Key=f"c/{algorithm}0", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"]

# Listings.
pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bucket", PaginationConfig={"PageSize": 3})
names = [each["Key"] for page in pages for each in page["Contents"]]
assert names == sorted(names) and len(names) == 16
listed = s3.list_objects(Bucket="bucket", Delimiter="/")
assert [each["Prefix"] for each in listed["CommonPrefixes"]] == ["a/", "c/"]
assert s3.list_objects_v2(Bucket="bucket", Prefix="c/", StartAfter="c/SHA2562")["KeyCount"] == 0

# Copies; uploads and downloads in parts, and a copy in parts.
s3.copy_object(Bucket="bucket", Key="copied", CopySource={"Bucket": "bucket", "Key": name})
assert s3.get_object(Bucket="bucket", Key="copied")["Body"].read() == content
large = os.urandom(20_000_000)
place = os.path.join(folder, "large")
with open(place, "wb") as file:
    file.write(large)
s3.upload_file(place, "bucket", "large")
assert s3.head_object(Bucket="bucket", Key="large")["ETag"].endswith('-3"')
s3.download_file("bucket", "large", place)
with open(place, "rb") as file:
    assert file.read() == large
upload = s3.create_multipart_upload(Bucket="bucket", Key="parts", Metadata={"a": "b"})["UploadId"]
target = {"Bucket": "bucket", "Key": "parts", "UploadId": upload}
source = {"Bucket": "bucket", "Key": "large"}
first = s3.upload_part_copy(**target, PartNumber=1, CopySource=source, CopySourceRange="bytes=0-5242879")
last = s3.upload_part(**target, PartNumber=7, Body=b"end")
s3.upload_part(**target, PartNumber=3, Body=b"not wanted")
assert [each["PartNumber"] for each in s3.list_parts(**target)["Parts"]] == [1, 3, 7]
assert [each["Key"] for each in s3.list_multipart_uploads(Bucket="bucket")["Uploads"]] == ["parts"]
chosen = [
    {"PartNumber": 1, "ETag": first["CopyPartResult"]["ETag"]},
    {"PartNumber": 7, "ETag": last["ETag"]},
]
refused("InvalidPartOrder", s3.complete_multipart_upload, **target, MultipartUpload={"Parts": chosen[::-1]})
s3.complete_multipart_upload(**target, MultipartUpload={"Parts": chosen})
got = s3.get_object(Bucket="bucket", Key="parts")
assert got["Body"].read() == large[:5242880] + b"end" and got["Metadata"] == {"a": "b"}
tail = s3.get_object(Bucket="bucket", Key="parts", Range="bytes=-5")["Body"].read()
assert tail == large[5242878:5242880] + b"end"
refused("NoSuchUpload", s3.list_parts, **target)
upload = s3.create_multipart_upload(Bucket="bucket", Key="gone")["UploadId"]
s3.upload_part(Bucket="bucket", Key="gone", UploadId=upload, PartNumber=1, Body=b"x")
s3.abort_multipart_upload(Bucket="bucket", Key="gone", UploadId=upload)
refused("NoSuchKey", s3.get_object, Bucket="bucket", Key="gone")

# URLs that are signed, by version 4 and by version 2.
for version in ("s3v4", "s3"):
    signer = client(signature_version=version)
    asked = {"Bucket": "bucket", "Key": name, "ResponseContentType": "x/y"}
    signed = signer.generate_presigned_url("get_object", Params=asked, ExpiresIn=60)
    with urllib.request.urlopen(signed, timeout=10) as answer:
        assert answer.read() == content and answer.headers["Content-Type"] == "x/y"
    signed = signer.generate_presigned_url(
        "put_object", Params={"Bucket": "bucket", "Key": "signed"}, ExpiresIn=60
    )
    request = urllib.request.Request(signed, data=b"hello", method="PUT", headers={"Content-Type": ""})
    urllib.request.urlopen(request, timeout=10).close()
    assert s3.get_object(Bucket="bucket", Key="signed")["Body"].read() == b"hello"

# What is not there, not allowed, or not supported says so.
refused("NoSuchKey", s3.get_object, Bucket="bucket", Key="none")
refused("NoSuchBucket", s3.get_object, Bucket="none", Key="none")
refused("BucketNotEmpty", s3.delete_bucket, Bucket="bucket")
refused("PreconditionFailed", s3.put_object, Bucket="bucket", Key="copied", Body=b"", IfNoneMatch="*")
refused("PreconditionFailed", s3.put_object, Bucket="bucket", Key="copied", Body=b"", IfMatch='"x"')
refused("NoSuchBucketPolicy", s3.get_bucket_policy, Bucket="bucket")
refused("NotImplemented", s3.put_bucket_policy, Bucket="bucket", Policy="{}")
refused("NotImplemented", s3.put_object, Bucket="bucket", Key="x", Body=b"x", ACL="authenticated-read")
refused("NotImplemented", s3.put_object, Bucket="bucket", Key="x", Body=b"x", ServerSideEncryption="AES256")
refused("InvalidBucketName", s3.create_bucket, Bucket="Capital")
refused("SignatureDoesNotMatch", client(secret="x").list_buckets)

wanted = {"Objects": [{"Key": "copied"}, {"Key": "nothing"}]}
assert len(s3.delete_objects(Bucket="bucket", Delete=wanted)["Deleted"]) == 2
client(boto3.resource).Bucket("bucket").objects.all().delete()
s3.delete_bucket(Bucket="bucket")
assert s3.list_buckets()["Buckets"] == []
print("all steps")
