"""The servers under load, and what is done to them."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests import programs
from tests.faults.history import History
from tests.faults.load import Load
from tests.faults.relay import Relay
from tests.programs import Program, Sfss

#: After all is well again a request may still fail for so long: tests of proxies have pauses. Seconds.
GRACE = 2.0


@dataclass
class Scene:
    """A server, and the faults that can happen around it; each is a coroutine that also ends it."""

    server: Program
    faults: dict[str, Callable[[], Awaitable[None]]]
    #: Faults during which no proxy can be reached, so that 504 is the right answer.
    all_down: frozenset[str] = frozenset()
    #: What else may be answered during which fault.
    allowed: dict[str, frozenset[str]] = field(default_factory=dict)


@dataclass
class Report:
    history: History
    faults: int = 0
    wrong: list[str] = field(default_factory=list)
    longest_silence: float = 0.0
    worst_recovery: float = 0.0
    recovery_of: str = ""

    def __str__(self) -> str:
        answers = "\n".join(
            f"    {kind:24}{number:9}" for kind, number in sorted(self.history.answers.items())
        )
        return (
            f"  {self.history.requests} requests, {self.faults} faults, {len(self.wrong)} wrong\n{answers}\n"
            f"  longest time without a success {self.longest_silence:.2f} s; last failure after a "
            f"fault had ended: {self.worst_recovery:.2f} s ({self.recovery_of or 'none'})"
        )


async def play(
    scene: Scene, *, requests: int, faults: int, seed: int, quiet: float = 0.5
) -> Report:
    """Faults in random order, each kind at least once, until there were so many, and so many requests."""
    generator = random.Random(seed)
    report = Report(History())
    periods: list[tuple[float, float, str]] = []
    async with Load(scene.server.port, report.history) as load:
        await asyncio.sleep(quiet)
        waiting: list[str] = []
        while report.faults < faults or report.history.requests < requests:
            if report.faults >= faults:
                await asyncio.sleep(0.2)
                continue
            if not waiting:
                waiting = generator.sample(list(scene.faults), len(scene.faults))
            name = waiting.pop()
            began = time.monotonic()
            await scene.faults[name]()
            periods.append((began, time.monotonic(), name))
            report.faults += 1
            await asyncio.sleep(quiet + GRACE * generator.random())
        await asyncio.sleep(GRACE)
    await load.read_all_back()
    report.wrong = [
        f"{what} (seen {_fault_at(periods, moment, moment)})" for moment, what in report.history.wrong
    ]
    report.longest_silence = load.longest_silence
    for began, ended, kind in load.failures:
        fault = _fault_at(periods, began, ended)
        if fault.late > report.worst_recovery:
            report.worst_recovery, report.recovery_of = fault.late, fault.name
        allowed = scene.allowed.get(fault.name, frozenset()) | (
            frozenset(("504",)) if fault.name in scene.all_down else frozenset()
        )
        if kind not in allowed or fault.late > GRACE:
            report.wrong.append(f"{kind} {fault}")
    return report


class _Fault(NamedTuple):
    name: str
    late: float  #: seconds since it had ended

    def __str__(self) -> str:
        return f"{self.late:.2f} s after {self.name or 'the start'}"


def _fault_at(periods: list[tuple[float, float, str]], began: float, ended: float) -> _Fault:
    """The last fault that can have hit a request that lasted from *began* to *ended*."""
    for fault_began, fault_ended, name in reversed(periods):
        if fault_began <= ended:
            return _Fault(name, max(began - fault_ended, 0.0))
    return _Fault("", 0.0)


# Scenes.

WORKER_LOST = frozenset(("connection lost",))


@asynccontextmanager
async def over_twemproxies() -> AsyncIterator[Scene]:
    """Two workers over three twemproxies over three memcacheds; one of the proxies behind a relay."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sfss-faults-")))
        nodes = [programs.start_memcached() for _ in range(3)]
        ports = [port for _, port in nodes]
        proxies = [programs.start_nutcracker(folder, ports) for _ in range(3)]
        relay = await stack.enter_async_context(Relay(proxies[0][1]))
        flags = ["--proxy", f"127.0.0.1:{relay.port}"]
        flags += [flag for _, port in proxies[1:] for flag in ("--proxy", f"127.0.0.1:{port}")]
        server = Sfss(*flags, "--workers", 2, "--no-access-log")

        def kill(number: int) -> None:
            proxies[number][0].kill()

        def start(number: int) -> None:
            port = proxies[number][1]
            proxies[number] = programs.start_nutcracker(folder, ports, port)

        async def kill_a_proxy() -> None:
            number = random.randrange(3)
            kill(number)
            await asyncio.sleep(1.5)
            await asyncio.to_thread(start, number)

        async def stop_a_proxy() -> None:
            proxy = random.choice(proxies)[0]
            proxy.send(signal.SIGSTOP)
            await asyncio.sleep(random.uniform(0.5, 3.0))
            proxy.send(signal.SIGCONT)

        async def kill_all_proxies() -> None:
            for number in range(3):
                kill(number)
            await asyncio.sleep(1.5)
            for number in range(3):
                await asyncio.to_thread(start, number)

        async def kill_a_worker() -> None:
            await _kill_a_worker(server)

        def on_the_wire(fault: Callable[[], None], seconds: float):
            async def wire() -> None:
                fault()
                await asyncio.sleep(seconds)
                relay.heal()

            return wire

        yield Scene(
            server,
            {
                "kill -9 a proxy": kill_a_proxy,
                "SIGSTOP a proxy": stop_a_proxy,
                "kill -9 all proxies": kill_all_proxies,
                "kill -9 a worker": kill_a_worker,
                "cut the wire": on_the_wire(relay.cut, 1.0),
                "delay the wire": on_the_wire(lambda: relay.delay(0.2), 2.0),
                "throttle the wire": on_the_wire(lambda: relay.throttle(50_000), 2.0),
                "garble the wire": on_the_wire(lambda: relay.garble(0.05), 2.0),
                "swallow on the wire": on_the_wire(relay.swallow, 2.0),
            },
            all_down=frozenset(("kill -9 all proxies",)),
            allowed={"kill -9 a worker": WORKER_LOST},
        )
        _end(server, *(program for program, _ in [*proxies, *nodes]))


@asynccontextmanager
async def over_beansdb() -> AsyncIterator[Scene]:
    """Two workers over three gobeansproxies over three gobeansdb nodes (N=3, W=2)."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sfss-faults-")))
        node_ports = [programs.free_port() for _ in range(3)]
        routes = programs.routes(node_ports, programs.free_port())
        nodes = [programs.start_gobeansdb(folder, port, routes) for port in node_ports]
        proxy_ports = [programs.free_port() for _ in range(3)]
        proxies = [programs.start_gobeansproxy(folder, port, routes) for port in proxy_ports]
        relay = await stack.enter_async_context(Relay(proxy_ports[0]))
        flags = ["--proxy", f"127.0.0.1:{relay.port}"]
        flags += [flag for port in proxy_ports[1:] for flag in ("--proxy", f"127.0.0.1:{port}")]
        server = Sfss(*flags, "--workers", 2, "--no-access-log")

        async def kill_a_proxy(numbers=None) -> None:
            numbers = numbers or [random.randrange(3)]
            for number in numbers:
                proxies[number].kill()
            await asyncio.sleep(1.5)
            for number in numbers:
                port = proxy_ports[number]
                proxies[number] = await asyncio.to_thread(
                    programs.start_gobeansproxy, folder, port, routes
                )

        async def stop_a_proxy() -> None:
            proxy = random.choice(proxies)
            proxy.send(signal.SIGSTOP)
            await asyncio.sleep(random.uniform(0.5, 3.0))
            proxy.send(signal.SIGCONT)

        async def kill_a_node() -> None:
            number = random.randrange(3)
            nodes[number].kill()
            await asyncio.sleep(1.5)
            nodes[number] = await asyncio.to_thread(
                programs.start_gobeansdb, folder, node_ports[number], routes
            )

        async def kill_a_worker() -> None:
            await _kill_a_worker(server)

        def on_the_wire(fault: Callable[[], None], seconds: float):
            async def wire() -> None:
                fault()
                await asyncio.sleep(seconds)
                relay.heal()

            return wire

        yield Scene(
            server,
            {
                "kill -9 a proxy": kill_a_proxy,
                "SIGSTOP a proxy": stop_a_proxy,
                "kill -9 all proxies": lambda: kill_a_proxy([0, 1, 2]),
                "kill -9 a node": kill_a_node,
                "kill -9 a worker": kill_a_worker,
                "cut the wire": on_the_wire(relay.cut, 1.0),
                "delay the wire": on_the_wire(lambda: relay.delay(0.2), 2.0),
                "throttle the wire": on_the_wire(lambda: relay.throttle(50_000), 2.0),
                "garble the wire": on_the_wire(lambda: relay.garble(0.05), 2.0),
                "swallow on the wire": on_the_wire(relay.swallow, 2.0),
            },
            all_down=frozenset(("kill -9 all proxies",)),
            allowed={"kill -9 a worker": WORKER_LOST},
        )
        _end(server, *proxies, *nodes)


@asynccontextmanager
async def embedded() -> AsyncIterator[Scene]:
    """Two workers over the embedded store, on a small disk of their own."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sfss-faults-")))
        disk = folder / "disk"
        disk.mkdir()
        server = _on_a_small_disk(disk)
        filler = Path(f"/proc/{server.pid}/root{disk}/filler")

        async def kill_a_worker() -> None:
            await _kill_a_worker(server)

        async def kill_all_workers() -> None:
            workers = server.family()[1:]
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            await _until(lambda: not set(workers) & set(server.family()) and len(server.family()) > 2)

        async def fill_the_disk() -> None:
            def fill() -> None:
                with open(filler, "wb", buffering=0) as file:
                    try:
                        while True:
                            file.write(b"x" * 4096)
                    except OSError:
                        return  # it is full

            await asyncio.to_thread(fill)
            await asyncio.sleep(1.5)
            filler.unlink()

        async def reload() -> None:
            done = server.printed().count("settings reloaded")
            server.send(signal.SIGHUP)
            await _until(lambda: server.printed().count("settings reloaded") > done)

        yield Scene(
            server,
            {
                "kill -9 a worker": kill_a_worker,
                "kill -9 all workers": kill_all_workers,
                "fill the disk": fill_the_disk,
                "SIGHUP": reload,
            },
            allowed={
                "kill -9 a worker": WORKER_LOST,
                "kill -9 all workers": WORKER_LOST,
                "fill the disk": frozenset(("507",)),
            },
        )
        _end(server)


def can_mount() -> bool:
    return subprocess.run([*_ENTER, "true"], capture_output=True).returncode == 0


_ENTER = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def _on_a_small_disk(folder: Path) -> Program:
    script = f'mount -t tmpfs -o size=200m tmpfs {folder} && exec "$0" "$@"'
    server = Program(
        [*_ENTER, "sh", "-c", script, sys.executable, "-m", "sfss", "--port", 0]
        + ["--data", folder / "data", "--workers", 2, "--no-access-log"]
    )
    server.port = int(server.wait_for_line(r"listening url=\S+:(\d+)")[1])
    return server


async def _kill_a_worker(server: Program) -> None:
    workers = server.family()[1:]
    victim = random.choice(workers)
    os.kill(victim, signal.SIGKILL)
    await _until(lambda: victim not in server.family() and len(server.family()) > len(workers))


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def _end(*running: Program) -> None:
    for program in running:
        program.stop()
