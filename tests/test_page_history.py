"""The last minutes that a server keeps for its page."""

import json
import time

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from sfss.metrics.aggregate import Aggregate
from sfss.web.api.page_history import SPAN, STEP, History
from sfss.web.request_metrics import RequestMetrics
from tests.browser import errors, text, until
from tests.http import ask, request
from tests.programs import Sfss


@pytest.fixture
def metrics() -> RequestMetrics:
    return RequestMetrics(0.0, [("/file", "GET")])


def test_points_are_of_what_has_come_since(metrics):
    aggregate = Aggregate()
    aggregate.add_source(metrics.families)
    history = History(aggregate, ["/file"])
    metrics.record("/file", "GET", 200, 0, 10, 9.0)  # before anybody looked
    history.take(aggregate.figures(), 100.0)
    assert history.points() == []
    for n in range(100):
        metrics.record("/file", "GET", 200, 0, 10, 0.001 if n < 98 else 0.1)
    for _ in range(1000):
        metrics.record("/page.json", "GET", 200, 0, 10, 5.0)  # that is no traffic
    metrics.record("/metrics", "GET", 200, 0, 10, 5.0)  # that is, but not of files
    history.take(aggregate.figures(), 105.0)
    history.take(aggregate.figures(), 110.0)
    first, second = history.points()
    assert (first.time, first.requests) == (105.0, 101 / 5)
    assert first.p50 == pytest.approx(0.001, rel=0.13) and first.p99 == pytest.approx(0.1, rel=0.13)
    assert second == (110.0, 0.0, None, None)  # nothing is not zero


def test_figures_that_go_back_leave_a_gap(metrics):
    aggregate = Aggregate()
    aggregate.add_source(metrics.families)
    history = History(aggregate, ["/file"])
    metrics.record("/file", "GET", 200, 0, 10, 0.001)
    whole = aggregate.figures()
    history.take(whole, 100.0)
    history.take({}, 105.0)
    history.take(whole, 110.0)
    history.take(whole, 109.0)
    assert [point.time for point in history.points()] == [110.0]


def test_no_more_than_ten_minutes_are_kept(metrics):
    history = History(Aggregate(), ["/file"])
    for n in range(1000):
        history.take({}, n * STEP)
    points = history.points()
    assert points[-1].time - points[0].time == SPAN - STEP and points[-1].time == 999 * STEP


def test_a_page_that_opens_has_them(browser, tmp_path):
    server = Sfss("--data", tmp_path / "data")
    deadline = time.monotonic() + 30
    while True:
        assert ask(server.port, request("PUT", "/file?path=a", b"x")).status == 200
        history = json.loads(ask(server.port, request("GET", "/page.json?history=1")).body)["history"]
        if len(history) > 1 and history[1][2]:
            break
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "history" not in json.loads(ask(server.port, request("GET", "/page.json")).body)
    browser.get(server.url + "/")
    until(browser, lambda: text(browser, "#state") == "Serving")
    assert browser.find_elements(By.CSS_SELECTOR, "#latency-chart polyline.two")
    chart = browser.find_element(By.ID, "rate-chart")
    browser.execute_script("document.getElementById('rate-chart').scrollIntoView()")
    ActionChains(browser).move_to_element_with_offset(chart, chart.size["width"] // 2 - 8, 0).perform()
    until(
        browser,
        lambda: (
            ":" in text(browser, "#rate-now")
            and browser.find_elements(By.CSS_SELECTOR, "#rate-chart .pointed")
        ),
    )
    assert float(text(browser, "#rate-top").replace(",", "")) >= max(point[1] for point in history) * 0.9
    assert errors(browser) == []
    server.stop()
