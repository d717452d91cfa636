"""What clients of S3 ask for that is easily passed over: conditions, checksums, owners, arguments that nobody knows."""

import base64
import hashlib
import hmac
import json
import sys
import time
import xml.etree.ElementTree as ET
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import quote

import pytest

from sfss.errors import NotSupported
from sfss.http.messages import Headers
from sfss.web.api.s3_checksums import ALGORITHM, CHECKSUMS, COMPOSITE, FULL_OBJECT, TYPE, OfUpload
from tests.http import Answer, ask, request
from tests.objects.swift import Swift
from tests.objects.test_s3 import MB, code_of, signed
from tests.objects.test_swift import md5
from tests.programs import SfssObjects

PART = 5 * MB


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = SfssObjects(
        tmp_path_factory.mktemp("objects"), "--s3-domain", "s3.example.org", "--max-file-size", MB
    )
    signed(service, "PUT", "/bucket")
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.printed()


def elements(answer: Answer) -> dict[str, str]:
    """The text of each element that has some, by its name."""
    return {each.tag.rpartition("}")[2]: each.text for each in ET.fromstring(answer.body).iter() if each.text}


def crc32(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4)).decode()


def sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


# Deletes with a condition.


def test_a_list_of_deletes_with_conditions(service):
    for name in ("same", "other", "sized"):
        signed(service, "PUT", f"/bucket/del/{name}", name.encode())
    body = (
        f"<Delete><Object><Key>del/same</Key><ETag>&quot;{md5(b'same')}&quot;</ETag></Object>"
        f"<Object><Key>del/other</Key><ETag>{md5(b'x')}</ETag></Object>"
        "<Object><Key>del/sized</Key><Size>5</Size></Object>"
        "<Object><Key>del/other</Key><ETag>&quot;&quot;</ETag></Object>"
        f"<Object><Key>del/none</Key><ETag>{md5(b'x')}</ETag></Object></Delete>"
    ).encode()
    answer = signed(service, "POST", "/bucket?delete", body)
    root = ET.fromstring(answer.body)
    name = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    assert [each.findtext(f"{name}Key") for each in root.iter(f"{name}Deleted")] == ["del/same", "del/none"]
    failed = {each.findtext(f"{name}Key"): each.findtext(f"{name}Code") for each in root.iter(f"{name}Error")}
    assert failed == {"del/other": "PreconditionFailed", "del/sized": "NotImplemented"}
    assert signed(service, "DELETE", "/bucket/del/other", if_match='""').status == 412
    assert signed(service, "PUT", "/bucket/del/other", b"x", if_match='""').status == 412
    assert signed(service, "GET", "/bucket/del/other").body == b"other"
    assert signed(service, "GET", "/bucket/del/sized").body == b"sized"


# Checksums.


def begin(service, target: str, **headers: str) -> str:
    answer = signed(service, "POST", f"{target}?uploads", **headers)
    assert answer.status == 200, answer.body
    return elements(answer)["UploadId"]


def complete(service, target: str, id: str, parts: list[tuple[str, str]], **headers: str) -> Answer:
    """*parts*: the ETag of each, and what else stands in its element."""
    named = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{more}</Part>"
        for number, (etag, more) in enumerate(parts, 1)
    )
    document = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    return signed(service, "POST", f"{target}?uploadId={id}", document, **headers)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_a_checksum_of_checksums(service, algorithm):
    target, contents = f"/bucket/composite-{algorithm}", [b"a" * PART, b"b" * 7]
    answer = signed(service, "POST", f"{target}?uploads", x_amz_checksum_algorithm=algorithm)
    assert answer.headers["x-amz-checksum-algorithm"] == algorithm
    assert answer.headers["x-amz-checksum-type"] == "COMPOSITE"
    id = elements(answer)["UploadId"]
    name = f"x-amz-checksum-{algorithm.lower()}"

    def made(content: bytes) -> bytes:
        digest = CHECKSUMS[name]()
        digest.update(content)
        return digest.digest()

    sums = [base64.b64encode(made(content)).decode() for content in contents]
    parts = []
    for number, content in enumerate(contents, 1):  # the second one comes without a checksum
        given = {name: sums[0]} if number == 1 else {}
        put = signed(service, "PUT", f"{target}?partNumber={number}&uploadId={id}", content, **given)
        assert put.status == 200 and put.headers[name] == sums[number - 1]
        parts.append((put.headers["etag"], ""))
    element = f"Checksum{algorithm}"
    listed = elements(signed(service, "GET", f"{target}?uploadId={id}"))
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (algorithm, "COMPOSITE")
    assert listed[element] == sums[1]
    wrong = [(parts[0][0], f"<{element}>{sums[1]}</{element}>"), parts[1]]
    assert code_of(complete(service, target, id, wrong)) == "InvalidPart"
    whole = f"{base64.b64encode(made(b''.join(map(made, contents)))).decode()}-2"
    assert code_of(complete(service, target, id, parts, **{name: sums[0]})) == "BadDigest"
    assert code_of(complete(service, target, id, parts, x_amz_mp_object_size="3")) == "InvalidRequest"
    assert (
        code_of(complete(service, target, id, parts, x_amz_checksum_type="FULL_OBJECT")) == "InvalidRequest"
    )
    right = [(etag, f"<{element}>{each}</{element}>") for (etag, _), each in zip(parts, sums, strict=True)]
    done = complete(service, target, id, right, x_amz_mp_object_size=str(PART + 7), **{name: whole})
    assert elements(done)[element] == whole and elements(done)["ChecksumType"] == "COMPOSITE"
    head = signed(service, "HEAD", target, x_amz_checksum_mode="ENABLED").headers
    assert (head[name], head["x-amz-checksum-type"]) == (whole, "COMPOSITE")
    assert name not in signed(service, "HEAD", target).headers
    attributes = signed(service, "GET", f"{target}?attributes", x_amz_object_attributes="Checksum")
    assert elements(attributes)[element] == whole
    # A copy does not come in parts any more, whoever makes it.
    assert Swift(service).ask("COPY", target[1:], Destination=f"{target[1:]}-swift").status == 201
    head = signed(service, "HEAD", f"{target}-swift", x_amz_checksum_mode="ENABLED").headers
    assert name not in head and head["etag"] == f'"{md5(b"".join(contents))}"'
    copied = signed(
        service, "PUT", f"{target}-copy", x_amz_copy_source=target, x_amz_checksum_algorithm="SHA256"
    )
    assert elements(copied)["ChecksumSHA256"] == sha256(b"".join(contents))
    head = signed(service, "HEAD", f"{target}-copy", x_amz_checksum_mode="ENABLED").headers
    assert head["x-amz-checksum-sha256"] == sha256(b"".join(contents))
    assert head["x-amz-checksum-type"] == "FULL_OBJECT"
    # Once more: the answer may not have arrived.
    again = complete(service, target, id, right)
    assert again.status == 200 and elements(again)["ETag"] == elements(done)["ETag"]
    assert code_of(complete(service, target, id, right, x_amz_mp_object_size="17")) == "InvalidRequest"
    assert code_of(complete(service, target, id, right, **{name: sums[0]})) == "BadDigest"
    assert code_of(complete(service, target, id, right[:1])) == "NoSuchUpload"
    assert code_of(complete(service, f"{target}-copy", id, right)) == "NoSuchUpload"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_a_checksum_of_all_bytes_of_an_upload_in_parts(service, algorithm):
    target, contents = f"/bucket/full-{algorithm}", [b"a" * PART, b"b" * PART, b"c" * 7]
    name = f"x-amz-checksum-{algorithm.lower()}"
    id = begin(service, target, x_amz_checksum_algorithm=algorithm, x_amz_checksum_type="FULL_OBJECT")
    parts = []
    for number, content in enumerate(contents, 1):
        put = signed(service, "PUT", f"{target}?partNumber={number}&uploadId={id}", content)
        parts.append((put.headers["etag"], ""))
    digest = CHECKSUMS[name]()
    digest.update(b"".join(contents))
    whole = base64.b64encode(digest.digest()).decode()
    wrong = base64.b64encode(bytes(len(digest.digest()))).decode()
    assert code_of(complete(service, target, id, parts, **{name: wrong})) == "BadDigest"
    assert elements(complete(service, target, id, parts, **{name: whole}))[f"Checksum{algorithm}"] == whole
    head = signed(service, "HEAD", target, x_amz_checksum_mode="ENABLED").headers
    assert (head[name], head["x-amz-checksum-type"]) == (whole, "FULL_OBJECT")
    # A part that is a copy has one, too; and a plain copy has that of the bytes.
    id = begin(
        service, f"{target}-copy", x_amz_checksum_algorithm=algorithm, x_amz_checksum_type="FULL_OBJECT"
    )
    part = signed(service, "PUT", f"{target}-copy?partNumber=1&uploadId={id}", x_amz_copy_source=target)
    assert elements(part)[f"Checksum{algorithm}"] == whole
    done = complete(service, f"{target}-copy", id, [(elements(part)["ETag"], "")])
    assert elements(done)[f"Checksum{algorithm}"] == whole
    assert (
        elements(signed(service, "PUT", f"{target}-2", x_amz_copy_source=target))[f"Checksum{algorithm}"]
        == whole
    )


def test_checksums_that_are_not_to_be(service):
    wrong = {
        "FOO": "",
        "CRC64NVME": COMPOSITE,
        "SHA256": FULL_OBJECT,
        "SHA1": FULL_OBJECT,
        "CRC32": "HALF_OBJECT",
        "": COMPOSITE,
    }
    for algorithm, type in wrong.items():
        headers = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": type}
        answer = signed(service, "POST", "/bucket/o?uploads", **{k: v for k, v in headers.items() if v})
        assert code_of(answer) == "InvalidRequest", (algorithm, type)
    id = begin(service, "/bucket/o", x_amz_checksum_algorithm="SHA256")
    part = f"/bucket/o?partNumber=1&uploadId={id}"
    assert code_of(signed(service, "PUT", part, b"x", x_amz_checksum_crc32=crc32(b"x"))) == "InvalidRequest"
    assert code_of(signed(service, "PUT", part, b"x", x_amz_checksum_sha256=sha256(b"y"))) == "BadDigest"
    etag = signed(service, "PUT", part, b"x").headers["etag"]
    answer = complete(service, "/bucket/o", id, [(etag, "")], x_amz_checksum_crc32=crc32(b"x"))
    assert code_of(answer) == "InvalidRequest"
    for name in ("sha512", "md5", "xxhash64"):
        answer = signed(service, "PUT", "/bucket/o", b"x", **{f"x-amz-checksum-{name}": "AAAA"})
        assert (answer.status, code_of(answer)) == (501, "NotImplemented")
    answer = signed(service, "PUT", "/bucket/o", b"x", x_amz_sdk_checksum_algorithm="CRC32")
    assert (answer.status, code_of(answer)) == (400, "InvalidRequest")
    signed(service, "PUT", "/bucket/source", b"x")
    answer = signed(
        service, "PUT", "/bucket/o", x_amz_copy_source="/bucket/source", x_amz_checksum_algorithm="FOO"
    )
    assert code_of(answer) == "InvalidRequest"
    assert signed(service, "GET", "/bucket/o").status == 404


def test_checksums_are_put_together_as_the_bytes_are():
    """Of any algorithm that knows it, and any parts."""
    contents = [b"", b"a", bytes(1000), b"sfss" * 77]
    for name in CHECKSUMS:
        if "crc" not in name:
            continue
        whole = CHECKSUMS[name]()
        whole.update(b"".join(contents))
        parts = []
        for content in contents:
            digest = CHECKSUMS[name]()
            digest.update(content)
            parts.append((base64.b64encode(digest.digest()).decode(), len(content)))
        together = OfUpload(name, FULL_OBJECT).together(parts)
        assert together == base64.b64encode(whole.digest()).decode(), name


def test_an_upload_that_is_completed_several_times_at_once(service):
    """As who has waited too long for an answer does it."""
    for number in range(10):
        target = f"/bucket/often-{number}"
        id = begin(service, target)
        part = signed(service, "PUT", f"{target}?partNumber=1&uploadId={id}", b"x")
        named = [(part.headers["etag"], "")]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: complete(service, target, id, named), range(4)))
        assert [answer.status for answer in answers] == [200] * 4
        assert len({elements(answer)["ETag"] for answer in answers}) == 1
        assert code_of(complete(service, target, "", named)) == "NoSuchUpload"


def test_a_checksum_that_cannot_be_made_is_refused_at_the_beginning(monkeypatch):
    monkeypatch.setitem(sys.modules, "awscrt", None)
    for algorithm, type in (("CRC32", FULL_OBJECT), ("CRC64NVME", ""), ("CRC32C", COMPOSITE)):
        asked = Headers({ALGORITHM: algorithm.encode(), TYPE: type.encode()})
        with pytest.raises(NotSupported):
            OfUpload.asked(asked)
    assert OfUpload.asked(Headers({ALGORITHM: b"CRC32"})).type == COMPOSITE


# Who may, and what nobody knows.


def test_owners_that_are_expected(service):
    signed(service, "PUT", "/bucket/owned", b"x")
    for method in ("GET", "PUT", "DELETE"):
        answer = signed(service, method, "/bucket/owned", x_amz_expected_bucket_owner="999999999999")
        assert (answer.status, code_of(answer)) == (403, "AccessDenied")
    answer = signed(
        service,
        *("PUT", "/bucket/copy"),
        x_amz_copy_source="/bucket/owned",
        x_amz_source_expected_bucket_owner="else",
    )
    assert answer.status == 403
    assert signed(service, "GET", "/bucket/owned", x_amz_expected_bucket_owner="main").body == b"x"


def test_arguments_of_who_has_not_signed(service):
    signed(service, "PUT", "/open", x_amz_acl="public-read")
    signed(service, "PUT", "/open/i.css", b"abc")

    def get(target: str) -> Answer:
        return ask(service.port, request("GET", target))

    for query in ("v=abc123", "utm_source=x&utm_medium=y", "x-id=GetObject", "partNumber=1"):
        assert get(f"/open/i.css?{query}").body == b"abc", query
    assert get("/open?list-type=2&x=1").status == 200
    assert code_of(get("/open/i.css?response-content-type=text/html")) == "InvalidRequest"
    for query in ("acl", "tagging", "versionId=null", "uploadId=x", "attributes"):
        assert get(f"/open/i.css?{query}").status == 403, query
    for query in ("acl", "versions", "uploads", "policy", "location"):
        assert get(f"/open?{query}").status == 403, query


def test_etags_without_quotes_and_ranges_to_no_end(service):
    signed(service, "PUT", "/bucket/ranged", b"0123")
    etag = md5(b"0123")
    assert signed(service, "GET", "/bucket/ranged", if_match=etag).body == b"0123"
    assert signed(service, "GET", "/bucket/ranged", if_match=md5(b"x")).status == 412
    assert signed(service, "GET", "/bucket/ranged", if_none_match=etag).status == 304
    swift = Swift(service)
    for last in (2**63 - 2, 2**63 - 1, 2**64 - 1, 10**30):
        for answer in (
            signed(service, "GET", "/bucket/ranged", range=f"bytes=1-{last}"),
            swift.ask("GET", "bucket/ranged", Range=f"bytes=1-{last}"),
        ):
            assert (answer.status, answer.body) == (206, b"123")
            assert answer.headers["content-range"] == "bytes 1-3/4"


def test_etags_of_what_is_joined(service):
    """A condition is held against the ETag that clients see, and not the one of a manifest's own bytes."""
    swift = Swift(service)
    swift.ask("PUT", "joined")
    for number in range(2):
        swift.ask("PUT", f"joined/part/{number}", b"%d" % number)
    static = json.dumps([{"path": "joined/part/0"}, {"path": "joined/part/1"}]).encode()

    def make() -> None:
        assert swift.ask("PUT", "joined/dynamic", X_Object_Manifest="joined/part/").status == 201
        assert swift.ask("PUT", "joined/static", static, query="multipart-manifest=put").status == 201

    make()
    for name in ("joined/dynamic", "joined/static"):
        etag = swift.ask("HEAD", name).headers["etag"]
        assert swift.ask("DELETE", name, If_Match='"another"').status == 412
        assert swift.ask("DELETE", name, If_Match=f'"another", {etag}').status == 400
        assert swift.ask("PUT", name, b"x", If_Match='"another"').status == 412
        assert swift.ask("PUT", name, X_Object_Manifest="joined/part/", If_Match=etag).status == 201
        etag = swift.ask("HEAD", name).headers["etag"]
        assert swift.ask("COPY", "joined/part/0", Destination=name, If_Match='"another"').status == 412
        assert swift.ask("COPY", "joined/part/0", Destination=name, If_Match=etag).status == 201
        assert swift.ask("PUT", name, X_Object_Manifest="joined/part/").status == 201
        etag = swift.ask("HEAD", name).headers["etag"]
        assert swift.ask("DELETE", name, query="multipart-manifest=delete", If_Match=etag).status == 501
        assert swift.ask("DELETE", name, If_Unmodified_Since="Mon, 01 Jan 2001 00:00:00 GMT").status == 501
        assert swift.ask("DELETE", name, If_Match=etag).status == 204
    make()
    for name in ("joined/dynamic", "joined/static"):
        etag = signed(service, "HEAD", f"/{name}").headers["etag"]
        assert signed(service, "DELETE", f"/{name}", if_match='"another"').status == 412
        assert signed(service, "DELETE", f"/{name}", if_match=etag).status == 204
    assert swift.ask("DELETE", "joined/none", If_Match="x").status == 404


@pytest.mark.parametrize(
    "content_type, is_active",
    [
        ("text/html", True),
        ("Text/HTML; charset=utf-8", True),
        ("text/plain, text/html", True),
        ("image/svg+xml", True),
        ("application/xml", True),
        ("multipart/x-mixed-replace; boundary=b", True),
        ("text/plain", False),
        ("image/png", False),
        ("application/pdf", False),
    ],
)
def test_nobodys_scripts_run_as_those_of_this_site(service, content_type, is_active):
    """Where the page is, and the token in it."""
    swift = Swift(service)
    swift.ask("PUT", "bucket/page", b"<script>", Content_Type=content_type)
    for answer in (
        swift.ask("GET", "bucket/page"),
        swift.ask("HEAD", "bucket/page"),
        swift.ask("GET", "bucket/page", Range="bytes=0-1"),
        signed(service, "GET", "/bucket/page"),
        signed(service, "GET", "/bucket/page?partNumber=1"),
    ):
        assert ("sandbox" in answer.headers.get("content-security-policy", "")) == is_active
    # (The host name of a bucket is a site of its own.)
    own = signed(service, "GET", "/page", host="bucket.s3.example.org")
    assert own.status == 200 and "content-security-policy" not in own.headers
    given = quote(content_type, safe="")
    swift.ask("PUT", "bucket/plain", b"x", Content_Type="text/plain")
    answer = signed(service, "GET", f"/bucket/plain?response-content-type={given}")
    assert answer.status == 200
    assert ("sandbox" in answer.headers.get("content-security-policy", "")) == is_active


def test_times(service):
    """Those of listings have parts of a second, and none is of the future; conditions can be made of either."""
    before = time.time() - 0.001
    signed(service, "PUT", "/bucket/timed", b"x")
    after = time.time()
    listed = elements(signed(service, "GET", "/bucket?list-type=2&prefix=timed"))["LastModified"]
    head = signed(service, "HEAD", "/bucket/timed").headers
    assert parsedate_to_datetime(head["last-modified"]) <= parsedate_to_datetime(head["date"])
    assert before <= datetime.fromisoformat(listed).timestamp() <= after
    assert datetime.fromisoformat(listed).replace(microsecond=0) == parsedate_to_datetime(
        head["last-modified"]
    )
    when = format_datetime(datetime.fromisoformat(listed).astimezone(UTC), usegmt=True)
    assert signed(service, "GET", "/bucket/timed", if_unmodified_since=when).status == 200
    assert signed(service, "GET", "/bucket/timed", if_modified_since=when).status == 304


def test_version_2_signs_a_bucket_with_a_slash(service):
    """As boto does, though the URL has none."""
    expires = str(int(time.time()) + 100)
    for resource, status in (("/bucket", 200), ("/bucket/", 200), ("/buckets", 403), ("/bucket//", 403)):
        text = f"GET\n\n\n{expires}\n{resource}".encode()
        signature = base64.b64encode(hmac.digest(service.key.encode(), text, "sha1")).decode()
        query = f"AWSAccessKeyId=main:admin&Expires={expires}&Signature={quote(signature, safe='')}"
        assert ask(service.port, request("GET", f"/bucket?{query}")).status == status, resource


def test_lists_of_buckets_in_pages(service):
    for name in ("listed-1", "listed-2", "listed-3"):
        signed(service, "PUT", f"/{name}")
    first = signed(service, "GET", "/?prefix=listed-&max-buckets=2")
    names = [each.text for each in ET.fromstring(first.body).iter() if each.tag.endswith("}Name")]
    assert names == ["listed-1", "listed-2"] and elements(first)["Prefix"] == "listed-"
    token = elements(first)["ContinuationToken"]
    second = signed(
        service, "GET", f"/?continuation-token={token.replace('=', '%3D')}&max-buckets=2&prefix=listed-"
    )
    names = [each.text for each in ET.fromstring(second.body).iter() if each.tag.endswith("}Name")]
    assert names == ["listed-3"] and "ContinuationToken" not in elements(second)
    assert code_of(signed(service, "GET", "/?max-buckets=0")) == "InvalidArgument"


def test_where_what_was_put_is(service):
    id = begin(service, "/bucket/%C3%BC%20m")
    part = signed(service, "PUT", f"/bucket/%C3%BC%20m?partNumber=1&uploadId={id}", b"x")
    done = complete(service, "/bucket/%C3%BC%20m", id, [(part.headers["etag"], "")])
    assert elements(done)["Location"] == "http://x/bucket/%C3%BC%20m"


def test_what_is_refused_that_was_passed_over(service):
    rule = (
        "<Rule><ID>{}</ID><Prefix>a</Prefix><Status>Enabled</Status>"
        "<Expiration><Date>{}</Date></Expiration></Rule>"
    )

    def lifecycle(*rules: str) -> Answer:
        body = f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>".encode()
        return signed(service, "PUT", "/bucket?lifecycle", body)

    midnight = "2030-01-01T00:00:00Z"
    assert code_of(lifecycle(rule.format("a", "2030-01-01T23:00:00Z"))) == "InvalidArgument"
    assert code_of(lifecycle(rule.format("a", midnight), rule.format("a", midnight))) == "InvalidArgument"
    assert lifecycle(rule.format("a", midnight), rule.format("b", midnight)).status == 200
    assert signed(service, "DELETE", "/bucket?lifecycle").status == 204
    assert code_of(signed(service, "PUT", "/bucket/" + "k" * 1025, b"x")) == "KeyTooLongError"
    assert code_of(signed(service, "PUT", "/garbage", b"garbage")) == "MalformedXML"
    assert code_of(signed(service, "PUT", "/192.168.1.1")) == "InvalidBucketName"
    assert code_of(signed(service, "PUT", "/bucket?acl", b"<AccessControlPolicy/>")) == "MalformedACLError"
    tags = b"<Tagging><TagSet><Tag><Key>aws:x</Key><Value>1</Value></Tag></TagSet></Tagging>"
    assert code_of(signed(service, "PUT", "/bucket?tagging", tags)) == "InvalidTag"
    answer = signed(service, "GET", "/none")
    assert answer.headers["x-amz-request-id"] == elements(answer)["RequestId"]


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("target", ["/unknown/k?annotation", "/unknown/k?foo=1", "/unknown?abac"])
def test_what_nobody_knows_is_not_taken_for_something_else(service, method, target):
    """Operations that S3 has since, or will have, would else be done to the object or the bucket itself."""
    signed(service, "PUT", "/unknown")
    signed(service, "PUT", "/unknown/k", b"precious")
    answer = signed(service, method, target, b"x" if method in ("PUT", "POST") else b"")
    if method == "GET" and target.endswith("=1"):  # clients say such things (libcloud a Version)
        assert answer.body == b"precious"
    else:
        assert (answer.status, code_of(answer)) == (501, "NotImplemented")
    assert signed(service, "GET", "/unknown/k?x-whatever=for-logs").body == b"precious"


def test_conditions_that_are_not_looked_at(service):
    signed(service, "PUT", "/bucket/k", b"precious")
    for header in ("x_amz_if_match_size", "x_amz_if_match_last_modified_time"):
        assert signed(service, "DELETE", "/bucket/k", **{header: "1"}).status == 501
    id = begin(service, "/bucket/m")
    kept = {"x_amz_if_match_initiated_time": "x"}
    assert signed(service, "DELETE", f"/bucket/m?uploadId={id}", **kept).status == 501
    encrypted = {"x_amz_server_side_encryption_customer_algorithm": "AES256"}
    assert signed(service, "PUT", f"/bucket/m?partNumber=1&uploadId={id}", b"x", **encrypted).status == 501
    assert signed(service, "GET", "/bucket/k", **encrypted).status == 501
    assert signed(service, "GET", "/bucket/k").body == b"precious"
    assert signed(service, "DELETE", f"/bucket/m?uploadId={id}").status == 204


def test_what_swift_refuses_and_what_it_does_not(service):
    swift = Swift(service)
    assert swift.ask("PUT", "gold", X_Storage_Policy="gold").status == 400
    assert swift.ask("PUT", "gold", X_Storage_Policy="Policy-0").status == 201
    empty = swift.ask("POST", query="bulk-delete", Accept="application/json")
    assert json.loads(empty.body)["Response Status"] == "400 Bad Request"
    gone = swift.ask("DELETE", "gold/none", query="multipart-manifest=delete", Accept="application/json")
    assert (gone.status, json.loads(gone.body)["Number Not Found"]) == (200, 1)
    user = {"X-Auth-User": "main:admin", "X-Auth-Key": service.key}
    for path in ("/auth/v1.0", "/auth/v1.0/"):
        assert ask(service.port, request("GET", path, headers=user)).status == 200
