"""The servers under load, and what is done to them."""

import asyncio
import os
import random
import re
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests import programs
from tests.conftest import until
from tests.faults.history import History
from tests.faults.load import Load
from tests.faults.relay import Relay
from tests.http import ask, request
from tests.programs import Program, Sfss

#: After all is well again a request may still fail for so long: tests of proxies have pauses. Seconds.
GRACE = 2.0
#: A write that began at most so long before a proxy was stopped may be there, and so may one that began
#: before the gateway had noticed. Seconds.
_ON_ITS_WAY, _NOTICED = 0.1, 2.0


@dataclass
class Scene:
    """A server, and the faults that can happen around it; each is a coroutine that also ends it."""

    server: Program
    faults: dict[str, Callable[[], Awaitable[None]]]
    #: Faults during which no proxy can be reached, so that 504 is the right answer.
    all_down: frozenset[str] = frozenset()
    #: Faults after which a proxy may pass on what it had read before (see history.py).
    stops: frozenset[str] = frozenset()
    #: What else may be answered during which fault.
    allowed: dict[str, frozenset[str]] = field(default_factory=dict)
    #: Ports of other servers over the same stores.
    other_ports: tuple[int, ...] = ()


@dataclass
class Report:
    history: History
    faults: int = 0
    wrong: list[str] = field(default_factory=list)
    late: set[str] = field(default_factory=set)  #: files that a late write has changed
    longest_silence: float = 0.0
    worst_recovery: float = 0.0
    recovery_of: str = ""

    def __str__(self) -> str:
        answers = "\n".join(
            f"    {kind:24}{number:9}" for kind, number in sorted(self.history.answers.items())
        )
        return (
            f"  {self.history.requests} requests, {self.faults} faults, {len(self.wrong)} wrong\n{answers}\n"
            f"  files changed by a late write of a proxy that was stopped: {len(self.late)}\n"
            f"  longest time without a success {self.longest_silence:.2f} s; last failure after a "
            f"fault had ended: {self.worst_recovery:.2f} s ({self.recovery_of or 'none'})"
        )


async def play(
    scene: Scene, *, requests: int, faults: int, seed: int, quiet: float = 0.5, pause: float = 0.0
) -> Report:
    """Faults in random order, each kind at least once, until there were so many, and so many requests."""
    generator = random.Random(seed)
    report = Report(History())
    periods: list[tuple[float, float, str]] = []
    async with Load((scene.server.port, *scene.other_ports), report.history, pause=pause) as load:
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
            if report.faults % 25 == 0:
                print(f"  {report.faults} faults, {report.history.requests} requests", flush=True)
            await asyncio.sleep(quiet + GRACE * generator.random())
        await asyncio.sleep(GRACE)
    await load.read_all_back()
    for wrong in report.history.wrong:
        if any(_was_held_back(periods, scene, begun) for begun in wrong.begun):
            report.late.add(wrong.what.partition(":")[0])
        else:
            fault = _fault_at(periods, wrong.seen, wrong.seen)
            report.wrong.append(f"{wrong.what} (seen {fault})")
    report.longest_silence = load.longest_silence
    for began, ended, kind, reason in load.failures:
        fault = _fault_at(periods, began, ended)
        if fault.late > report.worst_recovery:
            report.worst_recovery, report.recovery_of = fault.late, fault.name
        allowed = scene.allowed.get(fault.name, frozenset()) | (
            frozenset(("504",)) if fault.name in scene.all_down else frozenset()
        )
        if kind not in allowed or fault.late > GRACE:
            report.wrong.append(f"{kind} {fault}, after {ended - began:.2f} s: {reason}")
    return report


class _Fault(NamedTuple):
    name: str
    late: float  #: seconds since it had ended

    def __str__(self) -> str:
        return f"{self.late:.2f} s after {self.name or 'the start'}"


def _was_held_back(periods: list[tuple[float, float, str]], scene: Scene, begun: float) -> bool:
    """Whether a proxy that was stopped can have held a write that began then."""
    return any(
        name in scene.stops and stopped - _ON_ITS_WAY <= begun <= stopped + _NOTICED
        for stopped, _, name in periods
    )


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
    with tempfile.TemporaryDirectory(prefix="sfss-faults-") as folder:
        nodes = [programs.start_memcached() for _ in range(3)]
        node_ports = [port for _, port in nodes]
        started = [programs.start_nutcracker(Path(folder), node_ports) for _ in range(3)]
        ports = [port for _, port in started]

        def start(number: int) -> Program:
            return programs.start_nutcracker(Path(folder), node_ports, ports[number])[0]

        proxies = [program for program, _ in started]
        async with _over(proxies, ports, start) as (server, faults):
            yield _proxied(server, faults)
        _end(*proxies, *(program for program, _ in nodes))


@asynccontextmanager
async def over_beansdb() -> AsyncIterator[Scene]:
    """Two workers over three gobeansproxies over three gobeansdb nodes (N=3, W=2)."""
    with tempfile.TemporaryDirectory(prefix="sfss-faults-") as folder:
        node_ports = [programs.free_port() for _ in range(3)]
        routes = programs.routes(node_ports, programs.free_port())

        def start_node(number: int) -> Program:
            return programs.start_gobeansdb(Path(folder), node_ports[number], routes)

        nodes = [start_node(number) for number in range(3)]
        ports = [programs.free_port() for _ in range(3)]

        def start(number: int) -> Program:
            return programs.start_gobeansproxy(Path(folder), ports[number], routes)

        proxies = [start(number) for number in range(3)]

        async def kill_a_node() -> None:
            await _kill_and_start(nodes, [random.randrange(3)], start_node)

        async with _over(proxies, ports, start) as (server, faults):
            yield _proxied(server, faults | {"kill -9 a node": kill_a_node})
        _end(*proxies, *nodes)


@asynccontextmanager
async def over_nodes() -> AsyncIterator[Scene]:
    """Two gateways with two workers each over three gobeansdb nodes, without a proxy; one node behind a relay."""
    with tempfile.TemporaryDirectory(prefix="sfss-faults-") as folder:
        ports = [programs.free_port() for _ in range(3)]
        routes = programs.routes(ports, programs.free_port())

        def start_node(number: int) -> Program:
            return programs.start_gobeansdb(Path(folder), ports[number], routes)

        nodes = [start_node(number) for number in range(3)]
        async with Relay(ports[0]) as relay:
            flags = [f for port in (relay.port, *ports[1:]) for f in ("--beansdb", f"127.0.0.1:{port}")]
            flags += ["--workers", "2", "--no-access-log"]
            gateways = [await asyncio.to_thread(Sfss, *flags) for _ in range(2)]

            async def all_trusted() -> None:
                """Until every gateway trusts every node again."""
                await asyncio.sleep(0.5)
                for gateway in gateways:
                    await until(lambda port=gateway.port: _trusted_nodes(port) == 3, 60)

            async def end_a_node(end: Callable[[Program], object], *, lose_disk: bool = False) -> None:
                number = random.randrange(3)
                await asyncio.to_thread(end, nodes[number])
                await asyncio.sleep(random.uniform(0, 2))
                if lose_disk:
                    data = programs.gobeansdb_home(Path(folder), ports[number]) / "data"
                    await asyncio.to_thread(shutil.rmtree, data)
                nodes[number] = await asyncio.to_thread(start_node, number)
                await all_trusted()

            async def stop_a_node() -> None:
                node = random.choice(nodes)
                node.send(signal.SIGSTOP)
                await asyncio.sleep(random.uniform(0.5, 6.0))
                node.send(signal.SIGCONT)

            async def kill_a_gateway() -> None:
                number = random.randrange(2)
                port = gateways[number].port
                gateways[number].kill()
                gateways[number] = await asyncio.to_thread(Sfss, "--port", port, *flags)

            async def reload() -> None:
                gateway = random.choice(gateways)
                done = gateway.printed().count("settings reloaded")
                gateway.send(signal.SIGHUP)
                await until(lambda: gateway.printed().count("settings reloaded") > done, 20)

            async def kill_a_worker() -> None:
                await _kill_a_worker(random.choice(gateways))

            await all_trusted()
            yield Scene(
                gateways[0],
                {
                    "kill -9 a node": partial(end_a_node, Program.kill),
                    "SIGTERM a node": partial(end_a_node, Program.stop),
                    "lose a disk": partial(end_a_node, Program.kill, lose_disk=True),
                    "SIGSTOP a node": stop_a_node,
                    "kill -9 a worker": kill_a_worker,
                    "kill -9 a gateway": kill_a_gateway,
                    "SIGHUP": reload,
                }
                | _on_the_wire(relay),
                allowed=dict.fromkeys(("kill -9 a worker", "kill -9 a gateway"), WORKER_LOST | {"504"}),
                other_ports=(gateways[1].port,),
            )
            _end(*gateways)
        _end(*nodes)


def _trusted_nodes(port: int) -> int:
    """How many nodes a gateway trusts; -1: it does not say."""
    try:
        figures = ask(port, request("GET", "/metrics")).body.decode()
    except OSError:
        return -1
    return len(re.findall(r"(?m)^sfss_beansdb_node_trusted\{[^}]*\} 1", figures))


@asynccontextmanager
async def _over(
    proxies: list[Program], ports: list[int], start: Callable[[int], Program]
) -> AsyncIterator[tuple[Sfss, dict[str, Callable[[], Awaitable[None]]]]]:
    """A server over *proxies*, the first one behind a relay, and the faults of all of them."""
    async with Relay(ports[0]) as relay:
        flags = programs.proxy_flags([relay.port, *ports[1:]])
        server = Sfss(*flags, "--workers", 2, "--no-access-log")

        async def kill_a_proxy() -> None:
            await _kill_and_start(proxies, [random.randrange(len(proxies))], start)

        async def kill_all_proxies() -> None:
            await _kill_and_start(proxies, list(range(len(proxies))), start)

        async def stop_a_proxy() -> None:
            proxy = random.choice(proxies)
            proxy.send(signal.SIGSTOP)
            await asyncio.sleep(random.uniform(0.5, 3.0))
            proxy.send(signal.SIGCONT)

        yield (
            server,
            {
                "kill -9 a proxy": kill_a_proxy,
                "SIGSTOP a proxy": stop_a_proxy,
                "kill -9 all proxies": kill_all_proxies,
                "kill -9 a worker": partial(_kill_a_worker, server),
            }
            | _on_the_wire(relay),
        )
        _end(server)


def _on_the_wire(relay: Relay) -> dict[str, Callable[[], Awaitable[None]]]:
    def during(fault: Callable[[], None], seconds: float) -> Callable[[], Awaitable[None]]:
        async def wire() -> None:
            fault()
            await asyncio.sleep(seconds)
            relay.heal()

        return wire

    return {
        "cut the wire": during(relay.cut, 1.0),
        "delay the wire": during(lambda: relay.delay(0.2), 2.0),
        "throttle the wire": during(lambda: relay.throttle(50_000), 2.0),
        "garble the wire": during(lambda: relay.garble(0.05), 2.0),
        "swallow on the wire": during(relay.swallow, 2.0),
    }


def _proxied(server: Sfss, faults: dict[str, Callable[[], Awaitable[None]]]) -> Scene:
    return Scene(
        server,
        faults,
        all_down=frozenset(("kill -9 all proxies",)),
        stops=frozenset(("SIGSTOP a proxy",)),
        allowed={"kill -9 a worker": WORKER_LOST},
    )


async def _kill_and_start(
    running: list[Program], numbers: list[int], start: Callable[[int], Program]
) -> None:
    for number in numbers:
        running[number].kill()
    await asyncio.sleep(1.5)
    for number in numbers:
        running[number] = await asyncio.to_thread(start, number)


@asynccontextmanager
async def embedded() -> AsyncIterator[Scene]:
    """Two workers over the embedded store, on a small disk of their own."""
    with tempfile.TemporaryDirectory(prefix="sfss-faults-") as folder:
        disk = Path(folder) / "disk"
        disk.mkdir()
        server = programs.start_on_a_small_disk(
            disk, 200, "--data", disk / "data", "--workers", 2, "--no-access-log"
        )
        filler = Path(f"/proc/{server.pid}/root{disk}/filler")

        async def kill_all_workers() -> None:
            workers = server.family()[1:]
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: not set(workers) & set(server.family()) and len(server.family()) > 2, 20)

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
            await until(lambda: server.printed().count("settings reloaded") > done, 20)

        yield Scene(
            server,
            {
                "kill -9 a worker": partial(_kill_a_worker, server),
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


async def _kill_a_worker(server: Program) -> None:
    workers = server.family()[1:]
    victim = random.choice(workers)
    os.kill(victim, signal.SIGKILL)
    await until(lambda: victim not in server.family() and len(server.family()) > len(workers), 20)


def _end(*running: Program) -> None:
    for program in running:
        program.stop()
