"""Real databases, one after the other under the same tests."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.programs import Program, free_port


class Router:
    """Sends all queries to the database that the test has chosen."""

    alias = "default"

    def db_for_read(self, model, **hints):
        return Router.alias

    db_for_write = db_for_read


class MariaDB:
    """Where it is installed, with ``mysqlclient`` (.ci/run does without: its driver has to be compiled)."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sfss-mariadb-"))
        self.folder.chmod(0o777)
        self.port = free_port()
        own = [f"--datadir={self.folder}/data", f"--user={'mysql' if os.geteuid() == 0 else os.getlogin()}"]
        made = Program(
            ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", *own], cwd="/"
        )
        assert made.process.wait(60) == 0, made.printed()
        socket = f"--socket={self.folder}/socket"
        self._program = Program(
            [shutil.which("mariadbd"), "--no-defaults", *own, socket, f"--port={self.port}"]
            + ["--bind-address=127.0.0.1", "--character-set-server=utf8mb4"],
            cwd="/",
        )
        self._program.wait_for_line("ready for connections")
        script = (
            "CREATE DATABASE sfss; CREATE USER sfss; GRANT ALL ON sfss.* TO sfss; DROP USER ''@localhost;"
        )
        subprocess.run(["mariadb", "--no-defaults", "-uroot", socket, "--force", "-e", script], check=False)

    @property
    def settings(self) -> dict:
        return {
            "ENGINE": "django.db.backends.mysql",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "USER": "sfss",
            "NAME": "sfss",
            "OPTIONS": {"charset": "utf8mb4"},
        }

    def stop(self) -> None:
        self._program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def has_mariadb() -> bool:
    return shutil.which("mariadbd") is not None and importlib.util.find_spec("MySQLdb") is not None
