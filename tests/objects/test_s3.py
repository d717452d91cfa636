"""S3's signatures, framing and documents: by the examples of its documentation, and from hostile clients."""

import base64
import hashlib
import hmac
import json
import os
import xml.etree.ElementTree as ET
import zlib
from urllib.parse import quote

import pytest

from sfss.http.messages import Headers, Request
from sfss.objects.models import User
from sfss.web.api import s3_signature, s3_xml
from sfss.web.api.s3_body import Body
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_signature import check
from tests.http import Answer, ask
from tests.objects.signing import signed_request
from tests.objects.swift import Swift
from tests.objects.test_swift import user
from tests.programs import SfssObjects

MB = 1024 * 1024
EMPTY = hashlib.sha256(b"").hexdigest()
#: Of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and its neighbours.
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
THEN = 1369353600.0  # 20130524T000000Z


class Users:
    async def find(self, access_key: str, *, fresh: bool = False) -> User | None:
        return User(1, "a", "u", SECRET, KEY) if access_key == KEY else None


USERS = Users()


def of(method: str, target: str, headers: dict[str, str]) -> Request:
    lines = Headers.of([(name.encode(), value.encode()) for name, value in headers.items()])
    return Request.of(method, target, lines, length=None, has_body=False, remote="", is_http_1_0=False)


def authorization(names: str, signature: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential={KEY}/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders={names},Signature={signature}"
    )


@pytest.fixture
def then(monkeypatch):
    monkeypatch.setattr(s3_signature.time, "time", lambda: THEN + 60)


EXAMPLES = {
    "get": (
        "GET",
        "/test.txt",
        {"range": "bytes=0-9", "x-amz-content-sha256": EMPTY},
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "lifecycle": (
        "GET",
        "/?lifecycle",
        {"x-amz-content-sha256": EMPTY},
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list": (
        "GET",
        "/?max-keys=2&prefix=J",
        {"x-amz-content-sha256": EMPTY},
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}


def example(name: str) -> tuple[str, str, dict[str, str]]:
    method, target, headers, signature = EXAMPLES[name]
    headers = {"host": "examplebucket.s3.amazonaws.com", "x-amz-date": "20130524T000000Z", **headers}
    return method, target, headers | {"authorization": authorization(";".join(sorted(headers)), signature)}


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_documented_signatures(name, then):
    signed = await check(of(*example(name)), USERS, "")
    assert signed.user.full_name == "a:u" and signed.payload == EMPTY


@pytest.mark.parametrize("name", EXAMPLES)
async def test_whatever_is_changed_is_noticed(name, then):
    method, target, headers = example(name)
    for other in (
        ("PUT", target, headers),
        (method, target + "x", headers),
        (method, target + ("&" if "?" in target else "?") + "acl", headers),
        *((method, target, headers | {key: headers[key] + "0"}) for key in headers if key != "authorization"),
        (method, target, headers | {"x-amz-acl": "public-read"}),
        (
            method,
            target,
            headers | {"authorization": headers["authorization"].replace("us-east-1", "us-west-2")},
        ),
        (method, target, headers | {"authorization": headers["authorization"][:-1] + "0"}),
        (method, target, headers | {"authorization": headers["authorization"].replace(KEY, "other")}),
        (method, target, headers | {"authorization": "AWS4-HMAC-SHA256 nonsense"}),
        (method, target, headers | {"authorization": f"AWS {KEY}:abc"}),
        (method, target, {key: value for key, value in headers.items() if key != "x-amz-content-sha256"}),
    ):
        with pytest.raises(S3Error):
            await check(of(*other), USERS, "")


async def test_clocks_that_are_far_apart(monkeypatch):
    for seconds in (-901, 901):
        monkeypatch.setattr(s3_signature.time, "time", lambda seconds=seconds: THEN + seconds)
        with pytest.raises(S3Error) as raised:
            await check(of(*example("get")), USERS, "")
        assert raised.value.code == "RequestTimeTooSkewed"


async def test_the_documented_url(monkeypatch):
    target = (
        "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1"
        "%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    headers = {"host": "examplebucket.s3.amazonaws.com"}
    monkeypatch.setattr(s3_signature.time, "time", lambda: THEN + 86399)
    assert (await check(of("GET", target, headers), USERS, "")).payload == "UNSIGNED-PAYLOAD"
    for wrong in (
        target.replace("86400", "86401"),
        target.replace("86400", "604801"),
        target.replace("86400", "0"),
        target.replace("86400", "9" * 5000),
        target.replace("HMAC-SHA256", "HMAC-SHA1"),
        target.replace("SignedHeaders=host", "SignedHeaders=x"),
        target[:-1] + "5",
        target + "&versionId=1",
    ):
        with pytest.raises(S3Error):
            await check(of("GET", wrong, headers), USERS, "")
    monkeypatch.setattr(s3_signature.time, "time", lambda: THEN + 86401)
    with pytest.raises(S3Error, match="expired"):
        await check(of("GET", target, headers), USERS, "")


SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
CHUNKS = (
    (b"a" * 65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (b"a" * 1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (b"", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
)


async def chunked(chunks=CHUNKS, step: int = 1000, seed: str = SEED) -> bytes:
    """The documented upload, as it comes in pieces of *step* bytes; what is decoded."""
    headers = {
        "content-encoding": "aws-chunked",
        "content-length": "66824",
        "host": "s3.amazonaws.com",
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "x-amz-date": "20130524T000000Z",
        "x-amz-decoded-content-length": "66560",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    headers["authorization"] = authorization(";".join(sorted(headers)), seed)
    asked = of("PUT", "/examplebucket/chunkObject.txt", headers)
    signed = await check(asked, USERS, "")
    raw = b"".join(b"%x;chunk-signature=%s\r\n%b\r\n" % (len(d), s.encode(), d) for d, s in chunks)

    async def pieces():
        for start in range(0, len(raw), step):
            yield raw[start : start + step]

    return b"".join([data async for data in Body(asked.headers, signed, pieces(), len(raw))])


@pytest.mark.parametrize("step", [7, 1000, 1 << 20])
async def test_the_documented_chunks(then, step):
    assert await chunked(step=step) == b"a" * 66560


async def test_chunks_that_are_changed(then):
    first, second, last = CHUNKS
    for wrong in (
        ((b"b" + first[0][1:], first[1]), second, last),
        (second, first, last),
        (first, first, second, last),
        (first, last),
        (first, second),
        (first, (second[0], "0" * 64), last),
        (),
    ):
        with pytest.raises(S3Error):
            await chunked(wrong)
    with pytest.raises(S3Error):
        await chunked(seed="0" * 64)


async def nothing():
    for data in ():
        yield data


async def test_chunks_that_nobody_could_check():
    """The signature of a URL has nothing that chunks could be signed with."""
    signed = s3_signature.Signed(User(1, "a", "u", SECRET, KEY), s3_signature.SIGNED_CHUNKS[0])
    headers = of("PUT", "/", {"x-amz-decoded-content-length": "3"}).headers
    with pytest.raises(S3Error):
        Body(headers, signed, nothing(), None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x\r\n",
        b"5\r\nabc",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"ffffffff\r\n",
        b"x" * 5000,
        b"-1\r\n",
        b"0x3\r\nabc\r\n",
    ],
)
async def test_chunks_that_are_none(raw):
    headers = {
        "x-amz-decoded-content-length": "3",
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    }
    user = User(1, "a", "u", SECRET, KEY)
    signed = s3_signature.Signed(user, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")

    async def pieces():
        yield raw

    with pytest.raises(S3Error):
        async for _ in Body(of("PUT", "/", headers).headers, signed, pieces(), None):
            pass


async def test_a_checksum_in_a_trailer():
    signed = s3_signature.Signed(User(1, "a", "u", SECRET, KEY), "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    right = base64.b64encode(zlib.crc32(b"abc").to_bytes(4)).decode()
    headers = {"x-amz-decoded-content-length": "3", "x-amz-trailer": "x-amz-checksum-crc32"}
    for trailer, holds in (
        (f"x-amz-checksum-crc32:{right}\r\n", True),
        ("x-amz-checksum-crc32:AAAAAA==\r\n", False),
        ("", False),
    ):

        async def pieces(trailer=trailer):
            yield b"3\r\nabc\r\n0\r\n" + trailer.encode() + b"\r\n"

        body = Body(of("PUT", "/", headers).headers, signed, pieces(), None)
        if holds:
            assert [data async for data in body] == [b"abc"]
            assert body.checksums == {"x-amz-checksum-crc32": right}
        else:
            with pytest.raises(S3Error):
                async for _ in body:
                    pass


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Delete>",
        b"<Other/>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><Delete/>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY e "boom">]><Delete>&e;</Delete>'.encode(
            "utf-16"
        ),
        b"\xff\xfe",
    ],
)
def test_documents_that_are_refused(body):
    with pytest.raises(S3Error) as raised:
        s3_xml.read(body, "Delete")
    assert raised.value.code == "MalformedXML"


# Over a real service.


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = SfssObjects(
        tmp_path_factory.mktemp("objects"), "--s3-domain", "s3.example.org", "--max-file-size", MB
    )
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.printed()


def signed(service, method: str, target: str, body: bytes = b"", **more: str) -> Answer:
    return ask(service.port, signed_request(service.key, method, target, body, **more))


def code_of(answer: Answer) -> str:
    return ET.fromstring(answer.body).findtext("Code")


def test_both_apis_see_the_same(service):
    swift = Swift(service)
    assert signed(service, "PUT", "/bucket").status == 200
    content = bytes(range(256)) * 10_000
    put = signed(service, "PUT", "/bucket/a%20b", content, x_amz_meta_colour="red", content_type="a/b")
    assert put.status == 200
    found = swift.ask("GET", "bucket/a b")
    assert found.body == content and found.headers["x-object-meta-colour"] == "red"
    assert found.headers["etag"] == put.headers["etag"].strip('"')
    swift.ask("PUT", "bucket/of swift", b"12345", X_Object_Meta_Size="5")
    found = signed(service, "GET", "/bucket/of%20swift", range="bytes=1-2")
    assert found.status == 206 and found.body == b"23" and found.headers["x-amz-meta-size"] == "5"
    # What swift joins has no MD5 for S3; what S3 has put in parts is a large object for swift.
    swift.ask("PUT", "bucket/joined", X_Object_Manifest="bucket/of")
    found = signed(service, "GET", "/bucket/joined")
    assert found.body == b"12345" and found.headers["etag"].endswith('-1"')
    put_in_parts(service, "/bucket/parts", [content])
    found = swift.ask("GET", "bucket/parts")
    assert found.body == content and found.headers["x-static-large-object"] == "True"
    assert (
        found.headers["etag"].endswith('-1"')
        and swift.ask("GET", "bucket/parts", Range="bytes=-3").body == content[-3:]
    )
    assert swift.ask("DELETE", "bucket/parts", query="multipart-manifest=delete").status == 200
    for name in ("a b", "of swift", "joined"):
        assert signed(service, "DELETE", f"/bucket/{quote(name)}").status == 204
    assert signed(service, "DELETE", "/bucket").status == 204


def put_in_parts(service, target: str, parts: list[bytes]) -> None:
    upload = ET.fromstring(signed(service, "POST", f"{target}?uploads").body)
    id = upload.findtext(f"{{{s3_xml.NAMESPACE}}}UploadId")
    named = ""
    for number, content in enumerate(parts, 1):
        etag = signed(service, "PUT", f"{target}?partNumber={number}&uploadId={id}", content).headers["etag"]
        named += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    assert signed(service, "POST", f"{target}?uploadId={id}", document).status == 200


def test_single_parts_of_an_object(service):
    """What SDKs that fetch large objects by parts ask for: of Ruby's, the first one tells how many there are."""
    signed(service, "PUT", "/by-parts")
    parts = [os.urandom(5 * 1024 * 1024), os.urandom(5 * 1024 * 1024 + 7), b"the end"]
    put_in_parts(service, "/by-parts/parts", parts)
    whole = b"".join(parts)
    start = 0
    for number, content in enumerate(parts, 1):
        for method in ("GET", "HEAD"):
            found = signed(service, method, f"/by-parts/parts?partNumber={number}")
            assert found.status == 206 and found.headers["x-amz-mp-parts-count"] == "3"
            assert found.headers["content-range"] == f"bytes {start}-{start + len(content) - 1}/{len(whole)}"
            assert found.headers["content-length"] == str(len(content))
            assert found.body == (content if method == "GET" else b"")
        start += len(content)
    # The last one may be empty.
    put_in_parts(service, "/by-parts/empty", [parts[0], b""])
    found = signed(service, "GET", "/by-parts/empty?partNumber=2")
    assert (found.status, found.body) == (206, b"") and "content-range" not in found.headers
    # What was not put in parts is one.
    signed(service, "PUT", "/by-parts/plain", b"12345", x_amz_checksum_crc32="y/U6HA==")
    found = signed(service, "GET", "/by-parts/plain?partNumber=1", x_amz_checksum_mode="ENABLED")
    assert (found.status, found.body) == (206, b"12345") and found.headers["content-range"] == "bytes 0-4/5"
    assert "x-amz-mp-parts-count" not in found.headers and "x-amz-checksum-crc32" not in found.headers
    signed(service, "PUT", "/by-parts/empty", b"")
    assert signed(service, "GET", "/by-parts/empty?partNumber=1").status == 200
    for status, code, target, headers in (
        (416, "InvalidPartNumber", "/by-parts/parts?partNumber=4", {}),
        (416, "InvalidPartNumber", "/by-parts/plain?partNumber=2", {}),
        (400, "InvalidArgument", "/by-parts/parts?partNumber=0", {}),
        (400, "InvalidArgument", "/by-parts/parts?partNumber=10001", {}),
        (400, "InvalidArgument", "/by-parts/parts?partNumber=x", {}),
        (400, "InvalidRequest", "/by-parts/parts?partNumber=1", {"range": "bytes=0-1"}),
    ):
        found = signed(service, "GET", target, **headers)
        assert (found.status, code_of(found)) == (status, code), target
    for name in ("parts", "plain", "empty"):
        assert signed(service, "DELETE", f"/by-parts/{name}").status == 204
    assert signed(service, "DELETE", "/by-parts").status == 204


def test_buckets_in_the_host(service):
    host = "in-host.s3.example.org"
    assert signed(service, "PUT", "/", host=host).status == 200
    assert signed(service, "PUT", "/a/b", b"x", host=host).status == 200
    assert signed(service, "GET", "/in-host/a/b").body == b"x"
    assert signed(service, "DELETE", "/a/b", host=host).status == 204
    assert signed(service, "DELETE", "/", host=host).status == 204


def test_paths_that_swift_has_are_buckets_for_who_signs(service):
    for name in ("info", "auth", "metrics", "healthz"):
        assert code_of(signed(service, "GET", f"/{name}/key")) == "NoSuchBucket"
    assert b"ListAllMyBucketsResult" in signed(service, "GET", "/").body


def test_what_is_refused(service):
    assert signed(service, "PUT", "/bucket").status == 200
    assert signed(service, "PUT", "/bucket/o", b"x").status == 200
    for status, code, answer in (
        (403, "InvalidAccessKeyId", signed(service, "GET", "/", key="nobody")),
        (403, "InvalidAccessKeyId", signed(service, "GET", "/", key="main:nobody")),
        (
            400,
            "BadDigest",
            signed(service, "PUT", "/bucket/o", b"y", content_md5=base64.b64encode(bytes(16)).decode()),
        ),
        (400, "InvalidDigest", signed(service, "PUT", "/bucket/o", b"y", content_md5="x")),
        (400, "BadDigest", signed(service, "PUT", "/bucket/o", b"y", x_amz_checksum_crc32="AAAAAA==")),
        (412, "PreconditionFailed", signed(service, "PUT", "/bucket/o", b"y", if_none_match="*")),
        (400, "InvalidArgument", signed(service, "PUT", "/bucket/o", b"y", x_amz_tagging="a")),
        (501, "NotImplemented", signed(service, "PUT", "/bucket/o", b"y", x_amz_acl="authenticated-read")),
        (501, "NotImplemented", signed(service, "GET", "/bucket?analytics")),
        (400, "MalformedXML", signed(service, "PUT", "/bucket?cors", b"x")),
        (501, "NotImplemented", signed(service, "PUT", "/bucket?website", b"x")),
        (403, "AccessDenied", ask(service.port, b"GET /bucket/o HTTP/1.1\r\nHost: x\r\n\r\n")),
        (404, "NoSuchBucket", ask(service.port, b"GET /none/o HTTP/1.1\r\nHost: x\r\n\r\n")),
        (404, "NoSuchVersion", signed(service, "GET", "/bucket/o?versionId=3")),
        (501, "NotImplemented", signed(service, "PUT", "/bucket/o?versionId=3", b"y")),
        (501, "NotImplemented", signed(service, "POST", "/bucket/o?uploads&versionId=3")),
        (501, "NotImplemented", signed(service, "PUT", "/bucket?acl&versionId=3", x_amz_acl="private")),
        (404, "NoSuchVersion", signed(service, "DELETE", "/bucket/o?tagging&versionId=3")),
        (412, "PreconditionFailed", signed(service, "DELETE", "/bucket/o", if_match="x")),
        (
            400,
            "InvalidStorageClass",
            signed(service, "PUT", "/bucket/o", b"y", x_amz_storage_class="GLACIER"),
        ),
        (400, "InvalidArgument", signed(service, "GET", "/bucket?max-keys=x")),
        (400, "InvalidArgument", signed(service, "GET", "/bucket?list-type=2&continuation-token=%25")),
        (400, "InvalidArgument", signed(service, "PUT", "/bucket/c", x_amz_copy_source="nothing")),
        (404, "NoSuchKey", signed(service, "PUT", "/bucket/c", x_amz_copy_source="/bucket/none")),
        (
            412,
            "PreconditionFailed",
            signed(service, "PUT", "/bucket/c", x_amz_copy_source="bucket/o", x_amz_copy_source_if_match="x"),
        ),
        (404, "NoSuchUpload", signed(service, "PUT", "/bucket/o?partNumber=1&uploadId=x", b"y")),
        (400, "InvalidArgument", signed(service, "PUT", "/bucket/o?partNumber=0&uploadId=x", b"y")),
        (405, "MethodNotAllowed", signed(service, "POST", "/bucket/o")),
        (416, "InvalidRange", signed(service, "GET", "/bucket/o", range="bytes=5-")),
        (400, "InvalidArgument", signed(service, "GET", "/bucket/o?response-content-type=a%0D%0Ab")),
        (400, "MalformedXML", signed(service, "POST", "/bucket?delete", b"<!DOCTYPE x><Delete/>")),
        (404, "NoSuchCORSConfiguration", signed(service, "GET", "/bucket?cors")),
    ):
        assert (answer.status, code_of(answer)) == (status, code), answer
    assert signed(service, "GET", "/bucket/o").body == b"x"
    assert (
        signed(service, "DELETE", "/bucket/o").status == 204
        and signed(service, "DELETE", "/bucket").status == 204
    )


def test_a_read_only_user_and_another_account(service):
    user(service, "add", "other:reader", "--key", service.key, "--read-only")
    signed(service, "PUT", "/bucket")
    assert code_of(signed(service, "GET", "/bucket", key="other:reader")) == "NoSuchBucket"
    assert code_of(signed(service, "PUT", "/mine", key="other:reader")) == "AccessDenied"
    assert signed(service, "GET", "/", key="other:reader").status == 200
    assert signed(service, "DELETE", "/bucket").status == 204


def form(fields: dict[str, str], *, file: bytes | None = b"x", end: bytes = b"--b--\r\n") -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode()
        for n, v in fields.items()
    ]
    if file is not None:
        parts.append(
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + file + b"\r\n"
        )
    return b"".join(parts) + end


def policy(conditions: list, expiration: str = "2100-01-01T00:00:00Z") -> str:
    return base64.b64encode(
        json.dumps({"expiration": expiration, "conditions": conditions}).encode()
    ).decode()


def signed_form(service, text: str, **fields: str) -> dict[str, str]:
    signature = base64.b64encode(hmac.digest(service.key.encode(), text.encode(), "sha1")).decode()
    return {"AWSAccessKeyId": "main:admin", "policy": text, "signature": signature, "key": "k", **fields}


def test_forms_that_are_none_or_want_too_much(service):
    assert signed(service, "PUT", "/forms").status == 200
    bucket = {"bucket": "forms"}

    def post(
        body: bytes, content_type: str = "multipart/form-data; boundary=b", path: str = "/forms"
    ) -> Answer:
        headers = f"Host: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        return ask(service.port, f"POST {path} HTTP/1.1\r\n{headers}".encode() + body)

    good = signed_form(service, policy([bucket, {"key": "k"}]))
    assert post(form(good)).status == 204 and signed(service, "GET", "/forms/k").body == b"x"
    assert post(form(good, file=b"")).status == 204 and signed(service, "GET", "/forms/k").body == b""
    for body, code in (
        (form(good, file=None), "InvalidArgument"),
        (form(good, end=b""), "MalformedPOSTRequest"),
        (form(good)[:-40], "MalformedPOSTRequest"),
        (b"nonsense", "MalformedPOSTRequest"),
        (form({**good, "key": "k" * 70_000}), "MalformedPOSTRequest"),
        (form(good).replace(b"form-data", b"nothing", 1).replace(b"Content-Disposition", b"X", 1), "InvalidArgument"),
        (form({**good, "policy": "?"}), "SignatureDoesNotMatch"),
        (form(signed_form(service, policy([bucket, {"key": "other"}]))), "AccessDenied"),
        (form(signed_form(service, policy([{"key": "k"}]))), "AccessDenied"),
        (form(signed_form(service, policy([bucket, {"key": "k"}], "2001-01-01T00:00:00Z"))), "AccessDenied"),
        (form(signed_form(service, policy([bucket, {"key": "k"}, ["what", "is", "it"]]))), "AccessDenied"),
        (form(signed_form(service, policy([bucket, {"key": "k"}, 5]))), "AccessDenied"),
        (form(signed_form(service, policy([bucket, {"key": "k"}, ["content-length-range", "a", 5]]))), "InvalidPolicyDocument"),
        (form(signed_form(service, base64.b64encode(b"[]").decode())), "InvalidPolicyDocument"),
        (form(signed_form(service, policy([bucket, {"key": "k"}, ["starts-with", "$x-amz-meta-a", ""]]), **{"x-amz-meta-a": "1\r\nX: y"})), "InvalidArgument"),
        (form(signed_form(service, policy([bucket, {"key": "k"}, {"x-amz-website-redirect-location": "/"}]), **{"x-amz-website-redirect-location": "/"})), "NotImplemented"),
        (form(signed_form(service, policy([bucket, {"key": "k"}, {"acl": "public-read-write"}, {"x-amz-acl": "public-read-write"}]), acl="public-read-write", **{"x-amz-acl": "public-read-write"})), "NotImplemented"),
    ):  # fmt: skip
        answer = post(body)
        assert answer.status >= 400 and code in answer.body.decode(), (body[:300], answer)
    assert post(form(good), path="/bucket").status == 403  # the policy is for another one
    assert post(form(good), "multipart/form-data").status == 400
    assert signed(service, "GET", "/forms/k").body == b""
