"""What the command lines of all commands have in common."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from sfss.config.sources import CONFIG_VARIABLE

EXIT_USAGE = 2


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where the rest is to be read."""

    def __init__(self, **options: Any):
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **options)
        self.commands: Any = None  #: those below this one: ``choices`` has them by their names

    def add_subparsers(self, **options: Any) -> Any:
        self.commands = super().add_subparsers(**options)
        return self.commands

    def error(self, message: str) -> NoReturn:
        message = message.replace("unrecognized arguments:", "this is not known here:")
        print(f"sfss: {message}\nTry '{self.prog} --help'.", file=sys.stderr)
        sys.exit(EXIT_USAGE)


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34)


def add_config(group: Any) -> None:
    group.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"TOML file with settings (default: ${CONFIG_VARIABLE})",
    )


def add_settings(
    parser: argparse.ArgumentParser, fields: Mapping[str, Any], groups: Mapping[str, Sequence[str]]
) -> None:
    for title, names in groups.items():
        group = parser.add_argument_group(title)
        for name in names:
            if name in fields:
                _add_setting(group, name, fields[name])


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
        action=Repeated if many else "store",
        metavar=part.metadata["unit"],
        default=argparse.SUPPRESS,
        help=help if many or part.default == "" else f"{help} (default: {part.default})",
    )


class Repeated(argparse.Action):
    """Collects the values of a flag that is given several times into a tuple."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        value: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), value))


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number
