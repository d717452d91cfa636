"""Who may not: what a hostile reader of the code found, and what a reader of the answers must not see."""

import base64
import json
import time

import pytest

from tests.http import ask, request
from tests.objects.signing import presigned, signed_request
from tests.objects.swift import Swift
from tests.objects.test_s3 import code_of
from tests.objects.test_swift import user
from tests.objects.test_swift_more import temporary
from tests.programs import SfssObjects


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = SfssObjects(tmp_path_factory.mktemp("objects"))
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.printed()


@pytest.fixture
def swift(service):
    return Swift(service)


def s3(service, method: str, target: str, body: bytes = b"", **headers: str):
    return ask(service.port, signed_request(service.key, method, target, body, **headers))


def anybody(service, target: str):
    return ask(service.port, request("GET", target))


def test_a_signed_url_is_for_what_it_says(service):
    for bucket in ("vault", "drop"):
        s3(service, "PUT", f"/{bucket}")
    s3(service, "PUT", "/vault/secret", b"secret")
    url = presigned(service.key, "PUT", "/drop/upload")
    for name, value in (
        ("x-amz-copy-source", "/vault/secret"),
        ("x-amz-acl", "public-read"),
        ("x-amz-meta-a", "1"),
        ("x-amz-tagging", "a=b"),
    ):
        assert ask(service.port, request("PUT", url, b"", {name: value, "Host": "x"})).status == 403, name
    assert ask(service.port, request("PUT", url, b"mine", {"Host": "x"})).status == 200
    assert s3(service, "GET", "/drop/upload").body == b"mine"


def test_what_a_signed_url_says_in_place_of_headers(service):
    """As the SDK for JavaScript puts it there. (https://github.com/aws/aws-sdk-js-v3/issues/4694)"""

    def put(name: str, body: bytes = b"secret", **more: str):
        more = {key.replace("_", "-"): value for key, value in more.items()}
        url = presigned(service.key, "PUT", f"/shown/{name}", more=more)
        return ask(service.port, request("PUT", url, body, {"Host": "x"}))

    s3(service, "PUT", "/shown", x_amz_acl="public-read")
    said = {"x_amz_acl": "private", "x_amz_meta_colour": "red", "x_amz_tagging": "a=b", "x_id": "PutObject"}
    usual = {"x_amz_checksum_crc32": "AAAAAA==", "x_amz_sdk_checksum_algorithm": "CRC32"}
    assert put("k", **said, **usual).status == 200
    assert anybody(service, "/shown/k").status == 403
    answer = s3(service, "GET", "/shown/k")
    assert answer.body == b"secret" and answer.headers["x-amz-meta-colour"] == "red"
    assert answer.headers["x-amz-tagging-count"] == "1"
    assert put("copy", b"", x_amz_copy_source="/shown/k").status == 200
    assert s3(service, "GET", "/shown/copy").body == b"secret"
    for status, more in (
        (403, {"x_amz_expected_bucket_owner": "somebody"}),
        (501, {"x_amz_object_lock_mode": "COMPLIANCE"}),
        (400, {"x_amz_storage_class": "GLACIER"}),
        (400, {"x_amz_checksum_sha256": base64.b64encode(bytes(32)).decode()}),
        (400, {"x_amz_meta_a": "1\r\nX-Evil: y"}),
        (400, {"X_Amz_Meta_A b": "1"}),
        (501, {"annotation": ""}),
    ):
        assert put("refused", **more).status == status, more
    assert s3(service, "GET", "/shown/refused").status == 404


def test_who_may_only_read_does_not_see_what_one_writes_with(service, swift):
    swift.ask("PUT", "c")
    swift.ask("POST", "", X_Account_Meta_Temp_URL_Key="k", X_Account_Meta_Other="seen")
    swift.ask("POST", "c", X_Container_Meta_Temp_URL_Key_2="k2")
    user(service, "add", "main:reader", "--key", "rk", "--read-only")
    reader = Swift(service, "main:reader", "rk")
    for path in ("", "c"):
        for method in ("GET", "HEAD"):
            assert b"temp-url" in str(swift.ask(method, path).headers).encode()
            assert b"temp-url" not in str(reader.ask(method, path).headers).encode()
    assert reader.ask("HEAD").headers["x-account-meta-other"] == "seen"
    assert ask(service.port, request("PUT", temporary("c/o", "k", "PUT"), b"x")).status == 201
    swift.ask("POST", "", X_Account_Meta_Temp_URL_Key="")


def test_private_stays_private(service, swift):
    """In a bucket that is for everybody: by itself, as a part of others, copied."""
    s3(service, "PUT", "/pub", x_amz_acl="public-read")
    s3(service, "PUT", "/pub/seg/1", b"for all ")
    s3(service, "PUT", "/pub/seg/2", b"secret", x_amz_acl="private")
    manifest = json.dumps([{"path": f"/pub/seg/{n}"} for n in (1, 2)]).encode()
    assert swift.ask("PUT", "pub/slo", manifest, query="multipart-manifest=put").status == 201
    assert swift.ask("PUT", "pub/dlo", X_Object_Manifest="pub/seg/").status == 201
    assert swift.ask("PUT", "pub/own", manifest, query="multipart-manifest=put").status == 201
    assert s3(service, "PUT", "/pub/own?acl", x_amz_acl="private").status == 200
    for name in ("seg/2", "slo", "dlo", "own"):
        assert swift.ask("GET", f"pub/{name}").status == 200
        for target in (f"/pub/{name}", f"/v1/AUTH_main/pub/{name}"):
            assert anybody(service, target).status == 403, target
    assert anybody(service, "/v1/AUTH_main/pub/own?multipart-manifest=get").status == 403
    assert anybody(service, "/pub/seg/1?x-id=GetObject").body == b"for all "
    # Copies: onto itself, and elsewhere.
    replace = {"x_amz_copy_source": "/pub/seg/2", "x_amz_metadata_directive": "REPLACE"}
    assert s3(service, "PUT", "/pub/seg/2", **replace).status == 200
    assert swift.ask("COPY", "pub/seg/2", Destination="pub/seg/2").status == 201
    assert s3(service, "PUT", "/pub/copied", x_amz_copy_source="/pub/seg/2").status == 200
    for name in ("seg/2", "copied"):
        assert anybody(service, f"/pub/{name}").status == 403
    assert (
        s3(service, "PUT", "/pub/opened", x_amz_copy_source="/pub/seg/2", x_amz_acl="public-read").status
        == 200
    )
    assert anybody(service, "/pub/opened").body == b"secret"
    # And what one object alone is for everybody does not make its copies so.
    s3(service, "PUT", "/closed")
    s3(service, "PUT", "/closed/one", b"one", x_amz_acl="public-read", x_amz_tagging="a=b")
    assert anybody(service, "/closed/one").body == b"one"
    assert s3(service, "PUT", "/closed/two", x_amz_copy_source="/closed/one").status == 200
    assert swift.ask("COPY", "closed/one", Destination="closed/three").status == 201
    for name in ("two", "three"):
        assert anybody(service, f"/closed/{name}").status == 403
        assert s3(service, "GET", f"/closed/{name}").headers["x-amz-tagging-count"] == "1"


def test_rights_of_versions(service):
    s3(service, "PUT", "/ver")
    s3(service, "PUT", "/ver/k", b"first")
    state = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert s3(service, "PUT", "/ver?versioning", state).status == 200
    s3(service, "PUT", "/ver/k", b"confidential")
    # The ACL of a version opens nothing else; and by its number nobody reads it without a signature.
    assert s3(service, "PUT", "/ver/k?acl&versionId=null", x_amz_acl="public-read").status == 200
    assert b"AllUsers" in s3(service, "GET", "/ver/k?acl&versionId=null").body
    assert b"AllUsers" not in s3(service, "GET", "/ver/k?acl").body
    assert anybody(service, "/ver/k").status == 403
    assert anybody(service, "/ver/k?versionId=null").status == 403
    assert s3(service, "PUT", "/ver/k?versionId=null", b"x").status == 501
    assert code_of(s3(service, "DELETE", "/ver/k?versionId=")) == "InvalidArgument"
    assert s3(service, "DELETE", "/ver/k?versionId=null", if_match="x").status == 501
    assert s3(service, "GET", "/ver/k?versionId=null").body == b"first"
    # What expires in such a bucket leaves a marker.
    swift = Swift(service)
    swift.ask("PUT", "ver/k", b"short", X_Delete_After="1")
    time.sleep(1.1)
    assert s3(service, "GET", "/ver/k").status == 404


def test_names_that_no_object_has_are_not_deleted_either(service, swift):
    s3(service, "PUT", "/odd")
    state = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    s3(service, "PUT", "/odd?versioning", state)
    for name in ("a%00b", "x" * 2000):
        assert s3(service, "DELETE", f"/odd/{name}").status == 400
        assert (
            ask(
                service.port,
                request("DELETE", f"/v1/AUTH_main/odd/{name}", headers={"X-Auth-Token": swift.token}),
            ).status
            == 400
        )
    document = f"<Delete><Object><Key>{'x' * 2000}</Key></Object></Delete>".encode()
    assert b"<Error>" in s3(service, "POST", "/odd?delete", document).body
    assert b"DeleteMarker" not in s3(service, "GET", "/odd?versions").body
    answer = swift.ask("POST", "", b"odd/a%00b\nodd/none", query="bulk-delete")
    assert b"400 Bad Request" in answer.body


def test_lifecycles_of_other_times(service):
    s3(service, "PUT", "/life")
    for date in ("0999-01-01T00:00:00Z", "0001-01-01T00:00:00+10:00", "9999-12-31T23:00:00-10:00", "soon"):
        rule = f"<Rule><Prefix/><Status>Enabled</Status><Expiration><Date>{date}</Date></Expiration></Rule>"
        document = f"<LifecycleConfiguration>{rule}</LifecycleConfiguration>".encode()
        assert s3(service, "PUT", "/life?lifecycle", document).status == 400, date
