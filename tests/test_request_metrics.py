import random

from sfss.metrics.aggregate import Aggregate
from sfss.web.request_metrics import RequestMetrics, summary


def of(request_metrics: RequestMetrics) -> dict[str, str]:
    aggregate = Aggregate()
    aggregate.add_source(request_metrics.families)
    return summary(aggregate.figures(), 1)


def test_counts():
    request_metrics = RequestMetrics(0.0, [("/file", "GET")])
    for status in (200, 200, 404):
        request_metrics.record("/file", "GET", status, 10, 100, 0.001)
    request_metrics.record("/files", "POST", 201, 1, 2, 0.001)
    figures = of(request_metrics)
    assert figures["requests"] == "4"
    assert (figures["requests_200"], figures["requests_404"]) == ("2", "1")
    assert (figures["bytes_in"], figures["bytes_out"]) == ("31", "302")


def test_percentiles_are_true_to_a_bucket():
    request_metrics = RequestMetrics(0.0, [("/file", "GET")])
    generator = random.Random(1)
    times = sorted(generator.lognormvariate(-6, 1) for _ in range(10_000))
    for seconds in times:
        request_metrics.record("/file", "GET", 200, 0, 0, seconds)
    figures = of(request_metrics)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        true = times[int(len(times) * share)] * 1000
        assert true * 0.97 <= float(figures[f"latency_{name}_ms"]) <= true * 1.15


def test_nothing_yet():
    assert of(RequestMetrics(0.0, [("/file", "GET")]))["latency_p99_ms"] == "0.0"


def test_memory_is_constant_whatever_clients_invent():
    request_metrics = RequestMetrics(0.0, [("/file", "GET")])
    for n in range(100_000):
        request_metrics.record("/file", f"METHOD{n}", 200, 0, 0, n / 1000)
    assert len(request_metrics._series) == 1
    requests, latencies, *_ = request_metrics.families()
    assert {key: n for key, n in requests.samples.items() if n} == {("/file", "other", "200"): 100_000}
    assert len(requests.samples) < 20
    assert len(latencies.samples["/file", "other"].buckets) < 300
