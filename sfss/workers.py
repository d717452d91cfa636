"""Many processes behind one port, in the hands of gunicorn's arbiter.

The *master* binds the port and forks the *workers*, which serve. It starts a new worker for one that
dies or hangs, and ends them all in the friendly way on SIGTERM and SIGINT. On SIGHUP it reads the
settings again and replaces the workers one after the other: an old one is told to end when its
successor serves, and the port stays open all the time.

Of gunicorn we use what manages processes, and the workers that aiohttp brings for it. The user sees
none of its options, and its messages come out in our log.
"""

import gc
import logging
import math
import mmap
import os
import signal
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp.web import Application, AppRunner
from aiohttp.worker import GunicornUVLoopWebWorker, GunicornWebWorker
from gunicorn import systemd
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.errors import HaltServer

from sfss.board import Board
from sfss.errors import SfssError
from sfss.listening import BACKLOG, allow_many_files, announce, listen, tls_context, url_of
from sfss.panel import GONE, Panel, retire
from sfss.settings import Settings

try:
    import uvloop
except ImportError:  # it does not exist for every platform
    uvloop = None

log = logging.getLogger("sfss")

#: A worker that shows no life for so long (seconds) is ended, and another one started.
HANG_TIMEOUT = 60
#: How long the master waits after a worker that could not start, before it tries again. Seconds.
RETRY_PAUSE = 1.0
#: How long a new worker may take to serve, when it is to replace an old one. Seconds.
START_TIMEOUT = 30.0

#: The signals that end a process.
_ENDS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}

#: Makes what serves in a worker: called in its event loop, with the settings and its panel.
MakeRunner = Callable[[Settings, Panel], Awaitable[AppRunner]]


def run(
    settings: Settings,
    load: Callable[[], Settings],
    check: Callable[[Settings], str],
    make_runner: MakeRunner,
) -> int:
    """Serve until a signal ends it; returns the exit code.

    *load* gives the settings anew, at each SIGHUP. *check* is called in the master before they
    are used; it raises a :class:`SfssError` if one could not serve with them, and returns what
    the files are kept in, for the log.

    :raises SfssError: if it cannot start.
    """
    allow_many_files()
    application = _Application(settings, load, check, make_runner)
    master = os.getpid()
    try:
        _Master(application).run()
    except SystemExit as end:
        if os.getpid() != master:
            raise  # a worker's code tells the master why it has ended
        return 1 if end.code else 0
    return 0


class _Application(BaseApplication):
    """What gunicorn is to run: our settings, as its own."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        check: Callable[[Settings], str],
        make_runner: MakeRunner,
    ):
        self.board = Board()
        self._load = load
        self._check = check
        self._make_runner = make_runner
        self.next_place = GONE + 1  # of the worker that is about to be made
        self._use(settings)
        # Under systemd with a socket unit, the sockets come from there.
        given = systemd.listen_fds(unset_environment=False)
        sockets = [] if given else listen(self.settings.host, self.settings.port)
        # gunicorn takes them over by their numbers.
        self._bind = [f"fd://{listener.detach()}" for listener in sockets]
        super().__init__()

    def load_config(self) -> None:
        settings = self.settings
        drain = math.ceil(settings.drain_timeout) + 3
        options = {
            "workers": settings.worker_count,
            "worker_class": _Worker,
            "logger_class": _Log,
            "timeout": HANG_TIMEOUT,
            "graceful_timeout": drain,
            "control_socket_disable": True,
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
            "child_exit": lambda arbiter, worker: retire(self.board, worker.place),
            "on_exit": lambda arbiter: log.info("stopped"),
        }
        if self._bind:
            options["bind"] = self._bind
        if settings.ssl:  # for gunicorn's eyes only; the workers use our context
            options |= {"certfile": settings.sslcert, "keyfile": settings.sslkey}
        for name, value in options.items():
            self.cfg.set(name, value)

    def do_load_config(self) -> None:
        logging.getLogger().setLevel(self.settings.log_level.upper())
        self.cfg = Config(prog="sfss")
        self.load_config()

    def reload(self) -> None:
        """Read the settings again. :raises SfssError: if they are unfit; the old ones stay."""
        before = self.settings
        self._use(self._load())
        if (self.settings.host, self.settings.port) != (before.host, before.port):
            log.warning("host and port change at the next start only")
        self.do_load_config()

    def _use(self, settings: Settings) -> None:
        store, tls = self._check(settings), tls_context(settings)
        self.settings, self.store, self.tls = settings, store, tls

    def state(self) -> tuple:
        """What a reload changes."""
        return self.settings, self.store, self.tls

    def restore(self, state: tuple) -> None:
        self.settings, self.store, self.tls = state
        self.do_load_config()

    async def runner(self, place: int) -> AppRunner:
        return await self._make_runner(self.settings, Panel(self.board, place))

    def announce(self, listeners: list) -> None:
        for listener in listeners:
            announce(
                self.settings,
                self._url(listener.getsockname()),
                self.store,
                "/",
                "/file?path=photo.jpeg",
                workers=self.settings.worker_count,
            )

    def _url(self, address: tuple | str) -> str:
        if isinstance(address, str):  # a Unix socket, from systemd
            return f"unix:{address}"
        return url_of(address, tls=self.settings.ssl)


class _Master(Arbiter):
    """The arbiter; it replaces one worker after the other, and one that cannot start is no end."""

    def __init__(self, application: _Application):
        self._ever_served = False
        self._no_start_before = 0.0  # on time.monotonic's clock
        super().__init__(application)

    # Signals.

    def handle_term(self) -> None:
        log.info("stopping", extra={"drain_timeout_s": self.app.settings.drain_timeout})
        super().handle_term()

    def handle_int(self) -> None:
        self.handle_term()  # a second one ends the waiting: see gunicorn's stop

    def handle_usr2(self) -> None:
        log.warning("SIGUSR2 does nothing here; docs/ tells how to upgrade without downtime")

    def handle_hup(self) -> None:
        self.reload()

    # Workers. Those that were told to end are still in WORKERS, and are not counted.

    def _serving(self) -> list["_Worker"]:
        """Those that are to serve, the oldest first."""
        serving = [worker for worker in self.WORKERS.values() if not worker.retiring]
        return sorted(serving, key=lambda worker: worker.age)

    def manage_workers(self) -> None:
        serving = self._serving()
        for worker in serving[: max(len(serving) - self.num_workers, 0)]:
            self._retire(worker)
        if time.monotonic() >= self._no_start_before:
            for _ in range(self.num_workers - len(serving)):
                if self.spawn_worker() is None:
                    break
        if not self._ever_served:
            self._wait_for_the_first()

    def _wait_for_the_first(self) -> None:
        """Until all serve. :raises HaltServer: if one cannot."""
        while len(self.WORKERS) >= self.num_workers and not self._told_to_end():
            if all(worker.serves for worker in self.WORKERS.values()):
                self._ever_served = True
                self.app.announce(self.LISTENERS)
                return
            time.sleep(0.01)
            self.reap_workers()

    def _told_to_end(self) -> bool:
        """Whether a signal waits that may be the end; others are passed over."""
        passed = []
        while not self.SIG_QUEUE.empty():
            passed.append(self.SIG_QUEUE.get())
        for number in passed:
            self.SIG_QUEUE.put(number)
        return bool(_ENDS & set(passed))

    def spawn_worker(self) -> int | None:
        """Start a worker; its process id, or None if that is not possible at the moment."""
        taken = {worker.place for worker in self.WORKERS.values()}
        board = self.app.board
        free = [place for place in range(GONE + 1, board.places) if place not in taken]
        if not free:
            return self._cannot_start("too many workers are still ending what they do")
        retire(board, free[0])  # if its last one ended in a way that nobody noticed
        self.app.next_place = free[0]
        # A signal that comes before the worker's loop runs would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        try:
            pid = super().spawn_worker()
        except OSError as error:
            return self._cannot_start(str(error))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)
        log.info("worker started", extra={"worker": pid})
        return pid

    def _cannot_start(self, reason: str) -> None:
        self._no_start_before = time.monotonic() + RETRY_PAUSE
        log.error("cannot start a worker; trying again", extra={"reason": reason})

    def reap_workers(self) -> None:
        before = dict(self.WORKERS)
        failure = None
        while True:
            try:
                super().reap_workers()
                break
            except HaltServer as error:  # it has not looked at all of them yet
                failure = error
        for pid, worker in before.items():
            if pid not in self.WORKERS:
                log.info("worker ended", extra={"worker": pid})
                if not worker.has_served:
                    self._no_start_before = time.monotonic() + RETRY_PAUSE
        # At the first start that is the end: it never will serve. Later, others do.
        if failure is not None and not self._ever_served and self.LISTENERS:
            raise failure

    def reload(self) -> None:
        before = self.app.state()
        try:
            self.app.reload()
        except Exception as error:  # the old settings are good; nothing is worth to lose them
            log.error(
                "the new settings cannot be used; going on with the old ones",
                extra={"reason": str(error)},
                exc_info=None if isinstance(error, SfssError) else error,
            )
            self.app.restore(before)
            return
        self.setup(self.app)
        old = self._serving()
        replaced = list(old)
        new = []
        for _ in range(self.num_workers):
            worker = self._start_one()
            if worker is None:
                log.error("no worker starts with the new settings; going on with the old ones")
                self.app.restore(before)
                self.setup(self.app)
                for worker in new:
                    self._retire(worker)
                return  # manage_workers makes up for those that have been replaced
            new.append(worker)
            if old:
                self._retire(old.pop(0))
        for worker in old:
            self._retire(worker)
        # Who connects from now on meets the new ones.
        self._wait_until(lambda: not any(w.serves for w in replaced if w.pid in self.WORKERS))
        log.info("settings reloaded", extra={"workers": self.num_workers})

    def _start_one(self) -> "_Worker | None":
        """A new worker that serves, None if it does not get there."""
        pid = self.spawn_worker()
        self._wait_until(lambda: pid not in self.WORKERS or self.WORKERS[pid].serves)
        worker = self.WORKERS.get(pid)
        if worker is None or worker.serves:
            return worker
        self.kill_worker(pid, signal.SIGKILL)
        return None

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        """Not for ever, and not when a signal waits that may be the end."""
        deadline = time.monotonic() + START_TIMEOUT
        while not condition() and time.monotonic() < deadline and not self._told_to_end():
            time.sleep(0.01)
            self.reap_workers()

    def _retire(self, worker: "_Worker") -> None:
        worker.retiring = True
        self.kill_worker(worker.pid, signal.SIGTERM)


#: What a worker does with connections.
_STARTS, _SERVES, _CLOSED = range(3)

_Base = GunicornWebWorker if uvloop is None else GunicornUVLoopWebWorker


class _Worker(_Base):
    """A process that serves. Made in the master, before the fork."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.place = self.app.next_place
        self.retiring = False
        self._state = mmap.mmap(-1, 1)  # shared with the master

    @property
    def serves(self) -> bool:
        """Whether it takes connections."""
        return self._state[0] == _SERVES

    @property
    def has_served(self) -> bool:
        return self._state[0] != _STARTS

    def load_wsgi(self) -> None:
        async def make() -> AppRunner:
            runner = await self.app.runner(self.place)
            runner.app.on_shutdown.append(closed)  # which comes when the listeners are closed
            return runner

        async def closed(app: Application) -> None:
            if self.serves:
                self._state[0] = _CLOSED

        self.wsgi = make

    def run(self) -> None:
        self.loop.call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, _ENDS)
        self.loop.call_soon(self._show_life)
        super().run()

    def _show_life(self) -> None:
        """For as long as the loop turns. gunicorn's own sign of life ends when the drain begins."""
        self.notify()
        if self.booted and self.alive and not self.has_served:
            # What is there now stays: the garbage collector need not look at it ever again.
            gc.collect()
            gc.freeze()
            for listener in self.sockets:
                listener.listen(BACKLOG)  # aiohttp has made it shorter
            self._state[0] = _SERVES
        self.loop.call_later(1.0 if self.has_served else 0.02, self._show_life)

    def handle_exit(self, number: int, frame: Any) -> None:
        super().handle_exit(number, frame)
        self._notify_waiter_done()  # now, and not when it looks the next time

    def _create_ssl_context(self, cfg: Config) -> ssl.SSLContext:
        return self.app.tls


class _Log:
    """gunicorn's log in ours: what it says of its normal work is of interest to nobody else."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.access_log = None

    def setup(self, cfg: Config) -> None:
        self.cfg = cfg

    def critical(self, message: str, *arguments: Any, **options: Any) -> None:
        log.critical(message, *arguments, **options)

    def error(self, message: str, *arguments: Any, **options: Any) -> None:
        log.error(message, *arguments, **options)

    def warning(self, message: str, *arguments: Any, **options: Any) -> None:
        log.warning(message, *arguments, **options)

    def info(self, message: str, *arguments: Any, **options: Any) -> None:
        log.debug(message, *arguments)

    def debug(self, message: str, *arguments: Any, **options: Any) -> None:
        """Nobody needs to know."""

    def exception(self, message: str, *arguments: Any, **options: Any) -> None:
        log.exception(message, *arguments, **options)

    def reopen_files(self) -> None:
        """It goes to standard error."""

    def close_on_exec(self) -> None:
        """It has no files of its own."""
