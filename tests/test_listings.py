"""``GET /files``, and ``GET /_files`` of a node: which files there are."""

import json
import sqlite3
from urllib.parse import quote

import pytest

from sfss.models import etag_of
from sfss.signing import signed_query
from sfss.stores.base import Listed
from sfss.stores.listing import behind, in_pieces, page_of
from tests.http import Answer, ask, request
from tests.programs import Sfss, SfssNode
from tests.trees import KINDS, put_all, start, target

PATHS = ["a.txt", "a/b.txt", "a/c/d.txt", "a/c/e.txt", "a0", "ä/ö.txt", "z/1", "z/2", "名/字 +&#%.txt"]


def put_paths(server: Sfss, paths: list[str] = PATHS) -> None:
    put_all(server, {path: path.encode() for path in paths})


def listing(server: Sfss, query: str = "", headers: dict[str, str] | None = None) -> Answer:
    where = "/_files" if isinstance(server, SfssNode) else "/files"
    return ask(server.port, request("GET", f"{where}?{query}", headers=headers))


def all_of(server: Sfss, **arguments: object) -> tuple[list[dict], list[str]]:
    """What all listings have together."""
    files, folders, after = [], [], ""
    while after is not None:
        query = "&".join(
            f"{name}={quote(str(value))}" for name, value in {**arguments, "after": after}.items()
        )
        document = json.loads(listing(server, query).body)
        files += document["files"]
        folders += document.get("folders", [])
        after = document["next"]
    return files, folders


@pytest.fixture(params=KINDS)
def server(request, tmp_path):
    server = start(request.param, tmp_path / "files")
    yield server
    server.stop()


def test_what_is_there_in_pages_and_by_folder(server):
    put_paths(server)
    for limit in (1, 2, 1000):
        files, folders = all_of(server, limit=limit)
        assert [file["path"] for file in files] == sorted(PATHS) and folders == []
        assert all(file["size"] == len(file["path"].encode()) for file in files)
        assert all(file.get("etag") in (None, etag_of(file["path"].encode())) for file in files)
        files, folders = all_of(server, delimiter="/", limit=limit)
        assert [file["path"] for file in files] == ["a.txt", "a0"]
        assert folders == ["a/", "z/", "ä/", "名/"]
        files, folders = all_of(server, delimiter="/", prefix="a/", limit=limit)
        assert [file["path"] for file in files] == ["a/b.txt"] and folders == ["a/c/"]
        assert [file["path"] for file in all_of(server, prefix="z/", limit=limit)[0]] == ["z/1", "z/2"]
    answer = listing(server, "after=a0&limit=1")
    assert answer.headers["cache-control"] == "no-store" and json.loads(answer.body)["ordered"] is True
    assert json.loads(answer.body)["files"][0]["path"] == "z/1"


def test_what_is_deleted_is_in_no_listing(server):
    put_paths(server)
    for path in ("a/b.txt", "z/1", "z/2"):
        assert ask(server.port, request("DELETE", target(server, path))).status == 204
    files, folders = all_of(server, delimiter="/")
    assert [file["path"] for file in files] == ["a.txt", "a0"] and folders == ["a/", "ä/", "名/"]
    assert all_of(server, prefix="z") == ([], [])


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=000100000", "prefix=%00", "after=" + "x" * 1025]
)
def test_what_makes_no_sense_is_refused(server, query):
    answer = listing(server, query)
    assert answer.status == 400 and json.loads(answer.body)["detail"]


def test_prefixes_at_the_end_of_what_there_is(server):
    last = "\U0010ffff"
    put_paths(server, [f"{last}/{last}", f"{last}{last}"])
    assert [file["path"] for file in all_of(server, prefix=last)[0]] == [f"{last}/{last}", f"{last}{last}"]
    assert all_of(server, delimiter=last, limit=1) == ([], [last])
    assert behind("a") == "b" and behind("a\U0010ffff") == "b" and behind(last) is None
    assert behind("\ud7ff") == "\ue000"  # between them is what is no character


def test_the_catalog_of_an_older_node_has_its_index_made(tmp_path):
    node = SfssNode(tmp_path, "--names", "exact")
    put_paths(node)
    node.stop()
    (file,) = tmp_path.rglob("catalog.sqlite3")
    database = sqlite3.connect(file)
    database.execute("DROP INDEX paths")
    database.close()
    node = SfssNode(tmp_path, "--names", "exact")
    files, _ = all_of(node)
    assert [file["path"] for file in files] == sorted(PATHS)
    assert all(len(file["sha256"]) == 64 and file["modified"].endswith("Z") for file in files)
    node.stop()


def test_who_may_list(tmp_path):
    key = "0123456789abcdef"
    server = Sfss("--data", tmp_path, "--read-token", "reader", "--signing-key", key)
    try:
        assert listing(server).status == 401
        assert listing(server, headers={"Authorization": "Bearer reader"}).status == 200
        # What opens one file opens no listing.
        signed = signed_query(key, "GET", "a.txt", lifetime=60)
        assert ask(server.port, request("GET", f"/file?{signed}")).status == 404
        assert listing(server, signed).status == 401
    finally:
        server.stop()


def test_listings_can_be_closed(tmp_path):
    for server in (
        Sfss("--data", tmp_path / "a", "--no-listing"),
        SfssNode(tmp_path / "b", "--names", "exact", "--no-listing"),
    ):
        try:
            put_paths(server, ["a"])
            answer = listing(server)
            assert answer.status == 403 and b"--no-listing" in answer.body
        finally:
            server.stop()


def test_proxies_cannot_say(memcached):
    server = Sfss("--proxy", f"127.0.0.1:{memcached}")
    try:
        put_paths(server, ["a"])
        answer = listing(server)
        assert answer.status == 501 and b"cannot say" in answer.body
        assert ask(server.port, request("GET", "/file?path=a")).body == b"a"
    finally:
        server.stop()


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("limit", [1, 64, 100, 300, 1000])
def test_a_page_reads_what_it_gives(limit, delimiter):
    paths = [Listed(f"a/{number:05}") for number in range(3000)]
    read = []

    def ask(start: str, count: int) -> list[Listed]:
        found = [file for file in paths if file.path >= start][:count]
        read.extend(found)
        return found

    page = page_of(in_pieces(ask), "a/", "", limit, delimiter)
    assert page.files == paths[:limit] and len(read) == limit + 1
