"""The one thread in which a replica lives. What comes while it waits for the disk waits together, and
then shares the next wait: that is what makes durable changes fast.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sfss.completion import Completion, tell
from sfss.disk.deadlines import Deadlines
from sfss.disk.group_commit import Changes
from sfss.errors import NoStoreAvailable, SfssError
from sfss.metrics.families import Histogram
from sfss.replication.operations import Learn, Operation, Outcome
from sfss.replication.replica import Replica

log = logging.getLogger("sfss.node")

Outcomes = Sequence[Outcome | SfssError]
#: Called in the thread: what is to be changed, and what makes the result of what has become of it.
Prepare = Callable[[], tuple[Sequence[Operation], Callable[[Outcomes], Any]]]


class _Job(NamedTuple):
    prepare: Prepare
    size: int
    completion: Completion


class Engine:
    """Runs *replica* in a thread, for those who live in *loop*.

    *changed* is called when something has changed that neighbours do not know of yet. *timeout*: seconds
    that clients wait for a change.
    """

    def __init__(
        self,
        replica: Replica,
        loop: asyncio.AbstractEventLoop,
        changed: Callable[[], None],
        timeout: float,
    ):
        self.group_sizes = Histogram()  # changes; these two belong to the thread
        self.group_times = Histogram()  # µs
        self._replica = replica
        self._loop = loop
        self._changed = changed
        self._timeout = timeout
        self._deadlines = Deadlines(loop, timeout, self._late)
        self._jobs: Changes[_Job] = Changes(loop)
        self._worker = threading.Thread(target=self._run, name="replica", daemon=True)
        self._worker.start()

    def submit(self, prepare: Prepare, size: int, completion: Completion) -> None:
        """Do what *prepare* says, of about *size* bytes, together with what others want."""
        self._jobs.add(_Job(prepare, size, completion))

    async def change(self, operation: Operation, size: int = 0) -> Outcome:
        """:raises SfssError: see :meth:`Replica.apply`."""
        outcome: Outcome | SfssError = await self.do(
            lambda: ((operation,), lambda outcomes: outcomes[0]), size
        )
        if isinstance(outcome, SfssError):
            raise outcome
        return outcome

    async def change_in_time(self, operation: Operation, size: int = 0) -> Outcome:
        """The same. :raises NoStoreAvailable: if it takes too long; it goes on."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self.change(operation, size)
        except TimeoutError:
            raise self._late() from None

    def begin_change(
        self,
        operation: Operation,
        size: int,
        result: Callable[[Outcome | SfssError], Any],
        completion: Completion,
    ) -> None:
        """The same for *completion*, which gets what *result* makes of it."""
        self._deadlines.add(completion)
        self.submit(lambda: ((operation,), lambda outcomes: result(outcomes[0])), size, completion)

    async def run(self, function: Callable[[], Any]) -> Any:
        """What *function* returns, or raises, in the thread."""
        return await self.do(lambda: ((), lambda outcomes: function()), 0)

    async def do(self, prepare: Prepare, size: int) -> Any:
        """As :meth:`submit`, for coroutines."""
        future = self._loop.create_future()
        self.submit(prepare, size, future)
        return await future

    async def close(self) -> None:
        """Do what waits, then end."""
        self._jobs.end()
        await asyncio.to_thread(self._worker.join)
        self._deadlines.close()

    def _late(self) -> NoStoreAvailable:
        return NoStoreAvailable(f"It was not on disk within {self._timeout:g} s. It may still happen.")

    def _run(self) -> None:
        going_on = True
        while going_on:
            job = self._jobs.wait()
            if job is None:
                return
            jobs, going_on = self._jobs.group(job)
            self._loop.call_soon_threadsafe(self._settle, *self._do(jobs))

    def _do(self, jobs: list[_Job]) -> tuple[list[tuple[Completion, Any]], bool]:
        """Each job's receiver, and what it is to get (a result, or an exception); and whether anything
        has changed that began here.
        """
        results: list[tuple[Completion, Any]] = []
        prepared: list[tuple[_Job, int, Callable[[Outcomes], Any]]] = []
        operations: list[Operation] = []
        for job in jobs:
            if job.completion.done():  # nobody waits any more, and nobody was told that it happened
                continue
            try:
                wanted, finish = job.prepare()
            except Exception as error:  # whatever one job does, the others are to go on
                results.append((job.completion, error))
                continue
            prepared.append((job, len(wanted), finish))
            operations += wanted
        began = time.perf_counter()
        try:
            outcomes = self._replica.apply(operations) if operations else []
        except Exception as error:
            log.exception("changes could not be made")
            return results + [(job.completion, error) for job, _, _ in prepared], False
        changed = False
        if operations:
            changed = any(
                isinstance(outcome, Outcome) and outcome.changed and not isinstance(operation, Learn)
                for operation, outcome in zip(operations, outcomes)
            )
            self.group_sizes.observe(len(operations))
            self.group_times.observe(int((time.perf_counter() - began) * 1_000_000))
        for job, count, finish in prepared:
            mine, outcomes = outcomes[:count], outcomes[count:]
            try:
                results.append((job.completion, finish(mine)))
            except Exception as error:
                results.append((job.completion, error))
        return results, changed

    def _settle(self, results: list[tuple[Completion, Any]], changed: bool) -> None:
        """Tell those who wait, in the loop's thread."""
        if changed:
            self._changed()
        for completion, result in results:
            tell(completion, result)
        self._deadlines.settle()
