"""PostgreSQL, as Debian has it."""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import tempfile
from pathlib import Path

from tests.programs import Program, free_port


class Postgres:
    """A server of its own, as an ordinary user: PostgreSQL refuses to be run by root."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sfss-postgres-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self._home = self.folder / "data"
        self._as_user = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = [
                "setpriv",
                f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}",
                "--clear-groups",
                "--",
            ]
        command = [
            _program("initdb"),
            "-D",
            self._home,
            "-A",
            "trust",
            "-U",
            "sfss",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        made = Program([*self._as_user, *command], cwd="/")
        assert made.process.wait(60) == 0, made.printed()
        self.start()

    def start(self) -> None:
        self.program = Program(
            [*self._as_user, _program("postgres"), "-D", self._home, "-p", self.port, "-k", self.folder]
            + ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
            cwd="/",
        )
        self.program.wait_for_line("ready to accept connections")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://sfss@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"sfss_{secrets.token_hex(4)}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def run(self, statement: str, url: str = ""):
        """The rows that *statement* returns."""

        import asyncpg  # which the environments of other releases of Django have not

        async def execute():
            connection = await asyncpg.connect(url or self.url())
            try:
                return await connection.fetch(statement)
            finally:
                await connection.close()

        return asyncio.run(execute())

    def stop(self) -> None:
        """At once: with SIGTERM it would wait for its clients to go."""
        self.program.process.send_signal(signal.SIGINT)
        self.program.stop()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def has_postgres() -> bool:
    return _program("initdb") is not None
