"""What openstacksdk does with containers and objects, by each of its ways to come in.

openstacksdk_objects.py URL ACCOUNT USER KEY FOLDER
"""

import os
import sys

import openstack

url, account, user, key, folder = sys.argv[1:]
domains = {"user_domain_id": "default", "project_domain_id": "default"}
connections = {
    "v1": {"auth_type": "v1password", "auth_url": f"{url}/auth/v1.0", "username": f"{account}:{user}"},
    "v2": {
        "auth_type": "v2password",
        "auth_url": f"{url}/v2.0",
        "username": user,
        "tenant_name": account,
        "region_name": "RegionOne",
    },
    "v3": {
        "auth_type": "v3password",
        "auth_url": f"{url}/v3",
        "username": user,
        "project_name": account,
        "region_name": "RegionOne",
        **domains,
    },
}
content = os.urandom(3_000_000)
place = os.path.join(folder, "content")
with open(place, "wb") as file:
    file.write(content)
for version, options in connections.items():
    connection = openstack.connect(password=key, **options)
    store = connection.object_store
    store.create_container(version)
    assert version in [each.name for each in store.containers()]
    connection.create_object(version, "a/ü x.bin", filename=place, metadata={"colour": "red"})
    (listed,) = store.objects(version)
    assert (listed.name, listed.content_length) == ("a/ü x.bin", len(content))
    assert store.download_object("a/ü x.bin", container=version) == content
    assert store.get_object_metadata("a/ü x.bin", container=version).metadata["colour"] == "red"
    # By a static manifest, and by a dynamic one.
    for name, use_slo in (("static", True), ("dynamic", False)):
        connection.create_object(version, name, filename=place, segment_size=1_000_000, use_slo=use_slo)
        assert store.download_object(name, container=version) == content
        kind = "x-static-large-object" if use_slo else "x-object-manifest"
        assert kind in store.head(f"/{version}/{name}").headers
    for each in list(store.objects(version)):
        store.delete_object(each, container=version)
    store.delete_container(version)
    assert version not in [each.name for each in store.containers()]
print("all steps")
