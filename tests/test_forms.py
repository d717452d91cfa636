"""Forms: whole, byte by byte, as real clients and odd ones send them."""

import random
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfss.errors import FileTooLarge, InvalidRequest
from sfss.web.forms import FORM_OVERHEAD, FormReader, parameters_of
from tests.conftest import need
from tests.http import ask, request
from tests.programs import Sfss, find

LIMIT = 1_000_000
PART = b'Content-Disposition: form-data; name="upload_file"; filename="f"'


def body(
    content: bytes,
    head: bytes = PART,
    boundary: bytes = b"bound",
    before: bytes = b"",
    end: bytes = b"--\r\n",
):
    return before + b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n--" + boundary + end


def read(data: bytes, boundary: str = "bound", step: int = 0, limit: int = LIMIT) -> bytes:
    reader = FormReader(boundary, limit)
    for start in range(0, len(data), step or len(data) or 1):
        reader.feed(data[start : start + (step or len(data))])
    return reader.end()


CONTENTS = [
    b"x", b"\r\n", b"--bound", b"\r\n--boun", b"\r\n--boundary of another kind", b"\r\n--bound x\r\n",
    b"\r\n--bound -\r\n", b"\r\r\n\r", b"\r\n--bound\r", bytes(range(256)) * 30, b"\r\n--bound-",
]  # fmt: skip


@pytest.mark.parametrize("step", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_contents_come_back(content, step):
    assert read(body(content), step=step) == content


ODD_HEADS = {
    "windows-1252": b'Content-Disposition: form-data; name="upload_file"; filename="\xfcber.txt"',
    "shift-jis": b'Content-Disposition: form-data; name="upload_file"; filename="\x83\x5c\x95\x5c.txt"',
    "koi8-r": b'Content-Disposition: form-data; name="upload_file"; filename="\xc6\xc1\xca\xcc"',
    "utf-8": 'Content-Disposition: form-data; name="upload_file"; filename="名前"'.encode(),
    "null": b'Content-Disposition: form-data; name="upload_file"; filename="a\x00b"',
    "nine headers": PART + b"".join(b"\r\nX-%d: y" % n for n in range(9)),
    "fifty headers": b"".join(b"X-%d: y\r\n" % n for n in range(50)) + PART,
    "odd header names": b"X Y: 1\r\n\xff: 2\r\nno colon\r\n" + PART,
    "a bad length": PART + b"\r\nContent-Length: soon",
    "tabs": b'Content-Disposition:\tform-data;\tname="upload_file"\t;\tfilename="f"',
    "no blanks": b"content-disposition:form-data;name=upload_file;filename=f",
    "folded": b'Content-Disposition: form-data;\r\n name="upload_file";\r\n\tfilename="f"',
    "curl's quotes": b'Content-Disposition: form-data; name="upload_file"; filename="a\\"b.txt"',
    "browsers' quotes": b'Content-Disposition: form-data; name="upload_file"; filename="a%22b.txt"',
    "a path of Windows": b'Content-Disposition: form-data; name="upload_file"; filename="C:\\dir\\f.txt"',
    "filename first": b'Content-Disposition: form-data; filename="f"; name="upload_file"',
    "another disposition": b'Content-Disposition: file; name="upload_file"; filename="f"',
    "no file name": b'Content-Disposition: form-data; name="upload_file"',
}


@pytest.mark.parametrize("head", ODD_HEADS.values(), ids=ODD_HEADS)
def test_what_is_not_used_does_not_matter(head):
    for step in (0, 1):
        assert read(body(b"content", head), step=step) == b"content"


ODD_OTHERS = [
    b'Content-Disposition: form-data; name="\xfc\xff"', b"", b"Content-Type: text/plain",
    b"Content-Disposition: attachment", b"\xff\xfe: \x00", b'Content-Disposition: form-data; name="a',
]  # fmt: skip


@pytest.mark.parametrize("head", ODD_OTHERS, ids=range(len(ODD_OTHERS)))
def test_other_parts_are_passed_over_whatever_they_are(head):
    other = b"--bound\r\n" + (head + b"\r\n\r\n" if head else b"\r\n") + b"value\r\n"
    for step in (0, 1):
        assert read(body(b"content", before=other), step=step) == b"content"
        assert (
            read(body(b"content", end=b"\r\n") + other.removeprefix(b"--bound\r\n") + b"--bound--", step=step)
            == b"content"
        )


@pytest.mark.parametrize("padding", [b" ", b"\t", b"   \t  "])
def test_blanks_behind_a_boundary(padding):
    data = body(b"content").replace(b"--bound\r\n", b"--bound" + padding + b"\r\n", 1)
    for step in (0, 1):
        assert read(data, step=step) == b"content"


@pytest.mark.parametrize("before", [b"", b"\r\n", b"a preamble\r\n", b"\r\n\r\n--boun\r\n"])
@pytest.mark.parametrize("behind", [b"", b"\r\n", b"\r\nan epilogue", b" \r\n"])
def test_what_stands_before_and_behind(before, behind):
    data = body(b"content", before=before).removesuffix(b"\r\n") + behind
    for step in (0, 1):
        assert read(data, step=step) == b"content"


@pytest.mark.parametrize("head", [
    b'Content-Disposition: form-data; name="upload_file"; filename=""',
    b'Content-Disposition: form-data; name="upload_file"; filename=""\r\nContent-Type: application/octet-stream',
    b'Content-Disposition: form-data; name="upload_file"',
])  # fmt: skip
def test_a_form_without_a_file_is_none(head):
    with pytest.raises(InvalidRequest, match="holds no file"):
        read(body(b"", head))


def test_an_empty_file_with_a_name_is_a_file():
    for step in (0, 1):
        assert read(body(b""), step=step) == b""
    encoded = b"Content-Disposition: form-data; name=upload_file; filename*=UTF-8''f"
    assert read(body(b"", encoded)) == b""


@pytest.mark.parametrize("data, complaint", [
    (b"", "cut off"), (body(b"x")[:-6], "cut off"), (body(b"x", end=b"\r\n"), "cut off"),
    (body(b"x", b'Content-Disposition: form-data; name="a"'), "no field"),
    (body(b"x", b"X: y"), "no field"),
    (body(b"1", end=b"\r\n") + body(b"2").removeprefix(b"--bound\r\n"), "two files"),
    (b"--bound\r\nX: y\r\n\r\n\r\n" * 101 + body(b"x"), "more than 100 parts"),
    (b"--bound\nX: y\n\nx\n--bound--\n", "cut off"),
])  # fmt: skip
def test_forms_that_are_none(data, complaint):
    for step in (0, 1):
        with pytest.raises(InvalidRequest, match=complaint):
            read(data, step=step)


@pytest.mark.parametrize("boundary", ["", "a\r\nb", "\xff", "x" * 201, "a\nb"])
def test_boundaries_that_are_none(boundary):
    with pytest.raises(InvalidRequest, match="boundary"):
        FormReader(boundary, LIMIT)


def test_limits():
    assert read(body(b"x" * 1000), limit=1000) == b"x" * 1000
    with pytest.raises(FileTooLarge, match="at most 999"):
        read(body(b"x" * 1000), limit=999)
    for data in (
        body(b"x", before=b"--bound\r\n\r\n" + b"n" * (FORM_OVERHEAD + 99) + b"\r\n"),
        body(b"x", b"X: " + b"y" * (FORM_OVERHEAD + 99) + b"\r\n" + PART),
        body(b"x") + b"z" * (FORM_OVERHEAD + 99),
        body(b"x" * (FORM_OVERHEAD + 99), b'Content-Disposition: form-data; name="photo"; filename="f"'),
        b"--bound" + b" " * (FORM_OVERHEAD + 99),
    ):
        for step in (0, 8192):
            with pytest.raises(FileTooLarge, match="upload_file"):
                read(data, step=step)


def test_nothing_but_the_file_is_kept():
    reader = FormReader("bound", LIMIT)
    for _ in range(50):
        reader.feed(b"p" * 1000 + b"\r")
        assert len(reader._buffer) <= 10


@given(st.binary(max_size=200), st.integers(0, 2**32), st.sampled_from(["b", "bound", "--", "x" * 70]))
def test_any_content_in_any_pieces(content, seed, boundary):
    if b"\r\n--" + boundary.encode() in b"\r\n" + content:
        return
    data = body(content, boundary=boundary.encode())
    generator = random.Random(seed)
    reader = FormReader(boundary, LIMIT)
    start = 0
    while start < len(data):
        size = generator.randint(1, 40)
        reader.feed(data[start : start + size])
        start += size
    assert reader.end() == content


@given(st.binary(max_size=300))
def test_bytes_of_any_kind(data):
    """Whole or byte by byte: the same file, or the same complaint."""
    found = []
    for step in (0, 1, 5):
        try:
            found.append(read(data, "b", step))
        except (InvalidRequest, FileTooLarge) as error:
            found.append(type(error))
    assert len(set(found)) == 1


@pytest.mark.parametrize("header, expected", [
    ("multipart/form-data; boundary=x", ("multipart/form-data", {"boundary": "x"})),
    ("Multipart/Form-Data;\tBOUNDARY=x", ("multipart/form-data", {"boundary": "x"})),
    ('multipart/form-data ; a="b;c=d" ; boundary = "x y"', ("multipart/form-data", {"a": "b;c=d", "boundary": "x y"})),
    ('x/y; a="q\\"q"', ("x/y", {"a": 'q"q'})),
    ("x/y; a=1; a=2", ("x/y", {"a": "1"})),
    ("", ("", {})), (";", ("", {})), ("x/y; =; a", ("x/y", {})),
])  # fmt: skip
def test_parameters(header, expected):
    assert parameters_of(header) == expected


# Real clients.


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Sfss("--data", tmp_path_factory.mktemp("data"))
    yield server
    server.stop()


@pytest.mark.parametrize(
    "name", [b"\xfcber.txt", b"\x83\x5c.txt", b"\xc6\xc1\xca\xcc", b'a"b\\c', "名前".encode(), b"a;b"]
)
def test_curl_with_file_names_of_any_charset(server, tmp_path, name):
    need("curl")
    file = bytes(tmp_path) + b"/" + name
    with open(file, "wb") as stream:
        stream.write(name)
    url = f"http://127.0.0.1:{server.port}/files?path=curl"
    quoted = file.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    command = [find("curl").encode(), b"-sS", b"-F", b'upload_file=@"' + quoted + b'"', url.encode()]
    done = subprocess.run(command, capture_output=True)
    assert b'"path": "curl"' in done.stdout, done
    assert ask(server.port, request("GET", "/file?path=curl")).body == name


@pytest.mark.parametrize("content_type", [
    "multipart/form-data;\tboundary=bound", "Multipart/Form-Data; boundary=bound",
    "MULTIPART/FORM-DATA;boundary=\"bound\"", "multipart/form-data; charset=utf-8; boundary=bound",
])  # fmt: skip
def test_content_types_of_forms(server, content_type):
    answer = ask(server.port, request("PUT", "/file?path=typed", body(b"c"), {"Content-Type": content_type}))
    assert answer.status == 200
    assert ask(server.port, request("GET", "/file?path=typed")).body == b"c"


def test_a_form_that_holds_no_file_changes_nothing(server):
    headers = {"Content-Type": "multipart/form-data; boundary=bound"}
    assert ask(server.port, request("PUT", "/file?path=kept", b"precious")).status == 200
    nothing = body(b"", b'Content-Disposition: form-data; name="upload_file"; filename=""')
    for method, target in (("POST", "/files?path=kept"), ("PUT", "/file?path=kept")):
        answer = ask(server.port, request(method, target, nothing, headers))
        assert answer.status == 400 and b"no file" in answer.body
    assert ask(server.port, request("GET", "/file?path=kept")).body == b"precious"
