"""The process that a user starts: it binds the port, and forks the workers, which serve.

It starts a new worker for one that dies or hangs, and ends them all in the friendly way on SIGTERM and SIGINT.
On SIGHUP it reads the settings again and replaces the workers one after the other: an old one is told to end
when its successor serves, and the port stays open all the time. (Forking by hand, and not by multiprocessing
or a library: a worker is a child that shares two memory maps and the sockets; what manages it is this module.)
"""

import logging
import os
import select
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from sfss.config.gateway import Settings
from sfss.errors import SfssError
from sfss.metrics.aggregate import GONE, Aggregate, retire
from sfss.metrics.scoreboard import Scoreboard
from sfss.runtime import systemd
from sfss.runtime.server import Server
from sfss.runtime.sockets import ARRIVAL_TIME, allow_many_files, listen, refuse_newcomers, tls_context, url_of
from sfss.runtime.worker import ENDS, Worker

log = logging.getLogger("sfss")

#: A worker that shows no life for so long (seconds) is ended, and another one started.
HANG_TIMEOUT = 60.0
#: How long the master waits after a worker that could not start, before it tries again. Seconds.
RETRY_PAUSE = 1.0
#: How long a new worker may take to serve, when it is to replace an old one. Seconds.
START_TIMEOUT = 30.0
#: What a worker may take to end, beyond its drain timeout, before it is killed. Seconds.
_GRACE = 3.0
#: How often the master looks at its workers when nothing happens, and when it waits for one. Seconds.
_LOOK, _SHORT_LOOK = 1.0, 0.01

#: Makes what serves in a worker: called in its event loop, with the settings and its panel.
MakeServer = Callable[[Any, Aggregate], Awaitable[Server]]
#: Told of each address on which it listens: the settings, the URL, and what files are kept in.
Listens = Callable[[Any, str, str], None]


class Master:
    """*load* gives the settings anew, at each SIGHUP. *check* is called before they are used; it raises a
    :class:`SfssError` if one could not serve with them, and returns what files are kept in, for the log.

    :raises SfssError: if it cannot start.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        check: Callable[[Any], str],
        make_server: MakeServer,
        listens: Listens,
    ):
        self._load = load
        self._listens = listens
        self._check = check
        self._make_server = make_server
        self._scoreboard = Scoreboard()
        self._workers: dict[int, Worker] = {}  # by process id
        self._settings = settings
        self._store, self._tls = check(settings), tls_context(settings)
        given = systemd.given_sockets()
        self._listeners = given or listen(settings.host, settings.port)
        self._is_given = bool(given)  # those stay open, and what connects waits for our successor
        self._no_start_before = 0.0  # on time.monotonic's clock
        self._waiting: list[int] = []  # signals that have come
        self._pipe = (-1, -1)  # where Python writes their numbers

    def run(self) -> int:
        """Serve until a signal ends it; returns the exit code."""
        self._catch_signals()
        code = self._start_all()
        if code is None:
            systemd.notify("READY=1")
            self._watch()
            code = 0
        systemd.notify("STOPPING=1")
        self._end_all()
        for listener in self._listeners:
            listener.close()
        log.info("stopped")
        for number in ENDS:  # one more of them shall not look as if it had been killed
            signal.signal(number, signal.SIG_IGN)
        return code

    def _start_all(self) -> int | None:
        """Start the first workers; None when all serve, an exit code if they never will."""
        for _ in range(self._settings.worker_count):
            self._spawn()
        while not self._has_end_waiting():
            self._wait(_SHORT_LOOK)
            if self._reap():
                return 1  # it never will serve: what is wrong stands in the log
            if len(self._workers) == self._settings.worker_count and all(
                worker.serves for worker in self._workers.values()
            ):
                self._announce()
                return None
        return 0

    def _watch(self) -> None:
        """Keep the workers at their number, until a signal says that it is over."""
        while True:
            while self._waiting:
                number = self._waiting.pop(0)
                if number in ENDS:
                    return
                if number == signal.SIGHUP:
                    self._reload()
                elif number == signal.SIGUSR2:
                    log.warning("SIGUSR2 does nothing here; docs/ tells how to upgrade without downtime")
            self._reap()
            self._end_those_that_hang()
            serving = self._serving()
            for worker in serving[self._settings.worker_count :]:
                self._retire(worker)
            if time.monotonic() >= self._no_start_before:
                for _ in range(self._settings.worker_count - len(serving)):
                    if self._spawn() is None:
                        break
            self._wait(_LOOK)

    def _end_all(self) -> None:
        """End every worker, each with the time it needs; a second signal ends the waiting."""
        log.info("stopping", extra={"drain_timeout_s": self._settings.drain_timeout})
        self._waiting.clear()
        if not self._is_given and refuse_newcomers(self._listeners):
            time.sleep(ARRIVAL_TIME)
        for listener in self._listeners:
            listener.close()
        for worker in self._workers.values():
            self._retire(worker)
        deadline = time.monotonic() + self._settings.drain_timeout + _GRACE
        while self._workers and time.monotonic() < deadline and not self._has_end_waiting():
            self._wait(_SHORT_LOOK)
            self._reap()
        for pid in self._workers:
            _kill(pid, signal.SIGKILL)
        while self._workers:
            self._wait(_SHORT_LOOK)
            self._reap()

    # Signals: Python writes their numbers into a pipe, and the master looks there when it has time.

    def _catch_signals(self) -> None:
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in (*ENDS, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: None)

    def _wait(self, seconds: float) -> None:
        """Until a signal comes, for *seconds* at the most."""
        if self._waiting:
            return
        select.select([self._pipe[0]], [], [], seconds)
        try:
            numbers = os.read(self._pipe[0], 4096)
        except BlockingIOError:
            return
        self._waiting += [number for number in numbers if number != signal.SIGCHLD]

    def _has_end_waiting(self) -> bool:
        return any(number in ENDS for number in self._waiting)

    # Workers. Those that were told to end are still known, and are not counted.

    def _serving(self) -> list[Worker]:
        """Those that are to serve, the oldest first."""
        return [worker for worker in self._workers.values() if not worker.retiring]

    def _spawn(self) -> Worker | None:
        """Start a worker; None if that is not possible at the moment."""
        taken = {worker.place for worker in self._workers.values()}
        free = [place for place in range(GONE + 1, self._scoreboard.places) if place not in taken]
        if not free:
            self._cannot_start("too many workers are still ending what they do")
            return None
        retire(self._scoreboard, free[0])  # if its last one ended in a way that nobody noticed
        worker = Worker(free[0])
        # A signal that comes before the worker's loop runs would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        try:
            pid = os.fork()
            if not pid:
                self._be(worker)
        except OSError as error:
            worker.close()
            self._cannot_start(str(error))
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        worker.pid = pid
        self._workers[pid] = worker
        log.info("worker started", extra={"worker": pid})
        return worker

    def _be(self, worker: Worker) -> None:
        """What a new process does; it never comes back."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for end in self._pipe:
                os.close(end)
            for number in (*ENDS, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # that is for the master
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            make = partial(self._make_server, self._settings, Aggregate(self._scoreboard, worker.place))
            code = worker.run(make, self._listeners, self._tls)
        finally:
            os._exit(code)

    def _cannot_start(self, reason: str) -> None:
        self._no_start_before = time.monotonic() + RETRY_PAUSE
        log.error("cannot start a worker; trying again", extra={"reason": reason})

    def _reap(self) -> bool:
        """See which workers have ended; whether one of them has never served, and was not told to end."""
        has_failed = False
        while self._workers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            worker = self._workers.pop(pid, None)
            if worker is None:
                continue
            retire(self._scoreboard, worker.place)
            code = os.waitstatus_to_exitcode(status)
            reason = {"signal": signal.Signals(-code).name} if code < 0 else {"exit_code": code}
            if code and not worker.retiring:
                log.error("worker ended", extra={"worker": pid, **reason})
            else:
                log.info("worker ended", extra={"worker": pid})
            if not worker.has_served and not worker.retiring:
                has_failed = True
                self._no_start_before = time.monotonic() + RETRY_PAUSE
            worker.close()
        return has_failed

    def _end_those_that_hang(self) -> None:
        for pid, worker in self._workers.items():
            if worker.silent_for() > HANG_TIMEOUT:
                log.error("worker shows no life: killing it", extra={"worker": pid})
                _kill(pid, signal.SIGKILL)

    def _retire(self, worker: Worker) -> None:
        """Tell it to end, once."""
        if not worker.retiring:
            worker.retiring = True
            _kill(worker.pid, signal.SIGTERM)

    # A reload.

    def _reload(self) -> None:
        before = self._settings, self._store, self._tls
        try:
            settings = self._load()
            self._store, self._tls = self._check(settings), tls_context(settings)
        except Exception as error:  # the old settings are good; nothing is worth to lose them
            log.error(
                "the new settings cannot be used; going on with the old ones",
                extra={"reason": str(error)},
                exc_info=None if isinstance(error, SfssError) else error,
            )
            return
        self._settings = settings
        logging.getLogger().setLevel(settings.log_level.upper())
        if (settings.host, settings.port) != (before[0].host, before[0].port):
            log.warning("host and port change at the next start only")
        old = self._serving()
        replaced = list(old)
        new: list[Worker] = []
        for _ in range(settings.worker_count):
            worker = self._start_one()
            if worker is None:
                log.error("no worker starts with the new settings; going on with the old ones")
                self._settings, self._store, self._tls = before
                logging.getLogger().setLevel(self._settings.log_level.upper())
                for worker in new:
                    self._retire(worker)
                return  # _watch makes up for those that have been replaced
            new.append(worker)
            if old:
                self._retire(old.pop(0))
        for worker in old:
            self._retire(worker)
        # Who connects from now on meets the new ones.
        self._wait_until(lambda: not any(w.pid in self._workers and w.serves for w in replaced))
        log.info("settings reloaded", extra={"workers": settings.worker_count})

    def _start_one(self) -> Worker | None:
        """A new worker that serves, None if it does not get there."""
        worker = self._spawn()
        if worker is None:
            return None
        self._wait_until(lambda: worker.pid not in self._workers or worker.serves)
        if worker.pid not in self._workers:
            return None
        if not worker.serves:
            worker.retiring = True
            _kill(worker.pid, signal.SIGKILL)
            return None
        return worker

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        """Not for ever, and not when a signal waits that may be the end."""
        deadline = time.monotonic() + START_TIMEOUT
        while not condition() and time.monotonic() < deadline and not self._has_end_waiting():
            # (Another SIGHUP waits for its turn: no reason not to sleep.)
            waiting, self._waiting = self._waiting, []
            self._wait(_SHORT_LOOK)
            self._waiting = waiting + self._waiting
            self._reap()

    def _announce(self) -> None:
        for listener in self._listeners:
            self._listens(self._settings, self._url(listener.getsockname()), self._store)

    def _url(self, address: tuple[Any, ...] | str | bytes) -> str:
        if not isinstance(address, tuple):  # a Unix socket, from systemd
            return f"unix:{os.fsdecode(address)}"
        return url_of(address, tls=self._settings.ssl)


def run(
    settings: Settings,
    load: Callable[[], Settings],
    check: Callable[[Any], str],
    make_server: MakeServer,
    listens: Listens,
) -> int:
    """Serve until a signal ends it; returns the exit code. The arguments are those of :class:`Master`.

    :raises SfssError: if it cannot start.
    """
    allow_many_files()
    return Master(settings, load, check, make_server, listens).run()


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended, and is reaped next
