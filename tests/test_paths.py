import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfss.errors import InvalidPath
from sfss.paths import MAX_PATH_BYTES, check_path, is_valid_path

GOOD = [
    "a",
    "a/b",
    "a.b",
    ".a",
    "..a",
    "a..",
    "...",
    "a/.b/..c",
    " ",
    "a b",
    "%2e",
    "?",
    "é/名前",
    "x" * 1024,
]
BAD = {
    "": "empty",
    "/": "begins",
    "/a": "begins",
    "a/": "ends",
    "a//b": "'//'",
    ".": "'.' or '..'",
    "..": "'.' or '..'",
    "a/.": "'.' or '..'",
    "../a": "'.' or '..'",
    "a/../b": "'.' or '..'",
    "a\\b": "backslash",
    "a\nb": "control",
    "a\x00": "control",
    "a\n": "control",
    "\x7f": "control",
    "\x9f": "control",
    "\ud800": "UTF-8",
    "a\udcff": "UTF-8",
    "x" * 1025: "1025 bytes",
    "é" * 513: "1026 bytes",
}


@pytest.mark.parametrize("path", GOOD)
def test_good(path):
    assert check_path(path) == path


@pytest.mark.parametrize("path", BAD, ids=repr)
def test_bad(path):
    with pytest.raises(InvalidPath, match=BAD[path]):
        check_path(path)


@given(st.text(alphabet=st.sampled_from("ab./\\\n\x7fé%"), max_size=12))
def test_by_the_words_of_the_rule(path):
    parts = path.split("/")
    good = all(part not in ("", ".", "..") for part in parts) and not set(path) & set("\\\n\x7f")
    assert is_valid_path(path) == good


@given(st.text(max_size=600))
def test_what_is_valid_is_short_utf8(path):
    if is_valid_path(path):
        assert 1 <= len(path.encode()) <= MAX_PATH_BYTES
