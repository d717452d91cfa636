"""The ``sfss`` command: serves, and works against a running server.

Reads the command line, and calls what it asks for. What a command needs is imported when it is asked for: all of it
together takes half a second.
"""

import argparse
import asyncio
import io
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from sfss.cli.arguments import EXIT_USAGE, Parser
from sfss.cli.parser import OF_BEANSDB, check_flags, make_parser
from sfss.config.gateway import FIELDS
from sfss.config.node import NodeSettings
from sfss.config.objects import ObjectSettings
from sfss.config.server import fields_of
from sfss.config.sources import load
from sfss.errors import SettingsError, SfssError

try:
    import uvloop
except ImportError:  # it does not exist for every platform
    uvloop = None  # type: ignore[assignment]

EXIT_FAILED = 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 if something failed, 2 if it was called wrong."""
    try:
        if arguments is None:
            _prepare_streams()
            _use_utf8()
            arguments = sys.argv[1:]
        return _run_command(arguments)
    except KeyboardInterrupt:  # before the command has begun
        return 128 + signal.SIGINT


def _run_command(arguments: list[str]) -> int:
    parser = make_parser()
    if arguments[:1] == ["beansdb"]:
        return _reported(lambda: _look_after_beansdb(vars(parser.parse_args(arguments))))
    if arguments[:1] == ["node"]:
        node = Parser(prog="sfss node", add_help=False)
        check_flags(node, fields_of(NodeSettings), arguments[1:], ("serve", "verify"))
    elif arguments[:1] == ["objects"]:
        check_flags(Parser(prog="sfss objects", add_help=False), fields_of(ObjectSettings), arguments[1:])
    else:
        check_flags(parser, FIELDS, arguments)
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")
    if command == "node":
        return _reported(lambda: _be_a_node(options))
    if command == "objects":
        return _reported(lambda: _do_with_objects(options))
    if command == "completion":
        return _reported(lambda: _complete(parser, options["shell"]))
    is_of_copies = command in ("backup", "restore")
    others = {*FIELDS, "config"} - ({"data"} if is_of_copies else set())
    if command is not None and (server_options := options.keys() & others):
        flags = ", ".join("--" + name.replace("_", "-") for name in sorted(server_options))
        parser.error(f"{flags}: that is for the server, and does not go with {command!r}")
    if is_of_copies:
        options.setdefault("data", os.environ.get("SFSS_DATA") or FIELDS["data"].default)
        return _reported(lambda: _copy(command, options))
    return _reported(lambda: _do(command, options))


def _complete(parser: argparse.ArgumentParser, shell: str) -> int:
    """Print a script for *shell*."""
    import shtab

    print(shtab.complete(parser, shell))
    return 0


def _prepare_streams() -> None:
    """Those that are closed lead nowhere (what is opened next would else be taken for one of them); and what the
    encoding of the terminal does not have is written with backslashes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name) or open(number, "w", closefd=False)  # noqa: SIM115
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)


def _use_utf8() -> None:
    """Names of files are UTF-8, whatever the locale: where Python does not see them so, begin again with one
    that does (https://docs.python.org/3/using/cmdline.html#cmdoption-X).
    """
    if sys.getfilesystemencoding().lower() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _copy(command: str, options: dict[str, Any]) -> int:
    from sfss.cli import backups

    return backups.run_backup(**options) if command == "backup" else backups.run_restore(**options)


def _do(command: str | None, options: dict[str, Any]) -> int:
    if command is None:
        from sfss.cli import gateway

        config = options.pop("config", None)
        return gateway.serve(partial(load, options, config=config))
    from sfss.cli import file_commands

    return _run(file_commands.run(command, options))


def _be_a_node(options: dict[str, Any]) -> int:
    what, config = options.pop("what"), options.pop("config", None)
    if options.pop("verbose"):
        options["log_level"] = "debug"
    load_settings = partial(load, options, config=config, kind=NodeSettings)
    if what == "serve":
        from sfss.cli import node

        return _run(node.serve(load_settings))
    from sfss.cli import verify

    return _run(verify.verify(load_settings))


def _do_with_objects(options: dict[str, Any]) -> int:
    from sfss.cli import objects

    config = options.pop("config", None)
    fields = fields_of(ObjectSettings)
    settings = {name: options.pop(name) for name in list(options) if name in fields}
    load_settings = partial(load, settings, config=config, kind=ObjectSettings)
    if options["what"] is None:
        return objects.serve(load_settings)
    return _run(objects.look_after(load_settings, options))


def _look_after_beansdb(options: dict[str, Any]) -> int:
    from sfss.cli import beansdb_commands

    what, config = options.pop("what"), options.pop("config", None)
    settings = {name: options.pop(name) for name in OF_BEANSDB if name in options}
    del options["command"]
    return _run(beansdb_commands.run(what, partial(load, settings, config=config), options))


def _reported(function: Callable[[], int]) -> int:
    """The exit code of *function*; what goes wrong is told."""
    try:
        code = function()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _let_go_of_output()
        return 128 + signal.SIGPIPE  # who reads it has enough
    except SettingsError as error:
        print(f"sfss: {error}", file=sys.stderr)
        return EXIT_USAGE
    except SfssError as error:
        print(f"sfss: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        _let_go_of_output()
        place = f"{error.filename}: " if error.filename else ""
        print(f"sfss: {place}{error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _let_go_of_output() -> None:
    """What is left of it would be written at the end, and fail once more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _run(coroutine: Coroutine[Any, Any, int]) -> int:
    if uvloop is not None:
        return uvloop.run(coroutine)
    return asyncio.run(coroutine)
