"""``/file/PATH``: the same as ``/file?path=PATH``, so that pictures and relative links find files by their paths."""

from urllib.parse import quote

from sfss.signing import signed_query
from tests.http import Answer, ask, request
from tests.programs import Sfss

KEY = "0123456789abcdef0123"


def test_a_file_by_its_path(tmp_path):
    server = Sfss("--data", tmp_path)

    def asked(method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        return ask(server.port, request(method, target, body, headers))

    for path in ("a/b.txt", "ä/名+ &=?#%.txt", "file/file", "x" * 1000):
        url = f"/file/{quote(path)}"
        assert asked("PUT", url, b"content").status == 200
        assert asked("GET", f"/file?path={quote(path, safe='')}").body == b"content"
        answer = asked("GET", url + "?v=3")  # what makes caches ask again
        assert (answer.status, answer.body) == (200, b"content")
        assert asked("GET", url, **{"If-None-Match": answer.headers["etag"]}).status == 304
        assert asked("HEAD", url).headers["content-length"] == "7"
        assert asked("DELETE", url).status == 204 and asked("GET", url).status == 404
    # A plus is one; in an argument it would be a space.
    asked("PUT", "/file/a+b", b"plus")
    assert asked("GET", "/file?path=a%2Bb").body == b"plus"
    for target in (
        "/file/",
        "/file/a//b",
        "/file/../a",
        "/file/%2e%2e/a",
        "/file/a/",
        "/file/%FF",
        "/file/a%00",
    ):
        assert asked("PUT", target, b"x").status == 400, target
    said_twice = asked("GET", "/file/a?path=b")
    assert said_twice.status == 400 and b"leave one away" in said_twice.body
    refused = asked("POST", "/file/a", b"x")
    assert refused.status == 405 and set(refused.headers["allow"].split(", ")) == {
        "DELETE",
        "GET",
        "HEAD",
        "PUT",
    }
    assert b'route="/file"' in asked("GET", "/metrics").body and b"a+b" not in asked("GET", "/metrics").body
    server.stop()


def test_a_signature_holds_for_both_urls_of_a_file_and_for_no_other(tmp_path):
    server = Sfss("--data", tmp_path, "--read-token", "r", "--write-token", "w", "--signing-key", KEY)
    assert ask(server.port, request("PUT", "/file/a/b", b"1", {"Authorization": "Bearer w"})).status == 200
    signed = signed_query(KEY, "GET", "a/b", lifetime=60)
    without_path = "&".join(part for part in signed.split("&") if not part.startswith("path="))
    for target, status in (
        (f"/file?{signed}", 200),
        (f"/file/a/b?{without_path}", 200),
        (f"/file/a%2Fb?{without_path}", 200),
        ("/file/a/b", 401),
        (f"/file/a/c?{without_path}", 403),
        (f"/file/a/b?{signed}", 400),
        (f"/files/a/b?{without_path}", 401),
        (f"/archive?prefix=a&{without_path}", 401),
    ):
        assert ask(server.port, request("GET", target)).status == status, target
    assert ask(server.port, request("PUT", f"/file/a/b?{without_path}", b"2")).status == 403
    server.stop()
