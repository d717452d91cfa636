"""What the web server has done so far: requests, bytes and latencies, in constant memory."""

import os
import resource
import time
from collections.abc import Iterable
from math import nan
from typing import Any

from sfss import __version__
from sfss.compiled import kind
from sfss.metrics.families import Family, Figures, Histogram, counter, gauge, seconds

#: Other methods are counted together: a client that invents them cannot fill our memory.
METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"))

REQUESTS = "sfss_requests_total"
DURATION = "sfss_request_duration_seconds"
BYTES_IN = "sfss_request_bytes_total"
BYTES_OUT = "sfss_response_bytes_total"
STARTED = "sfss_start_time_seconds"
MEMORY = "sfss_resident_memory_bytes"
WORKERS = "sfss_workers"
#: Counted from 0, and not from the first time: an alert on the increase would miss that one.
_FAILURES = ("500", "502", "503", "504", "507")


class _Series:
    """The requests of one method to one route."""

    __slots__ = ("bytes_in", "bytes_out", "latencies", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.latencies = Histogram()  # µs
        self.bytes_in = 0
        self.bytes_out = 0


class RequestMetrics:
    """The figures of one process. *started*: when the server started, seconds since the epoch.

    *of_files*: the routes of files, each with its method.
    """

    def __init__(self, started: float, of_files: Iterable[tuple[str, str]]) -> None:
        self._started = started
        self._of_files = tuple(of_files)
        self._series: dict[tuple[str, str], _Series] = {}

    def record(
        self, route: str, method: str, status: int, bytes_in: int, bytes_out: int, seconds: float
    ) -> None:
        """One request has been answered. Bytes are of the body that came, and of the whole answer."""
        series = self._series.get((route, method))
        if series is None:
            series = self._new_series(route, method)
        series.statuses[status] = series.statuses.get(status, 0) + 1
        series.latencies.observe(int(seconds * 1_000_000))
        series.bytes_in += bytes_in
        series.bytes_out += bytes_out

    def _new_series(self, route: str, method: str) -> _Series:
        key = (route, method if method in METHODS else "other")
        return self._series.setdefault(key, _Series())

    def families(self) -> Iterable[Family]:
        requests = counter(REQUESTS, "Requests answered", "route", "method", "status")
        latencies = seconds(DURATION, "Time from request to answer", "route", "method")
        bytes_in = counter(BYTES_IN, "Bytes of request bodies", "route", "method")
        bytes_out = counter(BYTES_OUT, "Bytes of answers", "route", "method")
        for key in self._of_files:
            for failure in _FAILURES:
                requests.add((*key, failure), 0)
        for key, series in self._series.items():
            for status, number in series.statuses.items():
                requests.add((*key, str(status)), number)
            latencies.add(key, series.latencies)
            bytes_in.add(key, series.bytes_in)
            bytes_out.add(key, series.bytes_out)
        workers = gauge(WORKERS, "Processes that serve")
        workers.add((), 1)
        started = gauge(STARTED, "When the server started, seconds since the epoch", join="min")
        started.add((), self._started)
        memory = gauge(MEMORY, "Resident memory of all workers")
        memory.add((), _resident_bytes())
        version = gauge("sfss_build_info", "1, for the version in its label", "version", join="max")
        version.add((__version__,), 1)
        return [requests, latencies, bytes_in, bytes_out, workers, started, memory, version]


def summary(figures: Figures, server_pid: int) -> dict[str, str]:
    """What ``/status?full=1`` says of the web server: names to values, as text.

    Latencies are in milliseconds, memory in bytes.
    """
    statuses: dict[str, int] = {}
    for (_, _, status), number in figures[REQUESTS].samples.items():
        if number:
            statuses[status] = statuses.get(status, 0) + number
    latencies = sum(figures[DURATION].samples.values(), Histogram())
    values = {
        "version": __version__,
        "modules": kind(),
        "pid": server_pid,
        "workers": _value(figures, WORKERS),
        "uptime": int(time.time() - _value(figures, STARTED)),
        "requests": sum(statuses.values()),
        **{f"requests_{status}": number for status, number in sorted(statuses.items())},
        "bytes_in": sum(figures[BYTES_IN].samples.values()),
        "bytes_out": sum(figures[BYTES_OUT].samples.values()),
        **{
            f"latency_p{percent}_ms": round(latencies.percentile(percent / 100) / 1000, 3)
            for percent in (50, 90, 99)
        },
        "memory_bytes": _value(figures, MEMORY),
    }
    return {name: str(value) for name, value in values.items()}


def _value(figures: Figures, name: str) -> Any:
    return figures[name].samples.get((), nan)


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the highest so far is the best there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
