"""Pages that are made of the code, so that they cannot say something else: three directives of Sphinx.

``.. http-api::``  what the OpenAPI document says (sfss/web/api/openapi.py)
``.. commands::``  what ``--help`` says (sfss/cli/parser.py)
``.. settings::``  the settings, with their defaults (sfss/config/)
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from sfss.cli.parser import GROUPS, NOT_OF_OBJECTS, make_parser
from sfss.config.gateway import Settings
from sfss.config.node import NodeSettings
from sfss.config.objects import ObjectSettings
from sfss.config.server import ServerSettings, fields_of
from sfss.web.api.openapi import document

#: What is said once for all of them (api.rst).
OF_ALL = ("400", "401", "403", "408", "502", "503", "504")
METHODS = ("get", "head", "put", "post", "delete")


class Made(SphinxDirective):
    """A directive whose content is made."""

    def lines(self) -> Iterable[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(self.lines()), allow_section_headings=True)


def _heading(text: str) -> Iterator[str]:
    yield from ("", text, "-" * len(text), "")


def _escaped(text: str) -> str:
    """Text that reStructuredText shall show as it is."""
    return "".join(f"\\{letter}" if letter in "\\*`|_" else letter for letter in " ".join(text.split()))


class HttpApi(Made):
    def lines(self) -> Iterator[str]:
        described = document(Settings().max_file_size)
        for path, item in described["paths"].items():
            shared = item.get("parameters", [])
            for method in (method for method in METHODS if method in item):
                operation = item[method]
                yield from _heading(f"{method.upper()} {path}")
                yield f"{_escaped(operation['summary'])}."
                yield ""
                for described_in in (item, operation):
                    if "description" in described_in:
                        yield from (_escaped(described_in["description"]), "")
                for parameter in [*shared, *operation.get("parameters", [])]:
                    yield from self._parameter(parameter)
                yield ""
                for status, said in sorted(operation["responses"].items()):
                    if status in OF_ALL:
                        continue
                    response = self._resolved(said, described)
                    yield f":{status}: {_escaped(response['description'])}"
                yield from self._example(operation, described)

    def _example(self, operation: dict[str, Any], described: dict[str, Any]) -> Iterator[str]:
        """Of an answer that says yes, if the document has one."""
        good = next((said for status, said in operation["responses"].items() if status.startswith("2")), {})
        for media in good.get("content", {}).values():
            schema = self._resolved(media.get("schema", {}), described)
            for example in schema.get("examples", ()):
                is_text = isinstance(example, str)
                text = example if is_text else json.dumps(example, indent=2, ensure_ascii=False)
                yield from ("", ".. code-block:: json", "", *(f"   {line}" for line in text.splitlines()))
        yield ""

    def _parameter(self, parameter: dict[str, Any]) -> Iterator[str]:
        kind = "a header" if parameter["in"] == "header" else "in the query"
        if parameter["in"] == "path":
            kind = "in the path"
        needed = ", needed" if parameter.get("required") else ""
        said = parameter.get("description") or parameter.get("schema", {}).get("description", "")
        yield f"* ``{parameter['name']}`` ({kind}{needed}){': ' + _escaped(said) if said else ''}"

    def _resolved(self, value: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in value:
            return value
        found: Any = described
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return dict(found)


class Commands(Made):
    def lines(self) -> Iterator[str]:
        os.environ["COLUMNS"] = "88"  # argparse cuts its lines by it; so many the page is wide
        yield from self._below(make_parser(), "sfss")

    def _below(self, parser: Any, name: str) -> Iterator[str]:
        for word, inner in parser.commands.choices.items() if parser.commands else ():
            whole = f"{name} {word}"
            yield from _heading(whole)
            yield from ("::", "", *(f"    {line}" for line in inner.format_help().splitlines()), "")
            yield from self._below(inner, whole)


class SettingsTables(Made):
    def lines(self) -> Iterator[str]:
        every = fields_of(Settings)
        yield from _heading("The gateway (sfss)")
        grouped = {name for names in GROUPS.values() for name in names}
        for title, names in {**GROUPS, "others": [name for name in every if name not in grouped]}.items():
            yield from self._table(title, {name: every[name] for name in names if name in every})
        others: list[tuple[str, type[ServerSettings], frozenset[str]]] = [
            ("A node (sfss node)", NodeSettings, frozenset()),
            ("Objects (sfss objects)", ObjectSettings, NOT_OF_OBJECTS),
        ]
        for title, kind, hidden in others:
            fields = {name: part for name, part in fields_of(kind).items() if name not in hidden}
            same = {name for name, part in fields.items() if _is_same(every.get(name), part)}
            yield from _heading(title)
            yield "Its own, and those that are not what they are for the gateway:"
            yield from self._table("", {name: part for name, part in fields.items() if name not in same})
            yield f"As for the gateway: {', '.join(_flag(name, fields[name]) for name in fields if name in same)}."

    def _table(self, title: str, fields: dict[str, dataclasses.Field[Any]]) -> Iterator[str]:
        if not fields:
            return
        if title:
            title = title[0].upper() + title[1:]
            yield from ("", title, "~" * len(title))
        yield from ("", ".. list-table::", "   :header-rows: 1", "   :widths: 30 50 20", "")
        yield from ("   * - Flag", "     - What it is", "     - Default")
        for name, part in fields.items():
            yield f"   * - {_flag(name, part)}"
            yield f"     - {_escaped(part.metadata['help'])}"
            yield f"     - {_default(part)}"
        yield ""


def _flag(name: str, part: dataclasses.Field[Any]) -> str:
    """As ``--help`` has it."""
    flag = name.replace("_", "-")
    if part.type is bool:
        return f"``--{flag}``, ``--no-{flag}``"
    short = f"``{part.metadata['short']}``, " if part.metadata["short"] else ""
    unit = f" {part.metadata['unit']}" if part.metadata["unit"] else ""
    return f"{short}``--{flag}{unit}``"


def _is_same(one: dataclasses.Field[Any] | None, other: dataclasses.Field[Any]) -> bool:
    return one is not None and (one.default, one.metadata["help"]) == (other.default, other.metadata["help"])


def _default(part: dataclasses.Field[Any]) -> str:
    value = part.default
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in (None, "", ()):
        return "–"
    if isinstance(value, int) and value >= 1024 * 1024 and value % (1024 * 1024) == 0:
        return f"{value // (1024 * 1024)} MiB"
    return f"``{value:g}``" if isinstance(value, float) else f"``{value}``"


def split_raises(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Our docstrings have ``:raises X: when`` behind a sentence; Sphinx wants it on a line of its own."""
    lines[:] = re.sub(r"(?<=\S) (:raises )", r"\n\n\1", "\n".join(lines)).split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", split_raises)
    app.add_directive("http-api", HttpApi)
    app.add_directive("commands", Commands)
    app.add_directive("settings", SettingsTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
