"""A catalog in PostgreSQL: its database, and who may come in."""

import asyncio
import base64
import secrets
from collections.abc import Sequence
from typing import Any

from sfss.errors import AlreadyThere, NoSuchUser, StoreUnusable
from sfss.objects.catalog import Catalog
from sfss.objects.clock import now_us
from sfss.objects.models import User
from sfss.objects.postgres import Postgres
from sfss.objects.postgres_statements import TURN, USER
from sfss.objects.rows import user_of


class PostgresUsers(Catalog):
    """In the database at *url* (``postgresql://USER:PASSWORD@HOST/DATABASE``). *timeout*: seconds for a call."""

    def __init__(self, url: str, *, timeout: float):
        self._database = Postgres(url, timeout)
        self.description = self._database.description

    def prepare(self) -> None:
        asyncio.run(self._database.prepare())

    async def check_idle(self) -> None:
        if count := await self._database.count_others():
            raise StoreUnusable(f"{count} connections of a service to {self.description} are open: stop it.")

    async def start(self) -> None:
        await self._database.start()
        self.id = await self._made_once("id", secrets.token_hex(8))

    async def close(self) -> None:
        await self._database.close()

    async def ready(self) -> None:
        await self._database.row("SELECT 1 FROM sfss.state LIMIT 1")

    async def take_turn(self, what: str, interval: float) -> bool:
        now = now_us()
        ours = await self._database.change(TURN, f"turn {what}", str(now), now - int(interval * 1_000_000))
        return bool(ours)

    # Who may come in.

    async def secret(self) -> bytes:
        return bytes.fromhex(await self._made_once("secret", secrets.token_hex(32)))

    async def _made_once(self, name: str, value: str) -> str:
        await self._database.change(
            "INSERT INTO sfss.state VALUES ($1, $2) ON CONFLICT DO NOTHING", name, value
        )
        found: str = await self._database.value("SELECT value FROM sfss.state WHERE name = $1", name)
        return found

    async def user(self, account: str, name: str) -> User | None:
        row = await self._database.row(f"{USER} WHERE accounts.name = $1 AND users.name = $2", account, name)
        return user_of(row) if row else None

    async def user_with(self, access_key: str) -> User | None:
        row = await self._database.row(f"{USER} WHERE access_key = $1", access_key)
        return user_of(row) if row else None

    async def users(self) -> Sequence[User]:
        rows = await self._database.rows(f'{USER} ORDER BY accounts.name COLLATE "C", users.name COLLATE "C"')
        return [user_of(row) for row in rows]

    async def add_user(self, account: str, name: str, key: str, *, read_only: bool) -> User:
        access_key = "SFSS" + base64.b32encode(secrets.token_bytes(10)).decode()

        async def add(connection: Any) -> Any:
            await connection.execute(
                "INSERT INTO sfss.accounts (name, created, metadata) VALUES ($1, $2, '{}') ON CONFLICT DO NOTHING",
                account,
                now_us(),
            )
            return await connection.fetchval(
                "INSERT INTO sfss.users (account, name, key, access_key, read_only, created)"
                " SELECT id, $2, $3, $4, $5, $6 FROM sfss.accounts WHERE name = $1"
                " ON CONFLICT (account, name) DO NOTHING RETURNING account",
                *(account, name, key, access_key, read_only, now_us()),
            )

        number = await self._database.within(add)
        if number is None:
            raise AlreadyThere(f"There is a user {account}:{name} already.")
        return User(number, account, name, key, access_key, 0, read_only)

    async def change_user(
        self,
        account: str,
        name: str,
        *,
        key: str | None = None,
        read_only: bool | None = None,
        disabled: bool | None = None,
    ) -> None:
        changed = await self._database.change(
            "UPDATE sfss.users SET key = coalesce($1, key), disabled = coalesce($2, disabled),"
            " read_only = coalesce($3, read_only), generation = generation + 1"
            " WHERE name = $4 AND account = (SELECT id FROM sfss.accounts WHERE name = $5) RETURNING 1",
            *(key, disabled, read_only, name, account),
        )
        if not changed:
            raise NoSuchUser(f"There is no user {account}:{name}.")

    async def account_named(self, name: str) -> int | None:
        found: int | None = await self._database.value("SELECT id FROM sfss.accounts WHERE name = $1", name)
        return found
