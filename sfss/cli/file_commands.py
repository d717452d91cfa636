"""The commands that work with a running server: what is called for each."""

import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from sfss.cli import copies, looks, transfers
from sfss.client import Client
from sfss.config.sources import TOKEN_VARIABLE


def run(command: str, options: dict[str, Any]) -> Coroutine[Any, Any, int]:
    """What does *command*, and returns its exit code. It consumes the *options*."""
    url = options.pop("url")
    settings = {
        "ca_file": options.pop("cafile"),
        "server": options.pop("server"),
        "retry_for": options.pop("retry_for"),
        "connections": max(options.get("parallel", 1), 16),
    }
    token = os.environ.get(TOKEN_VARIABLE)

    def make_client(where: str, other_token: str | None = None) -> Client:
        return Client(where, token=other_token or token, **settings)

    if command in ("sync", "mirror"):
        return copies.sync(make_client, **options, url=url, servers_only=command == "mirror")
    return _COMMANDS[command](make_client(url), **options)


async def _get(client: Client, paths: list[str], output: str, recursive: bool, parallel: int) -> int:
    if recursive:
        return await copies.fetch(client, paths, output)
    return await transfers.get(client, paths, output, parallel)


async def _rm(client: Client, paths: list[str], recursive: bool, yes: bool, parallel: int) -> int:
    if recursive:
        return await copies.remove(client, paths, ask=not yes)
    return await transfers.rm(client, paths, parallel)


_COMMANDS: dict[str, Callable[..., Coroutine[Any, Any, int]]] = {
    "put": transfers.put,
    "get": _get,
    "rm": _rm,
    "cat": partial(transfers.get, output="-", parallel=1),
    "ls": looks.ls,
    "stat": looks.stat,
    "du": looks.du,
    "status": transfers.status,
    "sign": transfers.sign,
}
