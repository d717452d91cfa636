"""An HTTP client for sfss, for asyncio::

    async with Client("http://127.0.0.1:8255") as client:
        await client.put("avatars/ann.png", content)
        content = await client.get("avatars/ann.png")
        page = await client.list_page("avatars/")

It speaks to gateways and to nodes. See :class:`sfss.client.client.Client`.
"""

from sfss.client.client import Client
from sfss.client.values import OF_THE_SERVER, Listed, Page, ServerUnreachable, Stored, UnexpectedAnswer
from sfss.models import DEFAULT_URL, SERVERS

__all__ = [
    "DEFAULT_URL",
    "OF_THE_SERVER",
    "SERVERS",
    "Client",
    "Listed",
    "Page",
    "ServerUnreachable",
    "Stored",
    "UnexpectedAnswer",
]
