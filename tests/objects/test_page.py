"""The page of an object service, in a real Chromium: as a user who signs in sees it."""

import json
import time
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from tests.browser import details, errors, find_file, look, names, png, press, text, until, violations
from tests.http import Answer, ask, request
from tests.objects.swift import Swift
from tests.objects.test_swift import user
from tests.programs import SfssObjects

TEXT = "naïve & <b>?#.txt"


@pytest.fixture
def service(tmp_path, chromium) -> Iterator[SfssObjects]:
    service = SfssObjects(tmp_path / "objects", "--workers", 2)
    swift = Swift(service)
    for container in ("photos", "other", "ü %"):
        assert swift.ask("PUT", container).status == 201
    swift.ask("PUT", "photos/2026/red.png", png(), Content_Type="image/png")
    swift.ask(
        "PUT", f"photos/{TEXT}", "Grüße <script>alert(1)</script>\n".encode(), Content_Type="text/plain"
    )
    yield service
    chromium.execute_script("sessionStorage.clear()")
    assert service.stop() == 0
    assert "Traceback" not in service.printed()


def sign_in(browser: WebDriver, user: str, key: str) -> None:
    until(browser, lambda: browser.find_element(By.ID, "token").is_displayed())
    field = browser.find_element(By.ID, "user")
    field.clear()
    field.send_keys(user)
    browser.find_element(By.ID, "token").send_keys(key + Keys.ENTER)


def test_what_a_user_has(browser, service):
    browser.get(service.url + "/")
    until(browser, lambda: text(browser, "#state") == "Serving")
    assert browser.current_url == service.url + "/_page/"
    assert "2 workers" in text(browser, "#about") and "Read and write\nusers" in text(browser, "#door-cards")
    assert "Sign in with a user" in text(browser, "#token-form")
    sign_in(browser, "main:admin", "wrong")
    until(browser, lambda: "the key is another" in text(browser, "#token-error"))
    sign_in(browser, "main:admin", service.key)
    until(browser, lambda: names(browser) == ["other/", "photos/", "ü %/"])
    assert "2 objects" in text(browser, "#file-rows") and text(browser, "#crumbs") == "Containers"
    press(browser, "photos/")
    until(browser, lambda: names(browser) == ["2026/", TEXT])
    press(browser, "2026/")
    until(browser, lambda: names(browser) == ["red.png"])
    assert browser.current_url.endswith("#/photos/2026/")
    browser.refresh()  # one is still signed in
    until(browser, lambda: names(browser) == ["red.png"])
    press(browser, "red.png")
    shown = "return document.querySelector('#preview img')?.naturalWidth"
    until(browser, lambda: browser.execute_script(shown) == 1)
    assert "image/png" in details(browser)
    press(browser, "Close")
    find_file(browser, f"photos/{TEXT}")
    until(browser, lambda: "Grüße <script>alert(1)</script>" in details(browser))

    press(browser, "Make a signed URL")
    until(browser, lambda: "without a token" in details(browser))
    url = browser.find_element(By.ID, "url").get_property("value")
    assert service.key not in url

    def with_url(method: str, url: str) -> Answer:
        host = {"Host": service.url.removeprefix("http://")}
        return ask(service.port, request(method, url.removeprefix(service.url), headers=host))

    answer = with_url("GET", url)
    assert (answer.status, answer.body) == (200, "Grüße <script>alert(1)</script>\n".encode())
    assert with_url("DELETE", url).status == with_url("GET", url.replace("/photos/", "/other/")).status == 403
    press(browser, "Close")
    find_file(browser, "photos/na")
    until(browser, lambda: names(browser) == [f"photos/{TEXT}"])
    find_file(browser, "ph")
    until(browser, lambda: names(browser) == ["photos/"])
    # (The browser itself complains of what was refused.)
    assert [each for each in errors(browser) if "401" not in each and "404" not in each] == []
    assert "page.json" not in service.printed()
    until(browser, lambda: text(browser, "#cards").startswith("Requests/s\n0\n"))
    assert "Sent\n0 B/s" in text(browser, "#cards")


def test_what_is_changed(browser, service, tmp_path):
    swift = Swift(service)
    browser.get(service.url + "/_page/#/photos/")
    sign_in(browser, "main:admin", service.key)
    until(browser, lambda: names(browser) == ["2026/", TEXT])
    file = tmp_path / "new ü.txt"
    file.write_bytes(b"new")

    def upload(folder: str | None = None) -> None:
        if folder is not None:
            field = browser.find_element(By.ID, "folder")
            field.clear()
            field.send_keys(folder)
        browser.find_element(By.ID, "files").send_keys(str(file))

    upload()
    until(browser, lambda: names(browser) == ["2026/", TEXT, "new ü.txt"])
    assert swift.ask("GET", "photos/new ü.txt").body == b"new"
    file.write_bytes(b"newer")
    upload()
    until(browser, lambda: "such a file already" in text(browser, "#uploads"))
    press(browser, "Replace it")
    until(browser, lambda: swift.ask("GET", "photos/new ü.txt").body == b"newer")
    assert swift.ask("HEAD", "photos/new ü.txt").headers["content-type"] == "text/plain"  # by its name
    upload("")  # objects lie in containers
    until(browser, lambda: "CONTAINER/NAME" in text(browser, "#uploads"))
    assert swift.ask("HEAD", "new ü.txt").status == 404
    upload("fresh/sub")
    until(browser, lambda: "no such container" in text(browser, "#uploads"))
    press(browser, "Make it")
    until(browser, lambda: swift.ask("GET", "fresh/sub/new ü.txt").body == b"newer")

    # What has changed meanwhile is not deleted.
    press(browser, "new ü.txt")
    until(browser, lambda: details(browser))
    swift.ask("PUT", "photos/new ü.txt", b"of somebody else")
    press(browser, "Delete…")
    press(browser, "Delete it")
    until(browser, lambda: "it has changed since" in details(browser))
    press(browser, "Close")
    press(browser, "new ü.txt")
    until(browser, lambda: details(browser))
    press(browser, "Delete…")
    press(browser, "Delete it")
    until(browser, lambda: names(browser) == ["2026/", TEXT])
    assert swift.ask("GET", "photos/new ü.txt").status == 404


def test_a_container_is_deleted(browser, service):
    swift = Swift(service)
    assert swift.ask("PUT", "misspelt").status == 201
    swift.ask("PUT", "misspelt/one.txt", b"x")
    browser.get(service.url + "/_page/#/misspelt/")
    sign_in(browser, "main:admin", service.key)
    until(browser, lambda: names(browser) == ["one.txt"])
    button = browser.find_element(By.ID, "delete-container")
    assert not button.is_displayed()
    press(browser, "one.txt")
    until(browser, lambda: details(browser))
    press(browser, "Delete…")
    press(browser, "Delete it")
    until(browser, button.is_displayed)
    swift.ask("PUT", "misspelt/two.txt", b"x")  # meanwhile
    button.click()
    until(browser, lambda: "was not deleted: " in text(browser, "#browse-state"))
    swift.ask("DELETE", "misspelt/two.txt")
    button.click()
    until(browser, lambda: names(browser) == ["other/", "photos/", "ü %/"])
    assert swift.ask("HEAD", "misspelt").status == 404
    assert not button.is_displayed()
    press(browser, "other/")
    until(browser, button.is_displayed)
    press(browser, "Containers")
    until(browser, lambda: len(names(browser)) == 3)
    assert not button.is_displayed()


def test_who_only_reads(browser, service, tmp_path):
    user(service, "add", "main:reader", "--key", "rk", "--read-only")
    browser.get(service.url + "/_page/#/photos/")
    sign_in(browser, "main:reader", "rk")
    until(browser, lambda: names(browser) == ["2026/", TEXT])
    press(browser, TEXT)
    until(browser, lambda: details(browser))
    press(browser, "Delete…")
    press(browser, "Delete it")
    until(browser, lambda: "It was not deleted: " in details(browser))
    press(browser, "Close")
    file = tmp_path / "new.txt"
    file.write_bytes(b"new")
    browser.find_element(By.ID, "files").send_keys(str(file))
    until(
        browser,
        lambda: "photos/new.txt: " in text(browser, "#uploads") and "read" in text(browser, "#uploads"),
    )
    assert Swift(service).ask("GET", f"photos/{TEXT}").status == 200


def test_odd_names_and_what_is_not_there(browser, service):
    swift = Swift(service)
    for container in (".", "odd"):
        assert ask(
            service.port, request("PUT", f"/v1/AUTH_main/{container}", headers={"X-Auth-Token": swift.token})
        )
    for name in ("odd/\nline", "odd/a//b", "odd/../up", "odd/100%", "odd/dir/"):
        assert swift.ask("PUT", name, b"content").status == 201
    browser.get(service.url + "/_page/#/odd/")
    sign_in(browser, "main:admin", service.key)
    until(browser, lambda: {"../", "100%", "a/", "dir/"} < set(names(browser)))
    browser.execute_script("document.querySelector('[data-path=\"odd/\\\\a line\"] button').click()")
    until(browser, lambda: "7 B" in details(browser))
    press(browser, "Close")
    find_file(browser, "odd/a//b")
    until(browser, lambda: "7 B" in details(browser))
    press(browser, "Close")
    find_file(browser, "odd/../up")
    until(browser, lambda: "takes the dots" in text(browser, "#browse-state"))
    # A folder that is not there is where one is then, and is asked for once.
    find_file(browser, "nosuch/")
    until(browser, lambda: "There is no container 'nosuch'" in text(browser, "#browse-state"))
    assert names(browser) == [] and text(browser, "#crumbs").split("\n")[-1] == "nosuch"
    assert browser.find_element(By.ID, "folder").get_property("value") == "nosuch"
    find_file(browser, "./")
    until(browser, lambda: "takes the dots" in text(browser, "#browse-state"))
    assert names(browser) == []
    time.sleep(6)  # (longer than what passes is waited for)
    assert service.printed().count("/v1/AUTH_main/nosuch?") == 1


def test_somebodys_page_does_not_get_the_token(browser, service):
    swift = Swift(service)
    script = b"""<script>
      try { document.title = 'STOLEN ' + sessionStorage.getItem('sfss-token'); } catch (e) { document.title = 'safe'; }
      const page = window.open('/_page/');
      setTimeout(() => { try { document.title += page.document.title; } catch (e) { document.title += ', too'; } }, 500);
    </script>"""
    swift.ask("PUT", "public", X_Container_Read=".r:*")
    for name, content_type in (
        ("evil.html", "text/html"),
        ("evil.svg", "image/svg+xml"),
        ("list", "a/b, text/html"),
    ):
        swift.ask("PUT", f"public/{name}", script, Content_Type=content_type)
    browser.get(service.url + "/_page/")
    sign_in(browser, "main:admin", service.key)
    until(browser, lambda: "photos/" in names(browser))
    browser.get(service.url + "/public/evil.html")
    until(browser, lambda: browser.title == "safe, too")
    for name in ("evil.svg", "list"):
        browser.get(f"{service.url}/v1/AUTH_main/public/{name}")
        assert "STOLEN" not in browser.title
    browser.get(service.url + "/_page/")
    own, *others = browser.window_handles
    for other in others:
        browser.switch_to.window(other)
        browser.close()
    browser.switch_to.window(own)


def test_a_session_that_has_ended(browser, service):
    browser.get(service.url + "/_page/")
    sign_in(browser, "main:admin", service.key)
    until(browser, lambda: "photos/" in names(browser))
    browser.execute_script("token = 'AUTH_tk-of-yesterday'")
    press(browser, "photos/")
    until(browser, lambda: "this session has ended" in text(browser, "#token-error"))
    sign_in(browser, "main:admin", service.key)
    until(browser, lambda: names(browser) == ["2026/", TEXT])
    assert "Signed in as main:admin." in text(browser, "#who")
    press(browser, "Sign out")
    until(browser, lambda: browser.find_element(By.ID, "user").is_displayed())
    assert names(browser) == [] and not browser.find_element(By.ID, "who").is_displayed()
    assert browser.execute_script("return sessionStorage.length") == 0


def test_many(browser, service):
    swift = Swift(service)
    for number in range(205):
        assert swift.ask("PUT", f"other/{number:03}/{number}", b"").status == 201
    browser.get(service.url + "/_page/#/other/")
    sign_in(browser, "main:admin", service.key)
    until(browser, lambda: len(names(browser)) == 200)
    press(browser, "Show more")
    until(browser, lambda: names(browser) == [f"{number:03}/" for number in range(205)])
    assert not browser.find_element(By.ID, "more").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_for_everybody(browser, service, scheme, width, tmp_path):
    try:
        look(browser, scheme, width)
        browser.get(service.url + "/_page/#/photos/")
        until(browser, lambda: browser.find_element(By.ID, "user").is_displayed())
        assert violations(browser) == []
        browser.save_screenshot(str(tmp_path / "sign-in.png"))
        sign_in(browser, "main:admin", service.key)
        until(browser, lambda: TEXT in names(browser))
        assert violations(browser) == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        browser.save_screenshot(str(tmp_path / "page.png"))
        press(browser, TEXT)
        until(browser, lambda: "text/plain" in details(browser))
        assert violations(browser) == []
    finally:
        look(browser)


def test_it_can_be_left_out(tmp_path):
    service = SfssObjects(tmp_path / "objects", "--no-page")
    html = {"Accept": "text/html"}
    assert ask(service.port, request("GET", "/", headers=html)).status == 300
    for path in ("/_page/", "/_page/page.json", "/_page/page.js"):
        assert ask(service.port, request("GET", path, headers=html)).status == 404
    assert ask(service.port, request("POST", "/_page/sign?path=c/o")).status != 200
    service.stop()


def test_clients_of_swift_get_what_they_ask_for(tmp_path):
    """At ``/`` a browser is led to the page, and nobody else."""
    service = SfssObjects(tmp_path / "objects")
    for accept in ("", "*/*", "application/json"):
        answer = ask(service.port, request("GET", "/", headers={"Accept": accept} if accept else {}))
        assert answer.status == 300 and json.loads(answer.body)["versions"]
    answer = ask(service.port, request("GET", "/", headers={"Accept": "text/html,*/*;q=0.8"}))
    assert (answer.status, answer.headers["location"]) == (302, "_page/")
    token = Swift(service).token
    for path, status in (("c/o", 200), ("c", 400), ("/o", 400), ("", 400), ("c/%FF", 400)):
        sent = request("POST", f"/_page/sign?path={path}", headers={"X-Auth-Token": token})
        assert ask(service.port, sent).status == status, path
    assert ask(service.port, request("POST", "/_page/sign?path=c/o")).status == 401
    assert ask(service.port, request("GET", "/_page/sign?path=c/o")).status == 405
    service.stop()
