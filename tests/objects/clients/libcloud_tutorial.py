"""The steps of seeds/making-it-durable.rst, in their order, with apache-libcloud 1.5.0 or 3.9.0.

libcloud_tutorial.py URL ACCOUNT USER KEY FOLDER
"""

import hashlib
import os
import sys
import urllib.request

import libcloud
from libcloud.storage.providers import get_driver
from libcloud.storage.types import ContainerIsNotEmptyError, ObjectHashMismatchError, Provider

is_new = libcloud.__version__ >= "3"
url, account, user, key, folder = sys.argv[1:]

swift = get_driver(Provider.OPENSTACK_SWIFT)(
    user,
    key,
    ex_force_auth_url=url,
    ex_force_auth_version="2.0_password",
    ex_tenant_name=account,
    ex_force_service_type="object-store",
    ex_force_service_name="swift",
    ex_force_service_region="RegionOne",
    secure=url.startswith("https"),
)

# A container.
container = swift.create_container(container_name="fractals")
assert [each.name for each in swift.list_containers()] == ["fractals"]

# The goat, and its MD5.
goat = os.urandom(954465)
photo = os.path.join(folder, "goat.jpg")
with open(photo, "wb") as file:
    file.write(goat)
container = swift.get_container(container_name="fractals")
swift.upload_object(file_path=photo, container=container, object_name="an amazing goat")
(listed,) = container.list_objects()
assert (listed.name, listed.size) == ("an amazing goat", len(goat))
found = swift.get_object(container_name="fractals", object_name="an amazing goat")
assert found.hash == hashlib.md5(goat).hexdigest()
swift.delete_object(found)
assert container.list_objects() == []

# The pictures of an application, by stream.
container = swift.get_container(container_name="fractals")
for number in range(5):
    picture = os.urandom(60_000 + number)
    pieces = (picture[start : start + 1000] for start in range(0, len(picture), 1000))
    try:
        container.upload_object_via_stream(pieces, object_name=f"picture-{number}")
    except ObjectHashMismatchError:
        assert is_new  # (3.9 sends all of an iterator, and then compares with the MD5 of what is left of it.)
    assert swift.get_object("fractals", f"picture-{number}").hash == hashlib.md5(picture).hexdigest()
assert len(container.list_objects()) == 5

# A container is deleted when it is empty, and not before.
try:
    swift.delete_container(container)
except ContainerIsNotEmptyError:
    pass
else:
    raise AssertionError("a container with objects was deleted")
for each in container.list_objects():
    swift.delete_object(each)
swift.delete_container(container)
assert swift.list_containers() == []

# Metadata.
container = swift.create_container(container_name="fractals")
description = {"description": "a funny goat", "created": "2015-06-02"}
with open(photo, "rb") as stream:
    container.upload_object_via_stream(stream, object_name="goat.jpg", extra={"meta_data": description})
found = swift.get_object("fractals", "goat.jpg")
assert found.meta_data == description and found.hash == hashlib.md5(goat).hexdigest()

# A large object, by manifest.
large = os.urandom(3_500_000)
with open(photo, "wb") as file:
    file.write(large)
# (3.9 compares with the same wrong MD5 here.)
swift.ex_multipart_upload_object(photo, container, "large", chunk_size=1_000_000, verify_hash=not is_new)
found = swift.get_object("fractals", "large")
assert found.size == len(large)
if is_new:
    assert b"".join(found.as_stream()) == large
    assert b"".join(found.range_as_stream(10, 1_000_010)) == large[10:1_000_010]
# (The streams of 1.5.0 end with an error since Python 3.7.)
request = urllib.request.Request(
    f"{url}/v1/AUTH_{account}/fractals/large", headers={"X-Auth-Token": swift.connection.auth_token}
)
with urllib.request.urlopen(request, timeout=10) as answer:
    assert answer.read() == large
print("all steps")
