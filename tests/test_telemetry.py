import random

from sfss.web.telemetry import Telemetry


def test_counts():
    telemetry = Telemetry()
    for status in (200, 200, 404):
        telemetry.record(status, 10, 100, 0.001)
    figures = telemetry.figures()
    assert figures["requests"] == "3"
    assert (figures["requests_200"], figures["requests_404"]) == ("2", "1")
    assert (figures["bytes_in"], figures["bytes_out"]) == ("30", "300")


def test_percentiles_are_true_to_a_bucket():
    telemetry = Telemetry()
    generator = random.Random(1)
    times = sorted(generator.lognormvariate(-6, 1) for _ in range(10_000))
    for seconds in times:
        telemetry.record(200, 0, 0, seconds)
    figures = telemetry.figures()
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        true = times[int(len(times) * share)] * 1000
        assert true * 0.97 <= float(figures[f"latency_{name}_ms"]) <= true * 1.15


def test_nothing_yet():
    assert Telemetry().figures()["latency_p99_ms"] == "0.0"


def test_memory_is_constant():
    telemetry = Telemetry()
    for n in range(100_000):
        telemetry.record(200, 0, 0, n / 1000)
    assert len(telemetry._latencies) < 300
