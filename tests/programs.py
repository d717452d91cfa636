"""Real programs for tests and benchmarks: started on free loopback ports, ended by their ids."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALL = "python3 bootstrap.py --with-test-stores"
STARTING_SECONDS = 90


def find(name: str) -> str | None:
    """Where the program is: on the PATH, where Debian keeps daemons, or among our own."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:{ROOT / 'stores-bin'}")


#: Below those that the kernel gives to outgoing connections (ip_local_port_range): one of them could take
#: a port before the program listens that it was chosen for.
#: And each process of pytest-xdist has its own, or a node that is down for a while could come back as
#: a neighbour in another one's cluster.
_PORTS = range(20_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8, 32_768, 8)
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody has, and that this process has not been given before."""
    while True:
        # (Hypothesis seeds the other generator, alike in all processes.)
        port = secrets.choice(_PORTS)
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port


class Program:
    """A running program, and what it printed."""

    #: All that have been started and not ended yet: what a failed test leaves behind.
    running: set["Program"] = set()

    def __init__(self, command: Sequence[object], cwd: Path | None = None, cpu: int | None = None):
        self.output = tempfile.NamedTemporaryFile(prefix="sfss-test-", suffix=".log")
        if cpu is not None:
            command = ["taskset", "-c", cpu, *command]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd or ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            # (aiohttp reads the certificates of all the world when it is imported, a tenth of a start. None is used.)
            env={**os.environ, "SSL_CERT_FILE": os.devnull},
        )
        self._last_words: str | None = None  # all that it printed, when it has ended
        Program.running.add(self)

    @property
    def pid(self) -> int:
        return self.process.pid

    def family(self) -> list[int]:
        """Its process id, and those of the processes that it has started."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            children = ""
        return [self.pid, *map(int, children.split())]

    def resident_mb(self) -> float:
        """Its memory and that of its children, what they share counted once; 10**6 bytes."""
        total = 0
        for pid in self.family():
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue  # it has just ended
            total += int(re.search(r"Pss: +([0-9]+) kB", rollup)[1]) * 1024
        return total / 1e6

    def printed(self) -> str:
        if self._last_words is None:
            return Path(self.output.name).read_text(errors="replace")
        return self._last_words

    def wait_for_port(self, port: int) -> None:
        def answers() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
            return True

        self._wait(answers, f"to listen on {port}")

    def wait_for_line(self, pattern: str) -> re.Match:
        self._wait(lambda: re.search(pattern, self.printed()), f"to print {pattern!r}")
        return re.search(pattern, self.printed())

    def _wait(self, condition, what: str) -> None:
        deadline = time.monotonic() + STARTING_SECONDS
        while not condition():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args} ended:\n{self.printed()}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.process.args} failed {what}:\n{self.printed()}")
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it in the friendly way; returns its exit code."""
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self._ended()

    def kill(self) -> None:
        """End it and its children in the middle of whatever they do (kill -9)."""
        if self.process.poll() is None:
            self.send(signal.SIGSTOP)  # or it would start new ones
            for pid in reversed(self.family()):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._ended()

    def _ended(self) -> None:
        self._last_words = self.printed()
        self.output.close()
        Program.running.discard(self)


def start_memcached(
    port: int | None = None, cpu: int | None = None, largest: str = "3m"
) -> tuple[Program, int]:
    port = port or free_port()
    program = Program(
        [find("memcached"), "-u", "nobody", "-l", "127.0.0.1", "-p", port]
        + ["-U", 0, "-I", largest, "-m", 1024, "-c", 4096],
        cpu=cpu,
    )
    program.wait_for_port(port)
    return program, port


def start_nutcracker(folder: Path, servers: Sequence[int], port: int | None = None) -> tuple[Program, int]:
    """A twemproxy over the memcached *servers*: any of several can serve any key of them."""
    port = port or free_port()
    config = folder / f"nutcracker-{port}.yml"
    config.write_text(
        f"pool:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: ketama\n"
        "  timeout: 5000\n  server_connections: 4\n  servers:\n"
        + "".join(f"   - 127.0.0.1:{server}:1\n" for server in servers)
    )
    program = Program([find("nutcracker"), "-c", config, "-a", "127.0.0.1", "-s", free_port()], cwd=folder)
    program.wait_for_port(port)
    return program, port


def start_nginx(folder: Path, servers: str, port: int) -> Program:
    """An nginx with what it keeps in *folder*; *servers* are of its configuration, and one has *port*."""
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;"
        f" fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;"
        f"\n{servers}\n}}"
    )
    program = Program([find("nginx"), "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    program.wait_for_port(port)
    return program


def start_gobeansdb(folder: Path, port: int, routes: str, cpu: int | None = None) -> Program:
    """A gobeansdb node with the configuration of conf/gobeansdb, its data in *folder*.

    Its data are made fit first, as the unit in conf/systemd does.
    """
    data = gobeansdb_home(folder, port) / "data"
    if data.exists():
        subprocess.run([sys.executable, ROOT / "conf" / "gobeansdb" / "before-start", data], check=True)
    return _start_beans("gobeansdb", folder, port, routes, cpu)


def gobeansdb_home(folder: Path, port: int) -> Path:
    return folder / f"gobeansdb-{port}"


def start_gobeansproxy(folder: Path, port: int, routes: str) -> Program:
    """A gobeansproxy with the configuration of conf/gobeansproxy."""
    return _start_beans("gobeansproxy", folder, port, routes)


def routes(main: Sequence[int], backup: int) -> str:
    """A route.yaml: every node of *main* has all 16 buckets.

    Without a node under ``backup`` gobeansproxy panics on every request, and answers nothing; the
    one that is named may be down (docs/stores.rst).
    """
    buckets = ", ".join(f'"{bucket:x}"' for bucket in range(16))
    nodes = "".join(f"- addr: 127.0.0.1:{port}\n  buckets: [{buckets}]\n" for port in main)
    return f'numbucket: 16\nmain:\n{nodes}backup:\n- "127.0.0.1:{backup}"\n'


def _start_beans(name: str, folder: Path, port: int, routes: str, cpu: int | None = None) -> Program:
    home = folder / f"{name}-{port}"
    for part in ("conf", "data", "log", "dual"):
        (home / part).mkdir(parents=True, exist_ok=True)
    for template in (ROOT / "conf" / name).glob("*.yaml"):
        text = template.read_text()
        text = text.replace("@PORT@", str(port)).replace("@WEBPORT@", str(free_port()))
        (home / "conf" / template.name).write_text(text.replace("@HOME@", str(home)))
    (home / "conf" / "route.yaml").write_text(routes)
    program = Program([find(name), "-confdir", home / "conf"], cwd=home, cpu=cpu)
    program.wait_for_port(port)
    return program


def proxy_flags(ports: Sequence[int]) -> list[str]:
    return [flag for port in ports for flag in ("--proxy", f"127.0.0.1:{port}")]


#: Begins a command that may mount what nobody else sees.
MOUNTS_OF_ITS_OWN = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def can_mount(folder: Path) -> bool:
    """Whether :func:`start_on_a_small_disk` is possible here."""
    return subprocess.run(_on_a_disk(folder, 1, ["true"]), capture_output=True).returncode == 0


def start_on_a_small_disk(
    folder: Path, megabytes: int, *flags: object, command: Sequence[str] = ()
) -> Program:
    """A server whose *folder* is a file system of its own; its ``port`` is set."""
    command = [sys.executable, "-m", "sfss", *command, "--port", 0, *flags]
    server = Program(_on_a_disk(folder, megabytes, command))
    server.port = int(server.wait_for_line(r"listening url=\S+:(\d+)")[1])
    return server


def start_node_on_a_small_disk(home: Path, megabytes: int, *flags: object) -> Program:
    """A node whose *home* is a file system of its own; its ``port`` is set."""
    folders = ("--storage", home / "storage", "--queue", home / "queue")
    return start_on_a_small_disk(home, megabytes, *folders, *flags, command=("node",))


def _on_a_disk(folder: Path, megabytes: int, command: Sequence[object]) -> list[object]:
    script = f'mount -t tmpfs -o size={megabytes}m tmpfs {folder} && exec "$0" "$@"'
    return [*MOUNTS_OF_ITS_OWN, "sh", "-c", script, *command]


class SmallDisk:
    """A file system of its own at *folder*, on which servers are started one after the other.

    *inodes*: how many files and folders it can have; 0 for any number.
    """

    def __init__(self, folder: Path, megabytes: int, inodes: int = 0):
        options = f"size={megabytes}m,nr_inodes={inodes}"
        script = f"mount -t tmpfs -o {options} tmpfs {folder} && echo mounted && exec sleep 600"
        self._holder = Program([*MOUNTS_OF_ITS_OWN, "sh", "-c", script])
        self._holder.wait_for_line("mounted")
        #: Begins a command that sees the disk.
        self.inside = ["nsenter", "--target", self._holder.pid, "--mount", f"--wd={ROOT}", "--"]
        #: Where it is seen from outside.
        self.outside = Path(f"/proc/{self._holder.pid}/root{folder}")

    def fill(self) -> None:
        """Leave no byte and no inode on it."""
        number = 0
        with contextlib.suppress(OSError):
            with open(self.outside / "filling", "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        with contextlib.suppress(OSError):
            while number < 100_000:
                os.close(os.open(self.outside / f"filling-{number}", os.O_CREAT | os.O_WRONLY))
                number += 1

    def make_room(self) -> None:
        for file in self.outside.glob("filling*"):
            file.unlink()

    def remove(self) -> None:
        self._holder.kill()


class Sfss(Program):
    """The real server, on a free port; *flags* are those of the command."""

    #: The command without its flags.
    command: Sequence[object] = (sys.executable, "-m", "sfss", "--port", 0)

    def __init__(self, *flags: object, cpu: int | None = None):
        super().__init__([*self.command, *flags], cpu=cpu)
        self.url = self.wait_for_line(r"listening url=(\S+)")[1]
        self.port = int(self.url.rpartition(":")[2])

    @property
    def workers(self) -> list[int]:
        return self.family()[1:]

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                    return answer.status == 200
            except urllib.error.HTTPError:
                return False

        self._wait(is_ready, "to get ready")


class SfssNode(Sfss):
    """A node with its folders in *home*, on loopback."""

    command = (sys.executable, "-m", "sfss", "node", "--host", "127.0.0.1", "--log-level", "info")

    def __init__(self, home: Path, *flags: object, port: int = 0, cpu: int | None = None):
        self.storage, self.queue = home / "storage", home / "queue"
        folders = ("--storage", self.storage, "--queue", self.queue)
        super().__init__("--port", port, *folders, *flags, cpu=cpu)


class SfssObjects(Sfss):
    """An object service, with the user that its first start has made."""

    command = (sys.executable, "-m", "sfss", "objects", "--port", 0)

    def __init__(self, home: Path, *flags: object, key: str = "", cpu: int | None = None):
        super().__init__("--data", home, *flags, cpu=cpu)
        self.home = home
        self.key = key or self.wait_for_line(r"User main:admin, key ([0-9a-f]+)")[1]


#: Begins a command that root runs with the rights of an ordinary user over what others own: root may
#: otherwise enter every folder and read every file.
WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


class PlainUsersNode(SfssNode):
    """A node that may not enter what other users have shut."""

    command = (*WITHOUT_PRIVILEGES, *SfssNode.command)


class PlainUsersSfss(Sfss):
    command = (*WITHOUT_PRIVILEGES, *Sfss.command)


class KilledNode(SfssNode):
    """A node that ends itself (kill -9) when it has reached *step* for the *number*-th time."""

    def __init__(self, home: Path, step: str, number: int, *flags: object, port: int = 0):
        self.command = (sys.executable, "-m", "tests.killed_node", step, number)
        super().__init__(home, "--host", "127.0.0.1", *flags, port=port)


def bash(script: str, cwd: Path | None = None, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run the commands of a document as they stand, in *cwd*; ``sfss`` is the one of here. *variables*: of the
    environment, beside those that there are.
    """
    environment = {**os.environ, "PATH": f"{ROOT / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env=environment | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        timeout=60,
    )
