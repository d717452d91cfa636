"""A real Chromium, for tests that look at pages as people do."""

import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from tests.programs import ROOT, find

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
).split()


@pytest.fixture(scope="module")
def chromium() -> Iterator[WebDriver]:
    from tests.conftest import need  # which has this fixture

    need("chromium", "chromedriver")
    with started(1200, 1000) as driver:
        yield driver


@contextmanager
def started(width: int, height: int) -> Iterator[WebDriver]:
    """A browser with a window of this size (pixels)."""
    with tempfile.TemporaryDirectory(prefix="sfss-chromium-", ignore_cleanup_errors=True) as home:
        options = webdriver.ChromeOptions()
        options.binary_location = find("chromium")
        for flag in (*FLAGS, f"--user-data-dir={home}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, Service(find("chromedriver")))
        driver.set_window_size(width, height)
        try:
            yield driver
        finally:
            driver.quit()


@pytest.fixture
def browser(chromium: WebDriver) -> WebDriver:
    chromium.get("about:blank")
    chromium.get_log("browser")  # of the test before
    return chromium


def text(browser: WebDriver, selector: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, selector).text


def until(browser: WebDriver, condition, seconds: float = 20.0) -> None:
    WebDriverWait(browser, seconds).until(lambda _: condition())


def errors(browser: WebDriver) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def look(browser: WebDriver, scheme: str = "light", width: int = 0) -> None:
    """From now on as somebody who prefers *scheme*, on a screen so wide (CSS pixels; 0: the window's)."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    if width:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": True},
        )
    else:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def violations(browser: WebDriver) -> list[str]:
    """What axe-core has against the page as it is now."""
    axe = ROOT / ".node-clients" / "node_modules" / "axe-core" / "axe.min.js"
    browser.execute_script(axe.read_text())
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then((result) => done(result.violations), (error) => done([{id: String(error), nodes: []}]));"
    )
    return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"] or [{"html": ""}]]


# The page, and what is on it.


def names(browser: WebDriver) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#file-rows th')].map((cell) => cell.innerText)"
    )


def press(browser: WebDriver, words: str) -> None:
    """The link or the button that says *words*."""
    xpath = f'//*[self::a or self::button][normalize-space()="{words}"]'
    (found,) = [each for each in browser.find_elements(By.XPATH, xpath) if each.is_displayed()]
    found.click()


def find_file(browser: WebDriver, path: str) -> None:
    field = browser.find_element(By.ID, "find-path")
    field.clear()
    field.send_keys(path + Keys.ENTER)


def details(browser: WebDriver) -> str:
    return text(browser, "#details") if browser.find_elements(By.CSS_SELECTOR, "#details[open]") else ""


def png() -> bytes:
    """A picture of one red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
