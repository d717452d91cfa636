"""Objects by S3 with apache-libcloud 3.9.0, which streams even small ones in parts.

libcloud_s3.py URL ACCOUNT USER KEY FOLDER
"""

import hashlib
import os
import sys
from urllib.parse import urlsplit

from libcloud.storage.providers import get_driver
from libcloud.storage.types import ContainerDoesNotExistError, ObjectDoesNotExistError, Provider

url, account, user, key, folder = sys.argv[1:]
place = urlsplit(url)

s3 = get_driver(Provider.S3)(
    f"{account}:{user}", key, host=place.hostname, port=place.port, secure=place.scheme == "https"
)
container = s3.create_container("pictures")
assert [each.name for each in s3.list_containers()] == ["pictures"]

photo = os.path.join(folder, "photo.jpg")
content = os.urandom(700_000)
with open(photo, "wb") as file:
    file.write(content)
extra = {"meta_data": {"author": "me"}, "content_type": "image/jpeg"}
put = container.upload_object(photo, "a/é b.jpg", extra=extra)
assert put.hash == hashlib.md5(content).hexdigest()
found = s3.get_object("pictures", "a/é b.jpg")
assert (found.size, found.hash, found.meta_data) == (len(content), put.hash, {"author": "me"})
assert found.extra["content_type"] == "image/jpeg"
back = os.path.join(folder, "back.jpg")
assert found.download(back)
with open(back, "rb") as file:
    assert file.read() == content
assert b"".join(found.range_as_stream(10, 30)) == content[10:30]

# A stream, in parts: a hundred bytes, and more than two parts.
for size in (100, 12_000_000):
    content = os.urandom(size)
    pieces = (content[start : start + 50_000] for start in range(0, size, 50_000))
    container.upload_object_via_stream(pieces, f"stream-{size}")
    assert b"".join(s3.get_object("pictures", f"stream-{size}").as_stream()) == content

assert [each.name for each in container.list_objects(prefix="stream")] == ["stream-100", "stream-12000000"]
for name, error in (("nothing", ObjectDoesNotExistError), ("stream-100", None)):
    try:
        s3.get_object("pictures", name)
        assert error is None
    except ObjectDoesNotExistError:
        assert error is not None
try:
    s3.get_container("nowhere")
    raise AssertionError("there is no such container")
except ContainerDoesNotExistError:
    pass
for each in container.list_objects():
    assert each.delete()
assert container.delete() and s3.list_containers() == []
print("all steps")
