#!/usr/bin/env python3
"""Three media servers, two application servers and a sender, on loopback, until Ctrl-C."""

import argparse
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Service:
    """A process that is started again when it ends."""

    def __init__(self, name: str, command: list, environment: dict):
        self.name = name
        self._command = [str(part) for part in command]
        self._environment = environment
        self.ended: float | None = None
        self.start()

    def start(self) -> None:
        self.ended = None
        self.process = subprocess.Popen(self._command, cwd=HERE, env=self._environment)
        print(f"{self.name} has process {self.process.pid}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE / "data", help="for all files (default: data)")
    parser.add_argument("--again-after", type=float, default=5.0, metavar="SECONDS", help="(default: 5)")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)

    nodes, applications = [free_port() for _ in range(3)], [free_port() for _ in range(2)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")]),
        "DJANGO_SETTINGS_MODULE": "gallery.settings",
        "EXAMPLE_FOLDER": str(folder),
        "EXAMPLE_HOSTS": ",".join(f"127.0.0.1:{port}" for port in nodes),
        "EXAMPLE_SECRET": secrets.token_hex(16),
    }
    manage = [sys.executable, HERE / "manage.py"]
    subprocess.run([*manage, "migrate", "--verbosity", "0"], cwd=HERE, env=environment, check=True)
    subprocess.run([*manage, "make_admin"], cwd=HERE, env=environment, check=True)

    services = []
    for number, port in enumerate(nodes):
        place = folder / f"node-{number}"
        command = [
            sys.executable,
            "-m",
            "sfss",
            "node",
            "--names",
            "exact",
            "--host",
            "127.0.0.1",
            "--port",
            port,
        ]
        command += ["--storage", place / "storage", "--queue", place / "queue"]
        services.append(Service(f"node {number}", command, environment))
    for number, port in enumerate(applications):
        # Each shows its pictures from another node.
        own = {**environment, "EXAMPLE_MEDIA_URL": f"http://127.0.0.1:{nodes[number]}/media/"}
        command = [*manage, "runserver", "--noreload", f"127.0.0.1:{port}"]
        services.append(Service(f"application {number}", command, own))
    command = [*manage, "process_failed_media", "--forever", "--every", "1"]
    services.append(Service("sender", command, environment))
    for number, port in enumerate(applications):
        wait_for(port)
        print(f"application {number}: http://127.0.0.1:{port}/", flush=True)
    for number, port in enumerate(nodes):
        wait_for(port)
        print(f"node {number}: http://127.0.0.1:{port}/media/", flush=True)
    print("Ready. Ctrl-C ends everything.", flush=True)

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        while True:
            time.sleep(0.2)
            for service in services:
                if service.process.poll() is None:
                    continue
                if service.ended is None:
                    service.ended = time.monotonic()
                    print(f"{service.name} has ended, and is started again soon", flush=True)
                elif time.monotonic() - service.ended > options.again_after:
                    service.start()
    except KeyboardInterrupt:
        for service in services:
            if service.process.poll() is None:
                service.process.terminate()
        for service in services:
            service.process.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing listens on {port}")


if __name__ == "__main__":
    main()
