"""Real databases, one after the other under the same tests."""

import importlib.util
import os
import pwd
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


class Postgres:
    """A server of its own, as an ordinary user: PostgreSQL refuses to be run by root."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sfss-postgres-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        home = self.folder / "data"
        as_user = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
        made = Program(
            [*as_user, _program("initdb"), "-D", home, "-A", "trust", "-U", "sfss", "-E", "UTF8"], cwd="/"
        )
        assert made.process.wait(60) == 0, made.printed()
        self._program = Program(
            [*as_user, _program("postgres"), "-D", home, "-p", self.port, "-k", self.folder]
            + ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
            cwd="/",
        )
        self._program.wait_for_line("ready to accept connections")

    @property
    def settings(self) -> dict:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "USER": "sfss",
            "NAME": "postgres",
        }

    def stop(self) -> None:
        self._program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


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


def _program(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def has_postgres() -> bool:
    return _program("initdb") is not None
