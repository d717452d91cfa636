"""django-storages over S3, with its defaults: also those of its private URLs. It ends with "all steps"."""

import sys
import urllib.error
import urllib.request

import django
from django.conf import settings

url, account, user, key, folder = sys.argv[1:]
options = {"endpoint_url": url, "access_key": f"{account}:{user}", "secret_key": key, "bucket_name": "media"}
settings.configure(
    STORAGES={
        "default": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {**options, "region_name": "us-east-1"},
        },
        "public": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                **options,
                "default_acl": "public-read",
                "querystring_auth": False,
                "location": "public",
            },
        },
        "gzipped": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {**options, "gzip": True, "file_overwrite": False, "location": "z"},
        },
    }
)
django.setup()

import boto3  # noqa: E402
from django.core.files.base import ContentFile  # noqa: E402
from django.core.files.storage import storages  # noqa: E402

boto3.client(
    "s3",
    endpoint_url=url,
    aws_access_key_id=f"{account}:{user}",
    aws_secret_access_key=key,
    region_name="us-east-1",
).create_bucket(Bucket="media")


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address) as answer:
        return answer.read()


media = storages["default"]
content = bytes(range(256)) * 40_000
name = media.save("avatars/é/a b.jpg", ContentFile(content))
assert media.exists(name) and not media.exists("none") and media.size(name) == len(content)
with media.open(name) as file:
    assert file.read(10) == content[:10]
    file.seek(1_000_000)
    assert file.read() == content[1_000_000:]
assert media.listdir("avatars") == (["é"], []) and media.listdir("avatars/é") == ([], ["a b.jpg"])
assert media.get_modified_time(name).year >= 2026
address = media.url(name)
assert "Signature=" in address and fetched(address) == content
try:
    fetched(address.replace("Signature=", "Signature=x"))
except urllib.error.HTTPError as error:
    assert error.code == 403
else:
    raise AssertionError("a wrong signature was let in")
with media.open("written.txt", "w") as file:
    file.write("one line")
assert media.open("written.txt").read() == b"one line"

public = storages["public"]
name = public.save("logo.svg", ContentFile(b"<svg/>"))
address = public.url(name)
assert "?" not in address and fetched(address) == b"<svg/>"

gzipped = storages["gzipped"]
names = [gzipped.save("site.css", ContentFile(b"a {}" * 1000)) for _ in range(2)]
assert names[0] == "site.css" and names[1] != "site.css" and gzipped.open(names[1]).read() == b"a {}" * 1000
for storage, kept in ((media, "written.txt"), (gzipped, names[1]), (public, "logo.svg")):
    storage.delete(kept)
    assert not storage.exists(kept)
    storage.delete(kept)
print("all steps")
