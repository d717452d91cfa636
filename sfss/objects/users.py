"""Who may come in, as the catalog has known it a moment ago: most requests need not ask it.

A user who was there a second ago is let in. So a key that was rotated, or a user who was disabled, ends in a second;
nobody else waits: who does not come in by what is remembered is looked up again (``fresh``).
"""

import time

from sfss.objects.catalog import Catalog
from sfss.objects.models import User

#: Seconds.
LIFETIME = 1.0
_MOST = 10_000


async def all_accounts(catalog: Catalog) -> list[int]:
    """The keys of those that have users."""
    return sorted({user.account for user in await catalog.users()})


class Users:
    """Of *catalog*."""

    def __init__(self, catalog: Catalog):
        self._catalog = catalog
        self._known: dict[str, tuple[float, User]] = {}  # by ACCOUNT:USER, and by access key
        self._accounts: dict[str, int] = {}  # which stay

    async def find(self, key: str, *, fresh: bool = False) -> User | None:
        """*key*: ``ACCOUNT:USER``, or the access key that was made for one."""
        now = time.monotonic()
        if not fresh:
            found = self._known.get(key)
            if found is not None and now < found[0]:
                return found[1]
        account, colon, name = key.partition(":")
        user = await (self._catalog.user(account, name) if colon else self._catalog.user_with(key))
        if user is None:
            self._known.pop(key, None)
            return None
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = (now + LIFETIME, user)
        return user

    async def account_named(self, name: str) -> int | None:
        """Its key."""
        key = self._accounts.get(name)
        if key is None:
            key = await self._catalog.account_named(name)
            if key is not None and len(self._accounts) < _MOST:
                self._accounts[name] = key
        return key
