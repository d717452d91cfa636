"""HTTP clients for sfss, for asyncio and without it::

    async with Client("http://127.0.0.1:8255") as client:
        await client.put("avatars/ann.png", content)
        content = await client.get("avatars/ann.png")
        page = await client.list_page("avatars/")

    with SyncClient("http://127.0.0.1:8255") as client:
        client.put("avatars/ann.png", content)

Both speak to gateways and to nodes, and have the same operations. See :class:`sfss.client.base.BaseClient`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sfss.client.values import OF_THE_SERVER, Listed, Page, ServerUnreachable, Stored, UnexpectedAnswer
from sfss.models import DEFAULT_URL, SERVERS

if TYPE_CHECKING:
    from sfss.client.client import Client
    from sfss.client.sync_client import SyncClient

__all__ = [
    "DEFAULT_URL",
    "OF_THE_SERVER",
    "SERVERS",
    "Client",
    "Listed",
    "Page",
    "ServerUnreachable",
    "Stored",
    "SyncClient",
    "UnexpectedAnswer",
]


def __getattr__(name: str) -> Any:
    """The clients, when they are first named: who uses one need not wait for the HTTP library of the other."""
    modules = {"Client": "sfss.client.client", "SyncClient": "sfss.client.sync_client"}
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(modules[name]), name)
