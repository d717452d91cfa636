"""A PostgreSQL database, asked by several connections, and what its errors mean.

What a call has changed is on disk when it returns: synchronous_commit is on
(https://www.postgresql.org/docs/current/wal-async-commit.html). What was read on a connection that broke is read once
more. A change is not: nobody knows then whether it has happened. Nobody waits for longer than the timeout.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

try:
    import asyncpg
except ModuleNotFoundError:  # of the extra "postgresql"
    asyncpg = None

from sfss.errors import (
    InvalidRequest,
    NoStoreAvailable,
    SettingsError,
    SfssError,
    StoreFull,
    StoreRefused,
    StoreUnusable,
)

log = logging.getLogger("sfss.objects")

#: Connections of one process.
_MOST = 8
_NAME = "sfss objects"
#: Which tables these are.
_VERSION = "1"
#: A table that was added later, with what belongs to it.
_ADDED = "SELECT to_regclass('sfss.part_checksums')"
#: Of the lock under which the tables are made.
_LOCK = 0x5346534F
#: What it raises. (TimeoutError is an OSError; ValueError: of a URL that is none.)
_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError)
if asyncpg is not None:
    _ERRORS = (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
        ValueError,
    )
_ON_DISK = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)


def _script(name: str) -> str:
    return files("sfss.objects").joinpath(name).read_text("utf-8")


class Postgres:
    """The database at *url*. *timeout*: seconds that a call may take."""

    def __init__(self, url: str, timeout: float):
        if asyncpg is None:
            raise SettingsError("--catalog postgresql://… needs asyncpg: pip install sfss[postgresql]")
        self.description = without_password(url)
        self._url = url
        self._timeout = timeout
        self._pool: Any = None
        self._is_there = True

    @asynccontextmanager
    async def _connected(self, **settings: str) -> AsyncIterator[Any]:
        """A connection beside the pool. :raises StoreUnusable: whatever goes wrong with it."""
        try:
            async with asyncio.timeout(max(self._timeout, 10.0)):
                connection = await asyncpg.connect(self._url, server_settings=settings)
                try:
                    yield connection
                finally:
                    await connection.close()
        except _ERRORS as error:
            raise StoreUnusable(f"Cannot use {self.description}: {_said(error)}.") from error

    async def prepare(self) -> None:
        """Make the tables if they are not there. :raises StoreUnusable:"""
        async with self._connected(application_name=_NAME) as connection:
            await self._make_tables(connection)

    async def _make_tables(self, connection: Any) -> None:
        encoding = await connection.fetchval("SHOW server_encoding")
        if encoding != "UTF8":
            raise StoreUnusable(f"{self.description} has the encoding {encoding}: make a database with UTF8.")
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if await connection.fetchval("SELECT to_regclass('sfss.state')") is None:
                await connection.execute("CREATE SCHEMA IF NOT EXISTS sfss")
                await connection.execute(_script("postgres_schema.sql"))
                await connection.execute("INSERT INTO sfss.state VALUES ('version', $1)", _VERSION)
            version = await connection.fetchval("SELECT value FROM sfss.state WHERE name = 'version'")
            if version == _VERSION and await connection.fetchval(_ADDED) is None:
                await connection.execute(_script("postgres_addition.sql"))
        if version != _VERSION:
            raise StoreUnusable(
                f"{self.description} has the tables of another release of sfss (version {version})."
            )

    async def start(self) -> None:
        """Raises as :meth:`prepare` does."""
        await self.prepare()
        try:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,  # else it would say in the log, each second, that it has none
                max_size=_MOST,
                max_inactive_connection_lifetime=0,
                server_settings={
                    "application_name": _NAME,
                    "default_transaction_isolation": "read committed",
                },
                init=_on_disk,
                reset=_as_it_is,
            )
            await self._pool.release(await self._pool.acquire())
        except _ERRORS as error:
            raise StoreUnusable(f"Cannot use {self.description}: {_said(error)}.") from error

    async def close(self) -> None:
        if self._pool is not None:
            try:
                async with asyncio.timeout(5.0):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    async def count_others(self) -> int:
        """How many connections of this service to the database there are, whichever machine they come from."""
        async with self._connected() as connection:
            found: int = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
                _NAME,
            )
        return found

    async def value(self, query: str, *arguments: Any) -> Any:
        """The first column of the first row, or None. Raises as :meth:`rows` does."""
        row = await self.row(query, *arguments)
        return None if row is None else row[0]

    async def row(self, query: str, *arguments: Any) -> Any:
        """The first row, or None. Raises as :meth:`rows` does."""
        return await self._ask("fetchrow", query, *arguments)

    async def rows(self, query: str, *arguments: Any) -> Any:
        """:raises NoStoreAvailable: :raises StoreRefused: :raises StoreFull:
        :raises InvalidRequest: if an argument has characters that PostgreSQL has not.
        """
        return await self._ask("fetch", query, *arguments)

    async def change(self, query: str, *arguments: Any) -> Any:
        """The first column of the first row that *query* returns, which changes something. Raises as :meth:`rows`."""
        return await self._settled(lambda connection: connection.fetchval(query, *arguments), again=False)

    async def _ask(self, method: str, query: str, *arguments: Any) -> Any:
        """On a connection; once more on another one, if that one has broken."""
        return await self._settled(lambda connection: getattr(connection, method)(query, *arguments))

    async def within(self, action: Any) -> Any:
        """What *action* returns of a connection, in a transaction."""

        async def ask(connection: Any) -> Any:
            async with connection.transaction():
                return await action(connection)

        return await self._settled(ask, again=False)

    async def _on_a_connection(self, ask: Any) -> Any:
        async with self._pool.acquire() as connection:
            try:
                return await ask(connection)
            except (asyncpg.InternalClientError, asyncio.CancelledError):
                # Nobody knows what state it is in (seen when the server had said that it ends it), or whether the
                # server would answer a question to give up.
                connection.terminate()
                raise

    async def _settled(self, ask: Any, *, again: bool = True) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                try:
                    found = await self._on_a_connection(ask)
                except _ERRORS as error:
                    if not again or not _may_pass(error):
                        raise
                    found = await self._on_a_connection(ask)
        except TimeoutError:
            self._note("no answer in time")
            raise NoStoreAvailable("The catalog did not answer in time.") from None
        except _ERRORS as error:
            raise self._meant(error) from error
        if not self._is_there:
            self._is_there = True
            log.info("the catalog answers again", extra={"catalog": self.description})
        return found

    def _meant(self, error: BaseException) -> SfssError:
        """What our callers understand."""
        if isinstance(error, asyncpg.DataError | asyncpg.CharacterNotInRepertoireError):
            return InvalidRequest("A name has characters that the catalog cannot have.")
        if isinstance(error, asyncpg.DiskFullError):
            log.error("the catalog is full", extra={"catalog": self.description, "reason": _said(error)})
            return StoreFull("The catalog's disk is full.")
        if _may_pass(error):
            self._note(_said(error))
            return NoStoreAvailable("The catalog cannot be reached.")
        log.error("the catalog refused", extra={"catalog": self.description, "reason": _said(error)})
        return StoreRefused(f"The catalog refused: {_said(error)}.")

    def _note(self, reason: str) -> None:
        """Once for each outage."""
        if self._is_there:
            self._is_there = False
            log.error("the catalog cannot be reached", extra={"catalog": self.description, "reason": reason})


async def _on_disk(connection: Any) -> None:
    await connection.execute(_ON_DISK)


async def _as_it_is(connection: Any) -> None:
    """Nothing is left on a connection that the next one would have to be protected from: no round trip for that."""


def _may_pass(error: BaseException) -> bool:
    """Whether asking again, here or later, may help: a connection that broke, a server that starts or stands by."""
    passing = (
        OSError,
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.TransactionRollbackError,
        asyncpg.ReadOnlySQLTransactionError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    )
    return isinstance(error, passing) and not isinstance(error, asyncpg.DataError | asyncpg.DiskFullError)


def _said(error: BaseException) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__


def without_password(url: str) -> str:
    """As it may stand in a log."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    query = parts.query if "password" not in parts.query.lower() else ""
    return f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}" + (f"?{query}" if query else "")
