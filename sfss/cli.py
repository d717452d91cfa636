"""The ``sfss`` command: serves, and works against a running server.

The only place that wires the floors together.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from sfss import __version__, logs, node_cli, transfers
from sfss.admission import Admission
from sfss.allocator import keep_large_blocks
from sfss.client import DEFAULT_URL, Client
from sfss.credentials import Credentials
from sfss.errors import SettingsError, SfssError
from sfss.memcache.proxy import Limits
from sfss.node_settings import NodeSettings
from sfss.panel import Panel
from sfss.service import FileService
from sfss.settings import (
    CONFIG_VARIABLE,
    ENVIRONMENT_PREFIX,
    FIELDS,
    TOKEN_VARIABLE,
    Settings,
    fields_of,
    load,
    split_address,
)
from sfss.signing import METHODS
from sfss.stores.base import Store
from sfss.stores.directory import DirectoryStore
from sfss.stores.proxies import ProxyStore
from sfss.stores.sqlite import SqliteStore
from sfss.web.exposure import open_doors, warn_of
from sfss.web.gateway import make_runner

try:
    import uvloop
except ImportError:  # it does not exist for every platform
    uvloop = None

log = logging.getLogger("sfss")

#: Variables that gunicorn reads, some as soon as it is imported; its options are none of ours.
_OF_GUNICORN = ("WEB_CONCURRENCY", "GUNICORN_PID", "GUNICORN_FD", "SENDFILE")

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 if something failed, 2 if it was called wrong."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")
    if command == "node":
        return _reported(lambda: _be_a_node(options))
    if command is not None and (server_options := options.keys() & {*FIELDS, "config"}):
        flags = ", ".join("--" + name.replace("_", "-") for name in sorted(server_options))
        parser.error(f"{flags}: that is for the server, and does not go with {command!r}")
    return _reported(lambda: _do(command, options))


def _do(command: str | None, options: dict[str, Any]) -> int:
    if command is None:
        config = options.pop("config", None)
        return _serve(partial(load, options, config=config))
    client = Client(
        options.pop("url"),
        token=os.environ.get(TOKEN_VARIABLE),
        connections=options.get("parallel", 1),
    )
    return _run(transfers.COMMANDS[command](client, **options))


def _be_a_node(options: dict[str, Any]) -> int:
    what, config = options.pop("what"), options.pop("config", None)
    if options.pop("verbose"):
        options["log_level"] = "debug"
    load_settings = partial(load, options, config=config, kind=NodeSettings)
    return _run(node_cli.serve(load_settings) if what == "serve" else node_cli.verify(load_settings))


def _reported(function: Callable[[], int]) -> int:
    """The exit code of *function*; what goes wrong is told."""
    try:
        return function()
    except SettingsError as error:
        print(f"sfss: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (SfssError, OSError) as error:
        print(f"sfss: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(coroutine) -> int:
    if uvloop is not None:
        return uvloop.run(coroutine)
    return asyncio.run(coroutine)


# Serving.


def make_store(settings: Settings) -> Store:
    """The store that the settings ask for, not yet started."""
    if settings.store:
        folder = settings.store.removeprefix("directory:")
        return DirectoryStore(
            Path(folder),
            max_file_size=settings.max_file_size,
            request_timeout=settings.request_timeout,
        )
    if not settings.proxy:
        return SqliteStore(Path(settings.data), request_timeout=settings.request_timeout)
    return ProxyStore(
        [split_address(address) for address in settings.proxy],
        limits=Limits(
            settings.connections, settings.connect_timeout, settings.operation_timeout
        ),
        request_timeout=settings.request_timeout,
        nodes=[split_address(address) for address in settings.node],
        hedge_share=settings.hedge_share,
    )


def _serve(load_settings: Callable[[], Settings]) -> int:
    """Serve until SIGTERM or SIGINT, then end what is under way."""
    for variable in _OF_GUNICORN:
        os.environ.pop(variable, None)
    if not os.environ.get("LISTEN_PID", "0").isdigit():
        del os.environ["LISTEN_PID"]
    from sfss import workers  # now that gunicorn finds nothing there

    settings = load_settings()
    logs.set_up(settings.log_level)
    keep_large_blocks()
    return workers.run(settings, load_settings, _check, _make_runner)


def _check(settings: Settings) -> str:
    """See that a worker could serve with *settings*; what it would keep files in, for the log."""
    credentials = Credentials.of(settings)
    if credentials.read_tokens and not (credentials.write_tokens or settings.allow_writes_from):
        log.warning("reads need a token, and everybody may write: there is no write_token")
    warn_of(open_doors(settings, credentials))
    store = make_store(settings)
    store.prepare()
    return store.description


async def _make_runner(settings: Settings, panel: Panel) -> web.AppRunner:
    """All that one worker serves with."""
    store = make_store(settings)
    await store.start()
    service = FileService(
        store,
        max_file_size=settings.max_file_size,
        admission=Admission(settings.max_bytes_in_flight, settings.admission_timeout),
    )
    runner = make_runner(service, settings, Credentials.of(settings), panel)

    async def close_store(app: web.Application) -> None:
        await store.close()

    runner.app.on_cleanup.append(close_store)
    return runner


# The command line.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sfss",
        description="A small-file storage service. Without a command it serves.",
        epilog=f"Each setting may also stand in a TOML file (port = 8255) or in the environment "
        f"({ENVIRONMENT_PREFIX}PORT=8255); flags win over the environment, and that over the file.",
    )
    parser.add_argument("--version", action="version", version=f"sfss {__version__}")
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"TOML file with settings (default: ${CONFIG_VARIABLE})",
    )
    settings = parser.add_argument_group("settings of the server")
    for name, part in FIELDS.items():
        _add_setting(settings, name, part)

    commands = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        title="commands",
        description=f"If the server wants a token, set {TOKEN_VARIABLE}.",
    )
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument("--url", default=DEFAULT_URL, help="the server (default: %(default)s)")
    many = argparse.ArgumentParser(add_help=False, parents=[server])
    many.add_argument(
        "--parallel", type=_positive, default=16, metavar="N",
        help="how many at once (default: %(default)s)",
    )

    put = commands.add_parser("put", parents=[many], help="upload files")
    put.add_argument("files", nargs="+", metavar="FILE")
    put.add_argument("--to", default="", metavar="PREFIX", help="folder to put them under")
    put.add_argument(
        "-r", "--recursive", action="store_true", help="upload folders with all that is in them"
    )
    get = commands.add_parser("get", parents=[many], help="download files")
    get.add_argument("paths", nargs="+", metavar="PATH")
    get.add_argument(
        "-o", "--output", default=".", metavar="FOLDER",
        help="folder to keep them in, each under its path; - is standard output (default: .)",
    )
    node = commands.add_parser(
        "node",
        help="be one of several nodes that keep all files",
        description="Be a node: keep every file that any of the nodes is given.",
    )
    node.add_argument(
        "what", nargs="?", choices=("serve", "verify"), default="serve",
        help="verify: read every file again, heal what is damaged, and compare with the other nodes",
    )
    node.add_argument(
        "--config", metavar="FILE", default=argparse.SUPPRESS,
        help=f"TOML file with settings (default: ${CONFIG_VARIABLE})",
    )
    node.add_argument(
        "-v", "--verbose", action="store_true", help="log everything (--log-level debug)"
    )
    for name, part in fields_of(NodeSettings).items():
        _add_setting(node, name, part)
    rm = commands.add_parser("rm", parents=[many], help="delete files")
    rm.add_argument("paths", nargs="+", metavar="PATH")
    status = commands.add_parser("status", parents=[server], help="show the figures of the server")
    status.add_argument("--full", action="store_true", help="of the nodes and the web server")
    sign = commands.add_parser("sign", parents=[server], help="print a signed URL of a file")
    sign.add_argument("path", metavar="PATH")
    sign.add_argument("--method", choices=METHODS, default="GET", help="(default: %(default)s)")
    sign.add_argument(
        "--lifetime", type=float, default=3600.0, metavar="SECONDS", help="(default: %(default)g)"
    )
    sign.add_argument("--limit", type=int, metavar="BYTES", help="the most that may be put")
    sign.add_argument(
        "--key-file", metavar="FILE",
        help=f"file with the server's key (default: what ${transfers.KEY_VARIABLE} says)",
    )
    return parser


def _add_setting(group: Any, name: str, part: Any) -> None:
    flags = ["--" + name.replace("_", "-")]
    if part.metadata["short"]:
        flags.append(part.metadata["short"])
    help = part.metadata["help"].replace("%", "%%")
    if part.type is bool:
        group.add_argument(
            *flags,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=f"{help} (default: {'yes' if part.default else 'no'})",
        )
        return
    many = part.type not in (int, float, str)
    group.add_argument(
        *flags,
        type=str if many else part.type,
        action=_Repeated if many else "store",
        metavar=part.metadata["unit"],
        default=argparse.SUPPRESS,
        help=help if many or part.default == "" else f"{help} (default: {part.default})",
    )


class _Repeated(argparse.Action):
    """Collects the values of a flag that is given several times into a tuple."""

    def __call__(self, parser, namespace, value, option_string=None):
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), value))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number
