"""The commands that work with a running server: what the command line may say, and what is called then."""

import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from sfss.cli import copies, looks, transfers
from sfss.cli.arguments import Parser, positive
from sfss.client import DEFAULT_URL, SERVERS, Client
from sfss.config.sources import CA_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE
from sfss.signing import METHODS

#: So long a server may be away, once it has answered. Seconds.
RETRY_FOR = 60.0
#: How shells complete the names of files (``shtab.FILE``, which need not be imported for it).
_OF_FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}


def add_file_commands(commands: Any) -> None:
    server = Parser(add_help=False)
    server.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE) or DEFAULT_URL,
        help=f"the server, a gateway or a node (default: ${URL_VARIABLE}, or {DEFAULT_URL}). If it wants a "
        f"token, set {TOKEN_VARIABLE}",
    )
    server.add_argument(
        "--cafile",
        metavar="FILE",
        default=os.environ.get(CA_VARIABLE) or None,
        help=f"certificates (PEM) by which the server's is trusted (default: ${CA_VARIABLE}, or the system's)",
    )
    server.add_argument("--server", choices=SERVERS, help="what the server is (default: that is found out)")
    server.add_argument(
        "--retry-for",
        type=float,
        default=RETRY_FOR,
        metavar="SECONDS",
        help="how long a server that has answered before may be away (default: %(default)g)",
    )
    many = Parser(add_help=False, parents=[server])
    _add_parallel(many, "how many", 16)

    put = commands.add_parser("put", parents=[many], help="upload files")
    put.add_argument("files", nargs="+", metavar="FILE").complete = _OF_FILES
    put.add_argument("--to", default="", metavar="PREFIX", help="folder to put them under")
    put.add_argument("-r", "--recursive", action="store_true", help="upload folders with all that is in them")
    get = commands.add_parser("get", parents=[many], help="download files")
    get.add_argument("paths", nargs="+", metavar="PATH")
    get.add_argument(
        "-o",
        "--output",
        default=".",
        metavar="FOLDER",
        help="folder to keep them in, each under its path; - is standard output (default: .)",
    )
    get.add_argument(
        "-r", "--recursive", action="store_true", help="each PATH is a folder: all that is in it"
    )
    rm = commands.add_parser("rm", parents=[many], help="delete files")
    rm.add_argument("paths", nargs="+", metavar="PATH")
    rm.add_argument("-r", "--recursive", action="store_true", help="each PATH is a folder: all that is in it")
    rm.add_argument("--yes", action="store_true", help="with -r: do not ask")
    cat = commands.add_parser("cat", parents=[server], help="print files")
    cat.add_argument("paths", nargs="+", metavar="PATH")
    ls = commands.add_parser("ls", parents=[server], help="list files")
    ls.add_argument("path", nargs="?", default="", metavar="FOLDER", help="(default: all)")
    ls.add_argument(
        "-l", dest="long", action="store_true", help="sizes and times, where the store knows them"
    )
    ls.add_argument(
        "-r", "--recursive", action="store_true", help="all that is in the folder, and further down"
    )
    stat = commands.add_parser("stat", parents=[server], help="show size, type and ETag of files")
    stat.add_argument("paths", nargs="+", metavar="PATH")
    du = commands.add_parser("du", parents=[server], help="how many files, and bytes, are in each folder")
    du.add_argument("path", nargs="?", default="", metavar="FOLDER", help="(default: all)")
    for parser in (ls, stat, du):
        parser.add_argument("--json", action="store_true", dest="as_json", help="a line of JSON for each")
    for name, help, what in (
        (
            "sync",
            "make a folder or a server like another one",
            "a folder, http://HOST:PORT/FOLDER, or :FOLDER at --url",
        ),
        ("mirror", "make a server like another one", "http://HOST:PORT/FOLDER, or :FOLDER at --url"),
    ):
        sync = commands.add_parser(
            name,
            parents=[server],
            help=help,
            epilog=f"{TOKEN_VARIABLE} is for both servers, unless {copies.SOURCE_TOKEN_VARIABLE} is set for the first.",
        )
        for argument, about in (("source", what), ("target", "another one")):
            added = sync.add_argument(argument, metavar=argument.upper(), help=about)
            added.complete = _OF_FILES
        sync.add_argument("--delete", action="store_true", help="delete in TARGET what is not in SOURCE")
        sync.add_argument("--dry-run", action="store_true", help="say what would be done")
        _add_parallel(sync, "groups of files", 4)
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
        "--key-file",
        metavar="FILE",
        help=f"file with the server's key (default: what ${transfers.KEY_VARIABLE} says)",
    )


def _add_parallel(parser: Parser, what: str, default: int) -> None:
    parser.add_argument(
        "--parallel",
        type=positive,
        default=default,
        metavar="N",
        help=f"{what} at once (default: %(default)s)",
    )


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
