import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfss.errors import InvalidRequest, PreconditionFailed, RangeNotSatisfiable
from sfss.models import FileInfo, Precondition
from sfss.web import conditional
from tests.http import headers_of

INFO = FileInfo(10, "abc")


def is_unchanged(headers: dict[str, str], info: FileInfo) -> bool:
    return conditional.is_unchanged(headers_of(headers), info)


def requested_range(headers: dict[str, str], info: FileInfo) -> tuple[int, int] | None:
    return conditional.requested_range(headers_of(headers), info)


def write_precondition(headers: dict[str, str]) -> Precondition | None:
    return conditional.write_precondition(headers_of(headers))


@pytest.mark.parametrize(
    "header, tags",
    [
        ('"abc"', ("abc",)),
        ('"a", "b"', ("a", "b")),
        ('"a","b" ,  "c"', ("a", "b", "c")),
        (',, "a",,', ("a",)),
        ('"a,b"', ("a,b",)),
        ('""', ("",)),
        ("*", ("*",)),
        ('"*"', ()),
    ],
)
def test_lists_of_etags(header, tags):
    assert write_precondition({"If-Match": header}).if_match == tags


@pytest.mark.parametrize("header", ["abc", '"abc', 'abc"', '"a" "b"', "*, *", 'w/"a"', "", ","])
def test_malformed_lists(header):
    for name in ("If-Match", "If-None-Match"):
        with pytest.raises(InvalidRequest, match=name):
            write_precondition({name: header})


def test_a_hostile_list_takes_no_time():
    """Such a list once took a pattern 2**27 steps, on the event loop."""
    for hostile in ('"a" ' + " , " * 2000 + "x", '"a"' * 2000, ", " * 3000, "W/" * 3000):
        with pytest.raises(InvalidRequest):
            write_precondition({"If-None-Match": hostile})


def test_malformed_lists_of_reads():
    assert not is_unchanged({"If-None-Match": "abc"}, INFO)
    with pytest.raises(InvalidRequest):
        is_unchanged({"If-Match": "abc"}, INFO)


def test_weak_tags():
    both = {"If-Match": 'W/"abc"', "If-None-Match": 'W/"abc"'}
    assert write_precondition(both) == Precondition(if_match=(), if_none_match=("abc",))


def test_nothing_asked():
    assert write_precondition({"Range": "bytes=0-1"}) is None


def test_reads():
    assert not is_unchanged({}, INFO)
    assert is_unchanged({"If-None-Match": '"abc"'}, INFO)
    assert is_unchanged({"If-None-Match": "*"}, INFO)
    assert not is_unchanged({"If-None-Match": '"other"'}, INFO)
    assert not is_unchanged({"If-Match": '"abc"'}, INFO)
    with pytest.raises(PreconditionFailed):
        is_unchanged({"If-Match": '"other"', "If-None-Match": '"abc"'}, INFO)


@pytest.mark.parametrize(
    "header, part",
    [
        ("bytes=0-4", (0, 5)),
        ("bytes=0-", (0, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=5-100", (5, 10)),
        ("BYTES=1-2", (1, 3)),
        ("bytes=1-2,4-5", None),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=٣-٤", None),
        ("items=0-1", None),
        ("bytes=" + "9" * 41 + "-", None),
        ("bytes=2-" + "9" * 40, (2, 10)),
        ("", None),
    ],
)
def test_ranges(header, part):
    assert requested_range({"Range": header}, INFO) == part


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_ranges_behind_the_end(header):
    with pytest.raises(RangeNotSatisfiable) as raised:
        requested_range({"Range": header}, INFO)
    assert raised.value.size == 10


def test_a_part_of_nothing():
    with pytest.raises(RangeNotSatisfiable):
        requested_range({"Range": "bytes=0-"}, FileInfo(0, "e"))


def test_if_range():
    asked = {"Range": "bytes=0-1"}
    assert requested_range({**asked, "If-Range": '"abc"'}, INFO) == (0, 2)
    for other in ('"other"', 'W/"abc"', "Fri, 20 Nov 2026 03:15:37 GMT"):
        assert requested_range({**asked, "If-Range": other}, INFO) is None


@given(st.text(max_size=30))
def test_any_header_is_understood_ignored_or_refused(text):
    headers = {"If-None-Match": text, "If-Match": text, "Range": text, "If-Range": text}
    try:
        is_unchanged(headers, INFO)
    except (InvalidRequest, PreconditionFailed):
        pass
    part = requested_range({"Range": "bytes=" + text}, INFO) if "-0" not in text else None
    assert part is None or 0 <= part[0] < part[1] <= 10
