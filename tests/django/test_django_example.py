"""The example site, as its README starts it, in a real browser."""

import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request

import pytest
from PIL import Image
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.programs import ROOT, Program


@pytest.fixture
def site(tmp_path):
    program = Program(
        [sys.executable, ROOT / "examples" / "django" / "run.py", "--folder", tmp_path / "data"]
    )
    program.wait_for_line("Ready")
    yield program
    program.stop()


def urls(site: Program, what: str) -> list[str]:
    return re.findall(rf"{what} \d: (http\S+)", site.printed())


def requests_of(nodes: list[str]) -> int:
    """How many requests for files the nodes have had."""
    total = 0
    for node in nodes:
        with urllib.request.urlopen(node.removesuffix("media/") + "metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("sfss_requests_total{") and 'route="/{path}"' in line:
                    total += int(float(line.rpartition(" ")[2]))
    return total


def has(node: str, path: str) -> bool:
    try:
        return urllib.request.urlopen(node + path, timeout=5).status == 200
    except (urllib.error.HTTPError, urllib.error.URLError):
        return False


def until(condition, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


def test_a_picture_is_everywhere_and_nowhere(site, browser, tmp_path):
    applications, nodes = urls(site, "application"), urls(site, "node")
    assert len(applications) == 2 and len(nodes) == 3

    def upload(application: str, title: str, color: str) -> str:
        """At one application server; the path of the picture on the nodes."""
        file = tmp_path / f"{title}.png"
        Image.new("RGB", (400, 300), color).save(file)
        browser.get(application)
        browser.find_element(By.NAME, "title").send_keys(title)
        browser.find_element(By.NAME, "image").send_keys(str(file))
        browser.find_element(By.XPATH, "//button[text()='Upload']").click()
        shown(title)
        return picture(title).find_element(By.XPATH, "..").get_attribute("href").partition("/media/")[2]

    def picture(title: str):
        return browser.find_element(By.CSS_SELECTOR, f"img[alt='{title}']")

    def shown(title: str) -> None:
        """Its thumbnail is there, and is a picture of the right size."""
        try:
            WebDriverWait(browser, 20).until(
                lambda _: browser.execute_script("return arguments[0].naturalWidth", picture(title)) == 160
            )
        except TimeoutException:
            pytest.fail(f"{browser.page_source}\n{site.printed()}")

    first = upload(applications[0], "red", "#c00")
    assert all(has(node, first) for node in nodes)
    browser.get(applications[1])
    shown("red")

    # A page asks the media servers for nothing: what the browser shows, it gets itself.
    before = requests_of(nodes)
    for application in applications:
        with urllib.request.urlopen(application, timeout=10) as answer:
            assert b"red" in answer.read()
    assert requests_of(nodes) == before

    # A node that is killed gets what it missed.
    process = int(re.findall(r"node 2 has process (\d+)", site.printed())[-1])
    os.kill(process, signal.SIGKILL)
    second = upload(applications[1], "blue", "#00c")
    assert has(nodes[0], second) and has(nodes[1], second) and not has(nodes[2], second)
    until(lambda: has(nodes[2], second))
    browser.get(applications[0])
    shown("blue")

    # What is deleted is gone from everywhere, its thumbnails too.
    browser.find_element(By.XPATH, "//li[.//img[@alt='red']]//button").click()
    WebDriverWait(browser, 20).until(lambda _: not browser.find_elements(By.CSS_SELECTOR, "img[alt='red']"))
    until(lambda: not any(has(node, first) for node in nodes))

    # The admin shows the queue.
    browser.get(applications[0] + "admin/sfss/storedfile/")
    for name in ("username", "password"):
        browser.find_element(By.NAME, name).send_keys("admin")
    browser.find_element(By.CSS_SELECTOR, "input[type=submit]").click()
    WebDriverWait(browser, 20).until(lambda _: second in browser.page_source)
