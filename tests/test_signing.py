"""Signed URLs, without a server."""

import re
from urllib.parse import parse_qs

import pytest

from sfss.errors import Forbidden, InvalidRequest
from sfss.signing import CLOCK_SKEW, check, sign, signed_query

KEY = "0123456789abcdef"
NOW = 1_800_000_000.0


def checked(method="GET", path="a/b", expires="1800000100", limit=None, signature=None, now=NOW, keys=(KEY,)):
    if signature is None:
        signature = sign(KEY, "GET", "a/b", 1800000100)
    return check(keys, method, path, expires=expires, limit=limit, signature=signature, now=now)


def test_what_was_signed_holds():
    assert checked() is None
    assert checked(method="HEAD") is None  # tells less than a GET
    assert checked(keys=("another key of ours", KEY)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"method": "DELETE"},
        {"method": "POST"},
        {"path": "a/c"},
        {"path": "a/b\n1800000100"},
        {"expires": "1800000101"},
        {"expires": "01800000100"},
        {"expires": "+1800000100"},
        {"expires": "1800000100 "},
        {"expires": "１８００００００００"},
        {"expires": ""},
        {"expires": None},
        {"limit": "5"},
        {"limit": ""},
        {"signature": ""},
        {"signature": "é"},
        {"signature": sign(KEY, "GET", "a/b", 1800000100).lower()},
        {"signature": sign(KEY, "GET", "a/b", 1800000100) + "="},
        {"keys": ("another key of ours",)},
        {"keys": ()},
    ],
)
def test_what_was_changed_does_not(change):
    with pytest.raises(Forbidden):
        checked(**change)


def test_it_expires_when_no_clock_can_doubt_it():
    assert checked(now=1800000100 + CLOCK_SKEW) is None
    with pytest.raises(Forbidden, match="expired"):
        checked(now=1800000100 + CLOCK_SKEW + 1)
    # Who signs may be ahead of us by any time: the URL lives longer, as the signer wants it.
    assert checked(now=NOW - 1000) is None


def test_limits():
    signature = sign(KEY, "PUT", "a/b", 1800000100, 5)
    assert checked(method="PUT", limit="5", signature=signature) == 5
    for limit in ("6", "05", "", None):
        with pytest.raises(Forbidden):
            checked(method="PUT", limit=limit, signature=signature)


def test_queries():
    query = parse_qs(signed_query(KEY, "PUT", "ä b/c&d", lifetime=60, limit=0))
    (path,), (expires,), (limit,), (signature,) = (
        query[name] for name in ("path", "expires", "limit", "signature")
    )
    assert (path, limit) == ("ä b/c&d", "0")
    assert re.fullmatch("[A-Za-z0-9_-]{43}", signature)
    assert check((KEY,), "PUT", path, expires=expires, limit=limit, signature=signature) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"key": "short"},
        {"method": "DELETE"},
        {"limit": -1, "method": "PUT"},
        {"limit": 5, "method": "GET"},
    ],
)
def test_what_cannot_be_signed(arguments):
    key = arguments.pop("key", KEY)
    method = arguments.pop("method", "GET")
    with pytest.raises(InvalidRequest):
        signed_query(key, method, "a", lifetime=1, **arguments)
