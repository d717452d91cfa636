"""The last minutes of a server, for the charts of its page: so they are there when it opens."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Collection
from typing import NamedTuple

from aiohttp import web

from sfss.metrics.aggregate import Aggregate
from sfss.metrics.families import Figures, Histogram
from sfss.web.access_log import OF_THE_PAGE
from sfss.web.request_metrics import DURATION, REQUESTS

log = logging.getLogger("sfss.web")

#: How often a point is taken, and how far back they go. Seconds.
STEP, SPAN = 5.0, 600.0


class Point(NamedTuple):
    """What happened in the seconds before *time*; None: nothing of the kind."""

    time: float  #: seconds since the epoch
    requests: float  #: a second
    p50: float | None  #: of the latencies of files, seconds
    p99: float | None


class History:
    """Of all processes of *aggregate*. Each worker keeps its own: it begins with the worker.

    *of_files*: the routes whose latencies are those of files.
    """

    def __init__(self, aggregate: Aggregate, of_files: Collection[str]):
        self._aggregate = aggregate
        self._of_files = of_files
        self._points: deque[Point] = deque(maxlen=int(SPAN / STEP))
        self._before: tuple[float, float, Histogram] | None = None  # time, requests, latencies

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """Take points while *app* runs (one of its ``cleanup_ctx``)."""
        task = asyncio.create_task(self._keep())
        yield
        task.cancel()
        await asyncio.wait([task])

    async def _keep(self) -> None:
        while True:
            try:
                self.take(self._aggregate.figures(), time.time())
            except Exception:  # a chart is not worth the service
                log.exception("the page's charts lack a point")
            await asyncio.sleep(STEP)

    def take(self, figures: Figures, now: float) -> None:
        """One more point, of what has come since the last one."""
        requests, latencies = _requests(figures), _latencies(figures, self._of_files)
        before, self._before = self._before, (now, requests, latencies)
        if before is None:
            return
        then, old_requests, old_latencies = before
        if now <= then or requests < old_requests:
            return  # the clock was set, or a process is not counted yet: a gap
        new = _since(old_latencies, latencies)
        p50, p99 = (new.percentile(share) * 1e-6 if new.count else None for share in (0.5, 0.99))
        self._points.append(Point(now, (requests - old_requests) / (now - then), p50, p99))

    def points(self) -> list[Point]:
        """The oldest first."""
        return list(self._points)


def _requests(figures: Figures) -> float:
    family = figures.get(REQUESTS)
    if family is None:
        return 0.0
    route = family.labels.index("route")
    return sum(float(number) for labels, number in family.samples.items() if labels[route] not in OF_THE_PAGE)


def _latencies(figures: Figures, routes: Collection[str]) -> Histogram:
    whole = Histogram()
    family = figures.get(DURATION)
    if family is not None:
        route = family.labels.index("route")
        for labels, histogram in family.samples.items():
            if labels[route] in routes:
                whole += histogram
    return whole


def _since(before: Histogram, now: Histogram) -> Histogram:
    old = before.buckets
    return Histogram(
        {
            bucket: count - old.get(bucket, 0)
            for bucket, count in now.buckets.items()
            if count > old.get(bucket, 0)
        }
    )
