"""/metrics, as Prometheus reads it."""

import signal
import subprocess

from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import need
from tests.http import ask, request
from tests.programs import Sfss, find, proxy_flags, start_memcached, start_nutcracker


def samples(server: Sfss) -> dict[tuple, float]:
    answer = ask(server.port, request("GET", "/metrics"))
    assert answer.status == 200 and answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple:
    return (name, *sorted(labels.items()))


def test_every_request_is_counted_once(tmp_path):
    server = Sfss("--data", tmp_path, "--no-access-log")
    content = b"x" * 1000
    for n in range(20):
        assert ask(server.port, request("PUT", f"/file?path={n}", content)).status == 200
        assert ask(server.port, request("GET", f"/file?path={n}")).status == 200
        assert ask(server.port, request("GET", f"/file?path={n}", headers={"X-Slow": "1"})).status == 200
    assert ask(server.port, request("GET", "/file?path=none")).status == 404
    assert ask(server.port, request("GET", "/nowhere/at/all")).status == 404
    assert ask(server.port, request("PATCH", "/file?path=tea")).status == 405
    assert ask(server.port, b"garbage\r\n\r\n").status == 400
    found = samples(server)
    requests = "sfss_requests_total"
    assert found[of(requests, route="/file", method="PUT", status="200")] == 20
    assert found[of(requests, route="/file", method="GET", status="200")] == 40
    assert found[of(requests, route="/file", method="GET", status="404")] == 1
    assert found[of(requests, route="other", method="GET", status="404")] == 1
    assert found[of(requests, route="other", method="other", status="405")] == 1
    took = "sfss_request_duration_seconds"
    assert found[of(f"{took}_count", route="/file", method="GET")] == 41
    assert found[of(f"{took}_bucket", route="/file", method="GET", le="+Inf")] == 41
    assert 0 < found[of(f"{took}_sum", route="/file", method="GET")] < 41
    assert found[of("sfss_request_bytes_total", route="/file", method="PUT")] == 20_000
    assert found[of("sfss_response_bytes_total", route="/file", method="GET")] > 40_000
    assert found[of("sfss_workers")] == 1
    assert found[of("sfss_requests_in_flight")] == 1  # this one
    store = f"sqlite:{tmp_path}/files.sqlite3"
    assert found[of("sfss_store_files", store=store)] == 20
    assert found[of("sfss_store_bytes", store=store)] == 20_000
    assert found[of("sfss_store_flush_writes_sum", store=store)] == 20
    assert found[of("sfss_store_flush_duration_seconds_count", store=store)] >= 1
    server.stop()


def test_what_proxies_do(tmp_path):
    need("memcached", "nutcracker")
    memcached, port = start_memcached()
    programs = [start_nutcracker(tmp_path, [port]) for _ in range(2)]
    ports = [port for _, port in programs]
    server = Sfss(*proxy_flags(ports), "--no-access-log")
    for n in range(50):
        assert ask(server.port, request("PUT", f"/file?path={n}", b"x")).status == 200
        assert ask(server.port, request("GET", f"/file?path={n}")).status == 200
    found = samples(server)
    for operation in ("get", "set"):
        by_proxy = [
            found[of("sfss_proxy_duration_seconds_count", proxy=f"127.0.0.1:{p}", operation=operation)]
            for p in ports
        ]
        assert sum(by_proxy) == 50 and min(by_proxy) > 5
    first = f"127.0.0.1:{ports[0]}"
    assert found[of("sfss_proxy_up", proxy=first)] == 1
    assert found[of("sfss_proxy_connections", proxy=first)] >= 1
    assert found[of("sfss_proxy_state_changes_total", proxy=first, state="down")] == 0
    programs[0][0].send(signal.SIGSTOP)
    for n in range(30):
        assert ask(server.port, request("GET", f"/file?path={n}")).status == 200
    server.wait_for_line("proxy down")
    found = samples(server)
    assert found[of("sfss_proxy_up", proxy=first)] == 0
    assert found[of("sfss_proxy_state_changes_total", proxy=first, state="down")] == 1
    assert found[of("sfss_hedges_total", outcome="won")] >= 1
    programs[0][0].send(signal.SIGCONT)
    server.wait_for_line("proxy up")
    assert samples(server)[of("sfss_proxy_up", proxy=first)] == 1
    server.stop()
    for program, _ in programs:
        program.stop()
    memcached.stop()


def test_promtool_finds_nothing_to_complain_of(tmp_path):
    need("promtool")
    server = Sfss("--data", tmp_path)
    ask(server.port, request("PUT", "/file?path=a", b"x"))
    text = ask(server.port, request("GET", "/metrics")).body
    checked = subprocess.run([find("promtool"), "check", "metrics"], input=text, capture_output=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    openmetrics = ask(
        server.port, request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
    )
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.body.endswith(b"# EOF\n")
    server.stop()
