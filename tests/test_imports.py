"""The rule of the house: a floor imports only from the floors under it, and no library's private parts."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "sfss"

#: The floors, from the ground up; what stands together stands on one floor. ``room.*``: all modules of a room.
FLOORS = [
    {"sfss.compiled"},
    {"sfss"},  # the version
    {"sfss.errors"},
    {
        "sfss.models",
        "sfss.paths",
        "sfss.completion",
        "sfss.signing",
        "sfss.tar",
        "sfss.node_proofs",
        "sfss.network_errors",
    },
    {"sfss.config.*"},
    {"sfss.metrics.*"},
    {"sfss.admission"},
    # Beside the house, too: in a site's own processes. It imports only the ground.
    {
        "sfss.django.*",
        "sfss.django.management.*",
        "sfss.django.management.commands.*",
        "sfss.django.migrations.*",
    },
    {"sfss.client.*"},  # beside the house: it imports only the ground, and only the top imports it
    {"sfss.sync.*"},
    {"sfss.disk.*"},
    {"sfss.memcache.*"},
    {"sfss.beansdb.*"},
    {"sfss.stores.*"},
    {"sfss.runtime.*"},
    {"sfss.service"},
    {"sfss.objects.*"},
    {"sfss.replication.*"},
    {"sfss.http.*"},  # knows no file, no store: see below
    {"sfss.web.*", "sfss.web.api.*"},
    {"sfss.cli.*"},
    {"sfss.__main__"},
]
GROUND = 3
#: Rooms whose imports are narrower than their floor: from which floor, or from which rooms.
NARROW = {"sfss.client": GROUND, "sfss.django": GROUND, "sfss.sync": GROUND}
#: What a room may know besides itself and the ground.
KNOWS = {
    "sfss.memcache": {"sfss.metrics"},
    "sfss.beansdb": {"sfss.memcache", "sfss.metrics"},
    "sfss.disk": {"sfss.metrics"},
    "sfss.metrics": set(),
    "sfss.config": set(),
    "sfss.http": {"sfss.admission", "sfss.metrics", "sfss.config"},
    "sfss.runtime": {"sfss.config", "sfss.metrics"},
}


#: Who stands beside the house; only the top imports them.
BESIDE = {"sfss.client", "sfss.sync"}


def floor_of(module: str) -> int:
    for number, modules in enumerate(FLOORS):
        if module in modules or module.rpartition(".")[0] + ".*" in modules:
            return number
        if module + ".*" in modules:
            return number
    raise AssertionError(f"{module} stands on no floor: give it one in {__file__}")


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def modules() -> dict[str, Path]:
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = list(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path, known: set[str]) -> set[str]:
    """The modules of ours that *file* imports, wherever in it; but what it only names in types."""
    found = set()
    tree = ast.parse(file.read_text())
    of_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in of_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return {name for name in found if name.split(".")[0] == "sfss"}


def arrows() -> list[tuple[str, str]]:
    known = modules()
    return [
        (module, imported)
        for module, file in known.items()
        for imported in imports(file, set(known))
        if imported != module
    ]


def test_every_arrow_points_down():
    assert len(modules()) > 25
    wrong = []
    for module, imported in arrows():
        highest = NARROW.get(room_of(module), floor_of(module))
        room, other = room_of(module), room_of(imported)
        if floor_of(imported) > highest and other != room and (room, other) != ("sfss.sync", "sfss.client"):
            wrong.append(f"{module} imports {imported}")
        if other in BESIDE and room not in (other, "sfss.sync", "sfss.cli"):
            wrong.append(f"{module} imports {imported}")
    assert not wrong


def test_rooms_know_only_what_they_have_to():
    wrong = []
    for module, imported in arrows():
        room, other = room_of(module), room_of(imported)
        if room in KNOWS and other not in {room} | KNOWS[room] and floor_of(imported) > GROUND:
            wrong.append(f"{module} imports {imported}")
        if room == "sfss.web" and other in ("sfss.stores", "sfss.memcache", "sfss.disk"):
            wrong.append(f"{module} imports {imported}")
    assert not wrong


def test_nothing_goes_in_a_circle():
    known = modules()
    graph = {module: imports(file, set(known)) - {module} for module, file in known.items()}
    while graph:
        leaves = {module for module, imported in graph.items() if not imported & graph.keys()}
        assert leaves, f"a circle among {sorted(graph)}"
        graph = {module: imported for module, imported in graph.items() if module not in leaves}


def test_only_one_table_knows_statuses():
    for module, file in modules().items():
        if not module.startswith(("sfss.web", "sfss.http", "sfss.cli", "sfss.client")):
            assert "HTTPStatus" not in file.read_text(), module


def test_a_long_module_says_why():
    """Over 400 lines it needs a reason in its docstring."""
    for module, file in modules().items():
        text = file.read_text()
        if text.count("\n") > 400:
            docstring = ast.get_docstring(ast.parse(text)) or ""
            assert re.search(r"\blong\b", docstring), f"{module} has over 400 lines, and does not say why"


#: Attributes that begin with an underscore, and that are public all the same.
_PUBLIC = re.compile(r"__\w+__|_(asdict|replace|make|fields|exit)")


def test_no_private_attribute_of_a_library_is_touched():
    """What is private stands behind ``self`` or ``cls``, or belongs to a class of the same module."""
    wrong = []
    for module, file in modules().items():
        tree = ast.parse(file.read_text())
        own = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("self", "cls")
        }
        own |= {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        }
        own |= {
            node.target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr.startswith("_")
                and not _PUBLIC.fullmatch(node.attr)
            ):
                if node.attr not in own:
                    wrong.append(f"{module}: {ast.unparse(node)}")
    assert not wrong
