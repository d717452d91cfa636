"""What a process counts, in a form that several processes can add up.

A *source* (the web server, a store, a proxy) keeps plain numbers and gives them as families when it
is asked. A family has the name, the help text and the labels that Prometheus shows
(https://prometheus.io/docs/concepts/data_model/), and its samples by the values of the labels.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Labels = tuple[str, ...]

#: A number falls into one of eight buckets to each doubling. A percentile, which is the upper end
#: of its bucket, is at most 12.5 % more than the true one.
_PER_DOUBLING = 8

#: How the gauges of several processes become one.
_JOINS: dict[str, Callable[[Any, Any], Any]] = {"sum": lambda one, other: one + other, "max": max, "min": min}


class Histogram:
    """How often which amounts came, in constant memory. Amounts are whole: µs, bytes, files."""

    __slots__ = ("buckets", "total")

    def __init__(self, buckets: Mapping[int, int] | None = None, total: int = 0):
        self.buckets: dict[int, int] = dict(buckets or {})
        self.total = total  #: the sum of all amounts

    def observe(self, amount: int) -> None:
        doublings = amount.bit_length() - 4
        bucket = amount if doublings <= 0 else doublings * _PER_DOUBLING + (amount >> doublings)
        buckets = self.buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        self.total += amount

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    def __add__(self, other: "Histogram") -> "Histogram":
        both = Histogram(self.buckets, self.total + other.total)
        for bucket, count in other.buckets.items():
            both.buckets[bucket] = both.buckets.get(bucket, 0) + count
        return both

    def up_to(self, power: int) -> int:
        """How many amounts were less than 2 ** *power*; *power* is at least 3."""
        first = (power - 3) * _PER_DOUBLING  # the first bucket beyond is this, plus 8
        return sum(n for bucket, n in self.buckets.items() if bucket < first + _PER_DOUBLING)

    def percentile(self, share: float) -> int:
        """An amount that *share* of all do not exceed, or 0 if there were none."""
        wanted = max(math.ceil(self.count * share), 1)
        for bucket, count in sorted(self.buckets.items()):
            wanted -= count
            if wanted <= 0:
                doublings = max(bucket // _PER_DOUBLING - 1, 0)
                return (bucket - doublings * _PER_DOUBLING + 1) << doublings
        return 0


@dataclass(slots=True)
class Family:
    """All samples of one metric.

    *kind* is ``counter``, ``gauge`` or ``histogram``. *unit*: what one of a histogram's amounts is
    (0.000001 if they are µs and the metric is in seconds). *powers*: the exponents of the buckets
    that Prometheus gets to see. *join*: how gauges are put together.
    """

    name: str
    kind: str
    help: str
    labels: Labels = ()
    join: str = "sum"
    unit: float = 1.0
    powers: tuple[int, ...] = ()
    samples: dict[Labels, Any] = field(default_factory=dict)

    def add(self, labels: Labels, value: Any) -> None:
        """One more sample; it is joined to what these *labels* have already."""
        if labels in self.samples:
            join = _JOINS["sum" if self.kind == "histogram" else self.join]
            value = join(self.samples[labels], value)
        self.samples[labels] = value


def counter(name: str, help: str, *labels: str) -> Family:
    return Family(name, "counter", help, labels)


def gauge(name: str, help: str, *labels: str, join: str = "sum") -> Family:
    return Family(name, "gauge", help, labels, join)


def seconds(name: str, help: str, *labels: str) -> Family:
    """A histogram of times, whose amounts are µs; Prometheus sees 128 µs to 17 s."""
    return Family(name, "histogram", help, labels, unit=1e-6, powers=tuple(range(7, 25)))


def sizes(name: str, help: str, *labels: str) -> Family:
    """A histogram of numbers of things, from 8 to 4,096."""
    return Family(name, "histogram", help, labels, powers=tuple(range(3, 13)))


Figures = dict[str, Family]


def merged(parts: Iterable[Iterable[Family]]) -> Figures:
    """The families of all *parts* (one for each process), each once, put together."""
    whole: Figures = {}
    for part in parts:
        for family in part:
            if family.name not in whole:
                whole[family.name] = replace(family, samples={})
            for labels, value in family.samples.items():
                whole[family.name].add(labels, value)
    return whole


def to_document(families: Iterable[Family]) -> list[tuple[Any, ...]]:
    """*families* as plain tuples, dictionaries and numbers; :func:`from_document` takes them back."""
    return [
        (
            family.name,
            family.kind,
            family.help,
            family.labels,
            family.join,
            family.unit,
            family.powers,
            {
                labels: (dict(value.buckets), value.total) if isinstance(value, Histogram) else value
                for labels, value in family.samples.items()
            },
        )
        for family in families
    ]


def from_document(document: list[tuple[Any, ...]]) -> list[Family]:
    families = [Family(*part) for part in document]
    for family in families:
        if family.kind == "histogram":
            family.samples = {labels: Histogram(*value) for labels, value in family.samples.items()}
    return families
