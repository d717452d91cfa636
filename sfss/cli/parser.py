"""What the command line may say: made of the settings, and of what each command takes."""

import argparse
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from sfss import __version__
from sfss.beansdb.marks import LEAST_AGE
from sfss.cli.arguments import Parser, Repeated, add_config, add_settings, positive
from sfss.cli.file_parsers import add_file_commands
from sfss.compiled import kind
from sfss.config.gateway import FIELDS
from sfss.config.node import NodeSettings
from sfss.config.objects import ObjectSettings
from sfss.config.server import ServerSettings, fields_of
from sfss.config.sources import ENVIRONMENT_PREFIX

#: Those of ``sfss beansdb``, too.
OF_BEANSDB = ("beansdb", "beansdb_route", "beansdb_quorum", "connect_timeout", "operation_timeout")
#: Those of the commands of ``sfss objects``.
OF_OBJECTS = ("data", "catalog", "store", "proxy", "max_file_size", *OF_BEANSDB[:3])
#: Those of the server that ``sfss objects`` does not have.
NOT_OF_OBJECTS = frozenset(
    ("listing", "inline_active", "gzip_texts", "cache_control", "migrate_from", "signing_key")
    + ("signing_key_file", "write_token", "write_token_file", "read_token", "read_token_file")
)
#: Those that can complete the command.
SHELLS = ("bash", "zsh", "tcsh")
#: The settings of the server as ``--help`` shows them.
GROUPS = {
    "where it listens": ("host", "port", "workers", "ssl", "sslcert", "sslkey"),
    "where files are kept": ("data", "data_cache", "store", "migrate_from", "proxy", "node")
    + ("beansdb", "beansdb_route", "beansdb_copies", "beansdb_quorum", "beansdb_body_big")
    + ("connections", "connect_timeout")
    + ("operation_timeout", "request_timeout", "hedge_share"),
    "limits": ("max_file_size", "max_bytes_in_flight", "admission_timeout", "header_timeout")
    + ("upload_timeout", "send_timeout", "keepalive_timeout", "drain_timeout"),
    "who may do what": ("write_token", "write_token_file", "read_token", "read_token_file")
    + ("allow_writes_from", "trust_forwarded_from", "allow_host", "cors_origin")
    + ("signing_key", "signing_key_file"),
    "how files are served": ("inline_active", "gzip_texts", "cache_control", "listing"),
    "page and log": ("page", "page_uploads", "access_log", "log_level"),
}


def check_flags(
    parser: argparse.ArgumentParser,
    fields: Mapping[str, Any],
    arguments: Sequence[str],
    words: Sequence[str] = (),
) -> None:
    """End with an error that names it, if there is a flag before the command that is none of *fields*.

    (argparse would take what stands behind it for the command, and blame that.) *words*: that are no
    command.
    """
    flags = {"--config": True, "--help": False, "-h": False, "--version": False}
    flags |= {"--verbose": False, "-v": False}
    for name, part in fields.items():
        flag = name.replace("_", "-")
        flags[f"--{flag}"] = part.type is not bool
        if part.type is bool:
            flags[f"--no-{flag}"] = False
        if part.metadata["short"]:
            flags[part.metadata["short"]] = True
    left = iter(arguments)
    for argument in left:
        if argument in words:
            continue
        if not argument.startswith("-"):
            return  # the command; what comes then is its own
        flag, has_value, _ = argument.partition("=")
        if flag not in flags and (flag.startswith("--") or flag[:2] not in flags):
            close = difflib.get_close_matches(flag, flags, n=1, cutoff=0.7)
            parser.error(f"there is no flag {flag}" + (f"; did you mean {close[0]}?" if close else ""))
        if flags.get(flag) and not has_value:
            next(left, None)


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="sfss",
        usage="sfss [--SETTING VALUE ...]    serve files\n       sfss COMMAND ...",
        description="A small-file storage service. Without a command it serves.",
        epilog=f"Each setting may also stand in a TOML file (port = 8255) or in the environment "
        f"({ENVIRONMENT_PREFIX}PORT=8255); flags win over the environment, and that over the file.",
        add_help=False,
    )
    commands = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        prog="sfss",
        title="commands",
        description="sfss COMMAND --help tells more of each.",
    )
    general = parser.add_argument_group("in general")
    general.add_argument("-h", "--help", action="help", help="show this, and end")
    general.add_argument("--version", action="version", version=f"sfss {__version__} ({kind()})")
    add_config(general)
    add_settings(parser, FIELDS, GROUPS)

    add_file_commands(commands)
    _add_node(commands)
    _add_beansdb(commands)
    _add_objects(commands)

    folder = Parser(add_help=False)
    folder.add_argument(
        "--data",
        metavar="FOLDER",
        default=argparse.SUPPRESS,
        help=f"folder of the embedded store (default: $SFSS_DATA, or {FIELDS['data'].default})",
    )
    backup = commands.add_parser(
        "backup",
        parents=[folder],
        help="copy the embedded store, while a server runs over it",
        description="Make one consistent copy of the embedded store, read it again, and put it on disk.",
    )
    backup.add_argument("target", metavar="TARGET", help="the file to make")
    restored = commands.add_parser(
        "restore",
        parents=[folder],
        help="make a copy the embedded store again; no server may run over it",
        description="Make a copy of the embedded store the store again. It is read from beginning to end first.",
    )
    restored.add_argument("source", metavar="SOURCE", help="the file that sfss backup has made")
    completion = commands.add_parser(
        "completion",
        help="print what makes a shell complete this command",
        epilog='In bash and zsh: eval "$(sfss completion bash)", in a file that the shell reads when it begins.',
    )
    completion.add_argument("shell", choices=SHELLS, metavar="SHELL", help=" or ".join(SHELLS))
    restored.add_argument("--replace", action="store_true", help="put a store that is there already aside")
    return parser


def _add_node(commands: Any) -> None:
    node = commands.add_parser(
        "node",
        help="be one of several nodes that keep all files",
        usage="sfss node [serve|verify] [--SETTING VALUE ...]",
        description="Be a node: keep every file that any of the nodes is given.",
    )
    node.add_argument(
        "what",
        nargs="?",
        choices=("serve", "verify"),
        default="serve",
        help="verify: read every file again, heal what is damaged, and compare with the other nodes",
    )
    add_config(node)
    node.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="log everything (--log-level debug); without it, only warnings and errors",
    )
    fields, common = fields_of(NodeSettings), fields_of(ServerSettings)
    own = {"the node": [name for name in fields if name not in common]}
    shared = {title: [n for n in names if n in common] for title, names in GROUPS.items()}
    add_settings(node, fields, own | {title: names for title, names in shared.items() if names})


def _add_beansdb(commands: Any) -> None:
    command = commands.add_parser(
        "beansdb",
        help="look after the Beansdb nodes that files are kept in",
        description="Look after a cluster of Beansdb nodes, while gateways serve from it or not.",
    )
    cluster = Parser(add_help=False)
    add_config(cluster)
    add_settings(cluster, FIELDS, {"the nodes": OF_BEANSDB})
    whats = command.add_subparsers(dest="what", required=True, metavar="COMMAND", parser_class=Parser)

    def add(what: str, help: str, **options: Any) -> Parser:
        added: Parser = whats.add_parser(what, parents=[cluster], help=help, description=help, **options)
        return added

    for what, help in (("status", "how each node is"), ("ls", "the paths of all files, in no order")):
        add(what, help).add_argument("--json", action="store_true", help="for programs")
    add("verify", "where the nodes differ; changes nothing")
    add("repair", "make the nodes alike, and trusted")
    purge = add(
        "purge",
        "let old tombstones go: afterwards each node is emptied in turn",
        epilog="docs/beansdb.rst says how to go on.",
    )
    purge.add_argument(
        "--older-than",
        type=_days,
        default=30,
        metavar="DAYS",
        help=f"of what was deleted before that, at least {LEAST_AGE} (default: %(default)s)",
    )
    move = add("move", "other nodes for the cluster or its buckets, while it serves")
    move.add_argument(
        "--to", action=Repeated, default=(), metavar="HOST:PORT", help="one of the nodes afterwards"
    )
    move.add_argument("--to-route", default="", metavar="FILE", help="or all of them: a route.yaml")
    move.add_argument(
        "--left", action=Repeated, default=(), metavar="HOST:PORT", help="this one was stopped for good"
    )
    move.add_argument(
        "--finish", action="store_true", help="the last step, when all gateways have the new route"
    )
    move.add_argument(
        "--cancel", action="store_true", help="take back what has begun, before the new nodes count"
    )


def _add_objects(commands: Any) -> None:
    objects = commands.add_parser(
        "objects",
        help="containers and objects, for clients of Swift and S3",
        usage="sfss objects [--SETTING VALUE ...]    serve them\n       sfss objects COMMAND ...",
        description="An object service over any of the stores: containers, metadata, large objects.",
    )
    fields = fields_of(ObjectSettings)
    place = Parser(add_help=False)
    add_config(place)
    add_settings(place, fields, {"where they are": OF_OBJECTS})
    add_config(objects)
    own: dict[str, Sequence[str]] = {
        "the objects": ("catalog", "accounts", "url", "s3_domain", "keep_deleted", "token_lifetime")
    }
    others = {
        title: [name for name in names if name not in NOT_OF_OBJECTS] for title, names in GROUPS.items()
    }
    add_settings(objects, fields, own | others)
    whats = objects.add_subparsers(dest="what", metavar="COMMAND", parser_class=Parser, prog="sfss objects")
    user = whats.add_parser("user", help="who may come in")
    hows = user.add_subparsers(
        dest="how", required=True, metavar="COMMAND", parser_class=Parser, prog="sfss objects user"
    )
    for how, help in (
        ("add", "a new user, and an account if it is not there"),
        ("list", "all users, without their keys"),
        ("rotate", "another key; tokens for the old one end"),
        ("disable", "the user may not come in any more"),
        ("enable", "the user may come in again"),
    ):
        parser = hows.add_parser(how, parents=[place], help=help, description=help)
        if how != "list":
            parser.add_argument("user", metavar="ACCOUNT:USER")
        if how in ("add", "rotate"):
            parser.add_argument("--key", metavar="KEY", help="the key (default: a new one)")
        if how == "add":
            parser.add_argument("--read-only", action="store_true", help="it may change nothing")
        if how in ("add", "list", "rotate"):
            parser.add_argument("--json", action="store_true", help="for programs")
    usage = whats.add_parser("usage", parents=[place], help="what each account has")
    usage.add_argument("--json", action="store_true", help="for programs")
    fsck = whats.add_parser("fsck", parents=[place], help="whether all contents are there, and nothing else")
    fsck.add_argument("--repair", action="store_true", help="have removed what no object has")
    fsck.add_argument(
        "--idle", action="store_true", help="nobody writes now: look at what is younger than a day, too"
    )


def _days(text: str) -> int:
    number = positive(text)
    if number < LEAST_AGE:
        raise argparse.ArgumentTypeError(f"{number} days are too few: what is late could come back")
    return number
