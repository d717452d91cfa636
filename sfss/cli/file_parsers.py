"""The commands that work with a running server: what the command line may say."""

import os
from typing import Any

from sfss.cli.arguments import Parser, positive
from sfss.config.sources import CA_VARIABLE, KEY_VARIABLE, SOURCE_TOKEN_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE
from sfss.models import DEFAULT_URL, SERVERS
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
            "a folder, http://HOST:PORT/FOLDER, :FOLDER at --url, or s3://BUCKET/FOLDER",
        ),
        (
            "mirror",
            "make a server like another one",
            "http://HOST:PORT/FOLDER, or :FOLDER at --url",
        ),
    ):
        sync = commands.add_parser(
            name,
            parents=[server],
            help=help,
            epilog=f"{TOKEN_VARIABLE} is for both servers, unless {SOURCE_TOKEN_VARIABLE} is set for the first.",
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
        help=f"file with the server's key (default: what ${KEY_VARIABLE} says)",
    )


def _add_parallel(parser: Parser, what: str, default: int) -> None:
    parser.add_argument(
        "--parallel",
        type=positive,
        default=default,
        metavar="N",
        help=f"{what} at once (default: %(default)s)",
    )
