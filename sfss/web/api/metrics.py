"""The figures as Prometheus reads them (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from sfss.metrics.aggregate import Aggregate
from sfss.metrics.families import Family, Histogram


def exposition(aggregate: Aggregate, accept: str) -> tuple[bytes, str]:
    """All figures, in the format that the header *accept* asks for; and its Content-Type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(aggregate))
    try:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type
    except (ValueError, TypeError):  # of a version that is no number: it gets what everybody understands
        encode, content_type = choose_encoder("text/plain")
        return encode(registry), content_type


class _Figures(Collector):
    def __init__(self, aggregate: Aggregate):
        self._aggregate = aggregate

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for family in self._aggregate.figures().values():
            yield _metric(family)


def _metric(family: Family) -> Metric:
    name, help, labels = family.name, family.help, family.labels
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, help, labels=labels)
        for values, amounts in family.samples.items():
            histogram.add_metric(values, _buckets(family, amounts), amounts.total * family.unit)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(name, help, labels=labels)
    for values, number in family.samples.items():
        metric.add_metric(values, number)
    return metric


def _buckets(family: Family, amounts: Histogram) -> list[tuple[str, int]]:
    # Whole things are at most one less than what they are less than.
    less = 1 if family.unit == 1 else 0
    bounds = [(f"{(2**power - less) * family.unit:.9g}", amounts.up_to(power)) for power in family.powers]
    return [*bounds, ("+Inf", amounts.count)]
