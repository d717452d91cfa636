"""The status page, in a real Chromium."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from tests.browser import errors, look, text, until
from tests.conftest import need
from tests.http import ask, request
from tests.programs import (
    Sfss,
    SfssNode,
    free_port,
    proxy_flags,
    routes,
    start_gobeansdb,
    start_memcached,
    start_nutcracker,
)


@pytest.fixture
def server(tmp_path) -> Iterator[Sfss]:
    server = Sfss("--data", tmp_path / "data", "--workers", 2)
    yield server
    server.stop()


def choose(browser: WebDriver, *files: Path) -> None:
    browser.find_element(By.ID, "files").send_keys("\n".join(map(str, files)))


def test_an_upload_is_seen_back(browser, server, tmp_path):
    browser.get(server.url + "/")
    until(browser, lambda: text(browser, "#state") == "Serving")
    assert "2 workers" in text(browser, "#about")
    files = []
    for n in range(3):
        file = tmp_path / f"päper {n}&?.txt"
        file.write_bytes(os.urandom(50_000))
        files.append(file)
    browser.find_element(By.ID, "folder").send_keys("/new/of mine/")
    choose(browser, *files)
    until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#uploads a")) == 3)
    links = [a.get_attribute("href") for a in browser.find_elements(By.CSS_SELECTOR, "#uploads a")]
    contents = set()
    for link in links:
        answer = ask(server.port, request("GET", link.removeprefix(server.url)))
        assert answer.status == 200
        contents.add(answer.body)
    assert contents == {file.read_bytes() for file in files}
    until(browser, lambda: "Files\n3" in text(browser, "#store-cards"))
    assert errors(browser) == []

    # Nothing is replaced without being asked.
    files[0].write_bytes(b"changed")
    choose(browser, files[0])
    until(browser, lambda: "such a file already" in text(browser, "#uploads"))
    browser.get_log("browser")  # the browser itself complains of a 412
    browser.find_element(By.CSS_SELECTOR, "#uploads button").click()
    until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#uploads a")) == 4)
    assert errors(browser) == []


def test_a_file_that_is_dropped(browser, server):
    browser.get(server.url + "/")
    until(browser, lambda: text(browser, "#state") == "Serving")
    browser.execute_script(
        """
        const data = new DataTransfer();
        data.items.add(new File(["dropped"], "one.txt"));
        data.items.add(new File([new Uint8Array(3 * 1024 * 1024)], "huge.bin"));
        document.getElementById("find-path").dispatchEvent(
            new DragEvent("drop", {dataTransfer: data, bubbles: true}));
        """
    )
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#uploads a"))
    assert "huge.bin: it has 3 MB, and 2 MB is the most." in text(browser, "#uploads")
    assert ask(server.port, request("GET", "/file?path=one.txt")).body == b"dropped"
    assert errors(browser) == []


def test_many_files_and_hardly_any_room(browser, tmp_path):
    server = Sfss(
        *("--data", tmp_path / "data", "--max-bytes-in-flight", 3_000_000),
        *("--admission-timeout", 0.1, "--max-file-size", 1_000_000, "--no-access-log"),
    )
    browser.get(server.url + "/")
    until(browser, lambda: text(browser, "#state") == "Serving")
    browser.execute_script(
        """
        const data = new DataTransfer();
        for (let n = 0; n < 300; n += 1) data.items.add(new File(["x".repeat(n)], `${n}.txt`));
        for (let n = 0; n < 12; n += 1) data.items.add(new File([new Uint8Array(900000)], `large-${n}`));
        data.items.add(new File(["x"], "\\ud800"));
        for (let n = 0; n < 50; n += 1) data.items.add(new File([new Uint8Array(1000001)], `huge-${n}`));
        document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", {dataTransfer: data, bubbles: true}));
        """
    )
    until(browser, lambda: text(browser, "#summary").startswith("313 of 363 uploaded, 50 not"), 60)
    assert ask(server.port, request("GET", "/file?path=299.txt")).body == b"x" * 299
    assert ask(server.port, request("GET", "/file?path=0.txt")).body == b""
    server.stop()


def test_a_server_that_hangs_is_none(browser, server):
    browser.get(server.url + "/")
    until(browser, lambda: text(browser, "#state") == "Serving")
    for pid in server.workers:
        os.kill(pid, signal.SIGSTOP)
    until(browser, lambda: text(browser, "#state") == "No answer")
    for pid in server.workers:
        os.kill(pid, signal.SIGCONT)
    until(browser, lambda: text(browser, "#state") == "Serving")


def test_a_proxy_goes_down_and_comes_back(browser, tmp_path):
    need("memcached", "nutcracker")
    memcached, port = start_memcached()
    proxies = [start_nutcracker(tmp_path, [port]) for _ in range(2)]
    server = Sfss(*proxy_flags([port for _, port in proxies]))
    browser.get(server.url + "/")
    until(browser, lambda: text(browser, "#proxy-rows").count("up") == 2)
    proxies[0][0].send(signal.SIGSTOP)
    for n in range(20):
        assert ask(server.port, request("PUT", f"/file?path=f{n}", b"x")).status == 200
    until(browser, lambda: text(browser, "#state") == "Serving, 1 of 2 proxies down")
    assert browser.find_element(By.ID, "state").get_attribute("class") == "badge warn"  # it is no outage
    assert f"127.0.0.1:{proxies[0][1]} down" in text(browser, "#events")
    proxies[0][0].send(signal.SIGCONT)
    until(browser, lambda: text(browser, "#state") == "Serving")
    assert f"127.0.0.1:{proxies[0][1]} up" in text(browser, "#events")
    assert errors(browser) == []
    server.stop()
    until(browser, lambda: text(browser, "#state") == "No answer")
    assert browser.find_element(By.ID, "state").get_attribute("class") == "badge bad"
    for program, _ in proxies:
        program.stop()
    memcached.stop()


def test_beansdb_nodes_are_shown(browser, tmp_path):
    need("gobeansdb")
    ports = [free_port() for _ in range(3)]
    nodes = [start_gobeansdb(tmp_path, port, routes(ports, free_port())) for port in ports]
    server = Sfss(*(flag for port in ports for flag in ("--beansdb", f"127.0.0.1:{port}")), "--workers", 2)
    try:
        browser.get(server.url + "/")
        until(browser, lambda: text(browser, "#beansdb-rows").count("trusted") == 3)
        until(browser, lambda: text(browser, "#state") == "Serving")
        nodes[1].kill()
        until(browser, lambda: text(browser, "#state") == "Serving, 1 of 3 Beansdb nodes down or fenced")
        assert f"127.0.0.1:{ports[1]} down" in text(browser, "#beansdb-rows").replace("\n", " ")
        until(browser, lambda: f"127.0.0.1:{ports[1]}" in text(browser, "#events"))
        nodes[1] = start_gobeansdb(tmp_path, ports[1], routes(ports, free_port()))
        until(browser, lambda: text(browser, "#beansdb-rows").count("trusted") == 3)
        # (Its first listing may have come before the nodes were trusted.)
        assert [error for error in errors(browser) if "504" not in error] == []
    finally:
        for program in [server, *nodes]:
            program.stop()


def test_nodes_see_each_other(browser, tmp_path):
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    first = SfssNode(tmp_path / "1", "--node", urls[1], "--names", "exact", port=ports[0])
    second = SfssNode(tmp_path / "2", "--node", urls[0], "--names", "exact", port=ports[1])
    browser.get(first.url + "/")
    until(browser, lambda: text(browser, "#neighbour-rows").startswith(f"{urls[1]} up 0"))
    until(browser, lambda: "yes" in text(browser, "#neighbour-rows"))
    assert text(browser, "#state") == "Serving"
    second.kill()
    for n in range(3):
        assert ask(first.port, request("PUT", f"/f/{n}", b"x")).status == 201
    until(browser, lambda: text(browser, "#neighbour-rows").startswith(f"{urls[1]} down 3"))
    until(browser, lambda: text(browser, "#state") == "Serving, 1 of 1 other nodes down")
    assert f"{urls[1]} down" in text(browser, "#events")
    second = SfssNode(tmp_path / "2", "--node", urls[0], "--names", "exact", port=ports[1])
    until(browser, lambda: text(browser, "#neighbour-rows").startswith(f"{urls[1]} up 0"), 40)
    assert "Files\n3" in text(browser, "#node-cards")
    assert errors(browser) == []
    second.stop()
    first.stop()


def test_it_asks_for_tokens(browser, tmp_path):
    server = Sfss("--data", tmp_path / "data", "--write-token", "w-r-i-t-e", "--read-token", "reader")
    file = tmp_path / "file.txt"
    file.write_bytes(b"content")
    browser.get(server.url + "/")
    until(browser, lambda: text(browser, "#state") == "Token needed")
    field = browser.find_element(By.ID, "token")
    assert browser.switch_to.active_element == field  # nobody has to look for it
    field.send_keys("ключ" + Keys.ENTER)  # fetch could not even send that
    until(browser, lambda: "letters, digits" in text(browser, "#token-error"))
    field.clear()
    field.send_keys("wrong" + Keys.ENTER)
    until(browser, lambda: "not valid" in text(browser, "#token-error"))
    field.send_keys("reader" + Keys.ENTER)
    until(browser, lambda: text(browser, "#state") == "Serving")
    choose(browser, file)
    until(browser, lambda: "waits for a token" in text(browser, "#uploads"))
    field.send_keys("w-r-i-t-e" + Keys.ENTER)
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#uploads a"))
    until(browser, lambda: "file.txt" in text(browser, "#file-rows"))  # what is below it has moved
    browser.find_element(By.CSS_SELECTOR, "#uploads a").click()  # with the token; the page stays
    until(browser, lambda: "GET target=/file/file.txt status=200" in server.printed())
    assert text(browser, "#state") == "Serving"
    browser.execute_script("sessionStorage.clear()")
    server.stop()


def test_it_fits_a_phone_and_works_by_keyboard(browser, server):
    browser.set_window_size(500, 800)  # Chromium has no narrower window; the page gets narrower
    try:
        for scheme in ("light", "dark"):
            look(browser, scheme, 360)
            browser.get(server.url + "/")
            until(browser, lambda: text(browser, "#state") == "Serving")
            width = browser.execute_script("return document.documentElement.scrollWidth")
            assert width <= 360, f"{scheme}: the page is {width} wide"
            dark = (
                browser.execute_script("return getComputedStyle(document.body).backgroundColor")
                != "rgb(247, 247, 245)"
            )
            assert dark == (scheme == "dark")
        body = browser.find_element(By.TAG_NAME, "body")
        focused = []
        for _ in range(10):
            body.send_keys(Keys.TAB)
            focused.append(
                browser.execute_script("return document.activeElement.id || document.activeElement.className")
            )
        assert focused[0] == "skip" and {"folder", "files"} <= set(focused)
        # All that a screen reader needs to tell them apart.
        unnamed = browser.execute_script(
            """
            return [...document.querySelectorAll("input, button, svg, section")].filter((part) =>
              !part.labels?.length && !part.textContent.trim() && !part.ariaLabel
              && !part.getAttribute("aria-labelledby")).map((part) => part.outerHTML);
            """
        )
        assert unnamed == []
        assert errors(browser) == []
    finally:
        look(browser)


def test_it_can_be_switched_off(server, tmp_path):
    page = ask(server.port, request("GET", "/"))
    assert page.status == 200 and "script-src 'self'" in page.headers["content-security-policy"]
    silent = Sfss("--data", tmp_path / "silent", "--no-page")
    assert ask(silent.port, request("GET", "/")).status == 404
    assert ask(silent.port, request("GET", "/page.json")).status == 404
    silent.stop()
    reading = Sfss("--data", tmp_path / "reading", "--no-page-uploads")
    assert b'"uploads": false' in ask(reading.port, request("GET", "/page.json")).body
    reading.stop()
