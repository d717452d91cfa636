"""The files on the page: folders, a file, and what can be done with it, in a real Chromium."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from sfss.stores.sqlite import SqliteStore
from tests.browser import details, errors, find_file, look, names, png, press, text, until, violations
from tests.conftest import need
from tests.http import ask, request
from tests.programs import Sfss, SfssNode, proxy_flags, start_memcached

FILES = {
    "photos/2026/red.png": png(),
    "photos/2026/naïve & <b>?#.txt": "Grüße <script>alert(1)</script>\n".encode() * 10,
    "photos/index.html": b"<script>alert(1)</script>",
    "a.bin": bytes(range(256)),
}


def put(server: Sfss, path: str, content: bytes) -> None:
    answer = ask(server.port, request("PUT", f"/file?path={quoted(path)}", content))
    assert answer.status == 200, answer


def quoted(path: str) -> str:
    return "".join(
        chr(b) if (chr(b).isalnum() and b < 128) or b == 47 else f"%{b:02X}" for b in path.encode()
    )


@pytest.fixture
def server(tmp_path) -> Iterator[Sfss]:
    server = Sfss("--data", tmp_path / "data")
    for path, content in FILES.items():
        put(server, path, content)
    yield server
    server.stop()


def test_folders_and_files_are_looked_through(browser, server):
    browser.get(server.url + "/")
    until(browser, lambda: names(browser) == ["photos/", "a.bin"])
    press(browser, "photos/")
    until(browser, lambda: names(browser) == ["2026/", "index.html"])
    press(browser, "2026/")
    until(browser, lambda: len(names(browser)) == 2 and "red.png" in names(browser))
    assert browser.current_url.endswith("#/photos/2026/")
    assert text(browser, "#crumbs").split("\n") == ["All files", "photos", "2026"]
    browser.refresh()
    until(browser, lambda: "red.png" in names(browser))

    press(browser, "red.png")
    until(
        browser,
        lambda: browser.execute_script("return document.querySelector('#preview img')?.naturalWidth") == 1,
    )
    assert "image/png" in details(browser) and f"{len(png())} B" in details(browser)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(browser, lambda: not details(browser))

    press(browser, "naïve & <b>?#.txt")
    until(browser, lambda: "Grüße <script>alert(1)</script>" in details(browser))
    url = browser.find_element(By.ID, "url").get_attribute("value")
    assert (
        ask(server.port, request("GET", url.removeprefix(server.url))).body
        == FILES["photos/2026/naïve & <b>?#.txt"]
    )
    press(browser, "Close")
    press(browser, "photos")
    until(browser, lambda: "index.html" in names(browser))
    press(browser, "index.html")  # it is shown, and not run
    until(browser, lambda: "<script>alert(1)</script>" in details(browser))
    press(browser, "Close")
    browser.back()
    until(browser, lambda: "red.png" in names(browser))
    assert errors(browser) == []
    assert "page.json" not in server.printed()


def test_a_file_is_found_by_its_path_or_by_how_it_begins(browser, server):
    browser.get(server.url + "/")
    until(browser, lambda: names(browser))
    find_file(browser, "/photos/2026/red.png")
    until(browser, lambda: "image/png" in details(browser))
    press(browser, "Close")
    find_file(browser, "photos/2026/re")
    until(browser, lambda: names(browser) == ["photos/2026/red.png"])
    assert text(browser, "#browse-state") == "There is no file photos/2026/re. Files that begin like that: 1."
    find_file(browser, "photos/")
    until(browser, lambda: names(browser) == ["2026/", "index.html"])
    assert [error for error in errors(browser) if "404" not in error] == []


def test_a_file_is_deleted_when_that_is_meant(browser, server):
    browser.get(server.url + "/")
    until(browser, lambda: names(browser))
    press(browser, "a.bin")
    until(browser, lambda: details(browser))
    press(browser, "Delete…")
    assert browser.switch_to.active_element.text == "Keep it"
    press(browser, "Keep it")
    press(browser, "Delete…")
    put(server, "a.bin", b"another one")  # somebody else is quicker
    press(browser, "Delete it")
    until(browser, lambda: "it has changed since" in details(browser))
    press(browser, "Close")
    browser.get_log("browser")  # it complains of the 412
    press(browser, "a.bin")
    until(browser, lambda: "11 B" in details(browser))
    press(browser, "Delete…")
    press(browser, "Delete it")
    until(browser, lambda: names(browser) == ["photos/"])
    assert text(browser, "#browse-state") == "a.bin is deleted."
    assert browser.switch_to.active_element.text == "photos/"
    assert ask(server.port, request("GET", "/file?path=a.bin")).status == 404
    assert errors(browser) == []


def test_uploads_go_into_the_folder_one_is_in(browser, server, tmp_path):
    browser.get(server.url + "/#/photos/")
    until(browser, lambda: "index.html" in names(browser))
    file = tmp_path / "new.txt"
    file.write_bytes(b"new")
    browser.find_element(By.ID, "files").send_keys(str(file))
    until(browser, lambda: names(browser) == ["2026/", "index.html", "new.txt"])
    assert ask(server.port, request("GET", "/file/photos/new.txt")).body == b"new"
    assert errors(browser) == []


def test_a_folder_of_a_hundred_thousand(browser, tmp_path):
    async def fill() -> None:
        store = SqliteStore(tmp_path / "data", request_timeout=60.0)
        await store.start()
        for thousand in range(100):
            await asyncio.gather(*(store.put(f"many/{thousand:02}-{n:03}", b"x") for n in range(1000)))
        await store.close()

    asyncio.run(fill())
    server = Sfss("--data", tmp_path / "data")
    browser.get(server.url + "/#/many/")
    until(browser, lambda: len(names(browser)) == 200)
    press(browser, "Show more")
    until(browser, lambda: len(names(browser)) == 400)
    assert names(browser)[-1] == "00-399"
    assert text(browser, "#browse-state") == "Files and folders: 400, and there are more."
    find_file(browser, "many/99-99")
    until(browser, lambda: names(browser) == [f"many/99-99{n}" for n in range(10)])
    server.stop()


def test_tokens_are_asked_for(browser, tmp_path):
    flags = ("--write-token", "w-r-i-t-e", "--read-token", "reader")
    server = Sfss("--data", tmp_path / "data", *flags)
    for path, content in FILES.items():
        sent = request(
            "PUT", f"/file?path={quoted(path)}", content, headers={"Authorization": "Bearer w-r-i-t-e"}
        )
        assert ask(server.port, sent).status == 200
    browser.get(server.url + "/#/photos/2026/")
    until(browser, lambda: text(browser, "#state") == "Token needed")
    browser.find_element(By.ID, "token").send_keys("reader" + Keys.ENTER)
    until(browser, lambda: "red.png" in names(browser))
    press(browser, "red.png")  # a picture cannot bring the token along
    until(
        browser,
        lambda: browser.execute_script("return document.querySelector('#preview img')?.naturalWidth") == 1,
    )
    press(browser, "Delete…")
    press(browser, "Delete it")
    until(browser, lambda: "not valid for writing" in text(browser, "#token-error"))
    assert not details(browser)
    browser.find_element(By.ID, "token").send_keys("w-r-i-t-e" + Keys.ENTER)
    until(browser, lambda: "Delete it for good?" in details(browser))  # it is asked again
    press(browser, "Delete it")
    until(browser, lambda: "red.png" not in names(browser))
    press(browser, "Forget it")
    until(browser, lambda: text(browser, "#state") == "Token needed")
    server.stop()


def test_what_waits_for_a_token_is_given_up_when_one_goes_on(browser, tmp_path):
    server = Sfss("--data", tmp_path / "data", "--write-token", "w-r-i-t-e")
    write = {"Authorization": "Bearer w-r-i-t-e"}
    for path in ("p/a.txt", "q/b.txt"):
        assert ask(server.port, request("PUT", f"/file/{path}", b"x", headers=write)).status == 200
    browser.get(server.url + "/#/p/")
    until(browser, lambda: names(browser) == ["a.txt"])

    def ask_to_delete() -> None:
        press(browser, "a.txt")
        until(browser, lambda: details(browser))
        press(browser, "Delete…")
        press(browser, "Delete it")
        until(browser, lambda: "To delete a file takes a token." in text(browser, "#token-error"))

    ask_to_delete()
    press(browser, "Not now")
    assert not browser.find_element(By.ID, "token-form").is_displayed()
    ask_to_delete()
    browser.execute_script("location.hash = '#/q/'")
    until(browser, lambda: names(browser) == ["b.txt"])
    later = tmp_path / "later.txt"
    later.write_bytes(b"later")
    browser.find_element(By.ID, "files").send_keys(str(later))
    until(browser, lambda: "To upload files takes a token." in text(browser, "#token-error"))
    press(browser, "Not now")
    until(browser, lambda: "it needs a token" in text(browser, "#uploads"))
    press(browser, "Try again")
    until(browser, lambda: "To upload files takes a token." in text(browser, "#token-error"))
    browser.find_element(By.ID, "token").send_keys("w-r-i-t-e" + Keys.ENTER)
    until(browser, lambda: names(browser) == ["b.txt", "later.txt"])
    assert ask(server.port, request("GET", "/file/p/a.txt")).status == 200
    assert not details(browser)
    browser.execute_script("sessionStorage.clear()")
    server.stop()


def test_a_search_is_no_folder(browser, server, tmp_path):
    browser.get(server.url + "/#/photos/")
    until(browser, lambda: "index.html" in names(browser))
    find_file(browser, "photos/in")
    until(browser, lambda: names(browser) == ["photos/index.html"])
    new = tmp_path / "inner.txt"
    new.write_bytes(b"new")
    browser.find_element(By.ID, "files").send_keys(str(new))
    until(browser, lambda: names(browser) == ["photos/index.html", "photos/inner.txt"])
    assert ask(server.port, request("GET", "/file/photos/inner.txt")).body == b"new"
    browser.find_element(By.LINK_TEXT, "photos").click()  # the URL is this one already
    until(browser, lambda: "2026/" in names(browser))


def test_a_node_that_names_files_itself(browser, tmp_path):
    node = SfssNode(tmp_path)
    answer = ask(node.port, request("PUT", "/photos/a.txt", b"content"))
    name = json.loads(answer.body)["path"]
    browser.get(node.url + "/")
    until(browser, lambda: names(browser))
    assert "a name of its own" in text(browser, "#no-uploads")
    assert not browser.find_element(By.ID, "upload").is_displayed()
    find_file(browser, name)
    until(browser, lambda: details(browser))
    press(browser, "Delete…")
    press(browser, "Delete it")
    until(browser, lambda: "is deleted" in text(browser, "#browse-state"))
    assert ask(node.port, request("GET", f"/{name}")).status == 404
    assert violations(browser) == []
    node.stop()


def test_a_signed_url(browser, tmp_path):
    flags = ("--read-token", "reader", "--write-token", "w-r-i-t-e", "--signing-key", "0123456789abcdef")
    server = Sfss("--data", tmp_path / "data", *flags)
    path = "photos/naïve & <b>?#.txt"
    sent = request(
        "PUT", f"/file?path={quoted(path)}", b"text", headers={"Authorization": "Bearer w-r-i-t-e"}
    )
    assert ask(server.port, sent).status == 200
    browser.get(server.url + "/#/photos/")
    until(browser, lambda: text(browser, "#state") == "Token needed")
    browser.find_element(By.ID, "token").send_keys("reader" + Keys.ENTER)
    until(browser, lambda: names(browser) == ["naïve & <b>?#.txt"])
    press(browser, "naïve & <b>?#.txt")
    until(browser, lambda: details(browser))
    assert violations(browser) == []
    press(browser, "Make a signed URL")
    until(browser, lambda: "without a token" in details(browser))
    url = browser.find_element(By.ID, "url").get_property("value")
    assert url.startswith(server.url + "/file?")
    answer = ask(server.port, request("GET", url.removeprefix(server.url)))
    assert (answer.status, answer.body) == (200, b"text")
    browser.execute_script("sessionStorage.clear()")
    server.stop()


def test_where_the_store_cannot_list(browser, tmp_path):
    need("memcached")
    memcached, port = start_memcached()
    server = Sfss(*proxy_flags([port]))
    put(server, "photos/a.txt", b"text")
    browser.get(server.url + "/")
    until(browser, lambda: "Find one by its path." in text(browser, "#browse-state"))
    find_file(browser, "photos/a.txt")
    until(browser, lambda: "text/plain" in details(browser))
    press(browser, "Delete…")
    press(browser, "Delete it")
    until(browser, lambda: text(browser, "#browse-state") == "photos/a.txt is deleted.")
    assert errors(browser) == []
    server.stop()
    memcached.stop()
    server = Sfss("--data", tmp_path / "data", "--no-listing", "--no-page-uploads")
    put(server, "a.txt", b"text")
    browser.get(server.url + "/")
    until(browser, lambda: "Find one by its path." in text(browser, "#browse-state"))
    find_file(browser, "a.txt")
    until(browser, lambda: "text/plain" in details(browser))
    assert "Delete" not in details(browser)
    server.stop()


def test_a_node_has_it_too(browser, tmp_path):
    node = SfssNode(tmp_path, "--names", "exact")
    for path, content in FILES.items():
        assert ask(node.port, request("PUT", f"/{quoted(path)}", content)).status == 201
    browser.get(node.url + "/")
    until(browser, lambda: names(browser) == ["photos/", "a.bin"])
    press(browser, "photos/")
    until(browser, lambda: "index.html" in names(browser))
    file = tmp_path / "new.txt"
    file.write_bytes(b"new")
    browser.find_element(By.ID, "files").send_keys(str(file))
    until(browser, lambda: "new.txt" in names(browser))
    assert ask(node.port, request("GET", "/photos/new.txt")).body == b"new"
    press(browser, "new.txt")
    until(browser, lambda: "text/plain" in details(browser))
    press(browser, "Delete…")
    press(browser, "Delete it")
    until(browser, lambda: "new.txt" not in names(browser))
    assert ask(node.port, request("GET", "/photos/new.txt")).status == 404
    metrics = browser.find_element(By.ID, "to-metrics").get_attribute("href")
    assert metrics == f"{node.url}/metrics"
    assert errors(browser) == []
    assert "page.json" not in node.printed()
    until(browser, lambda: text(browser, "#cards").startswith("Requests/s\n0\n"))  # its own are no traffic
    node.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_for_everybody(browser, server, scheme, width, tmp_path):
    """No violation for axe-core; nothing has to be scrolled sideways."""
    try:
        look(browser, scheme, width)
        browser.get(server.url + "/#/photos/2026/")
        until(browser, lambda: text(browser, "#state") == "Serving" and "red.png" in names(browser)[1])
        assert violations(browser) == []
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        inner = browser.execute_script(
            "return [...document.querySelectorAll('.scroll')].map((box) => box.scrollWidth - box.clientWidth)"
        )
        assert max(inner) <= 0
        label = "getComputedStyle(document.querySelector('#file-rows td:last-child'), '::before').content"
        assert browser.execute_script(f"return {label}") == ('"Size"' if width == 390 else "none")
        press(browser, "red.png")
        until(browser, lambda: "image/png" in details(browser))
        press(browser, "Delete…")
        assert violations(browser) == []
        browser.save_screenshot(str(Path(tmp_path) / "page.png"))
    finally:
        look(browser)


#: Layout Instability (https://wicg.github.io/layout-instability/), of all since the page began.
SHIFTS = """
const [done] = arguments;
let sum = 0;
new PerformanceObserver((list) => list.getEntries().forEach((each) => (sum += each.value)))
  .observe({ type: "layout-shift", buffered: true });
setTimeout(() => done(sum), 500);
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_jumps_when_it_opens(browser, server, width):
    try:
        browser.get("about:blank")
        look(browser, "light", width)
        browser.get(server.url)
        until(browser, lambda: text(browser, "#state") == "Serving" and len(names(browser)) > 0)
        assert browser.execute_async_script(SHIFTS) == 0
    finally:
        look(browser)
