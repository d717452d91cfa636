"""The rule of the house: a floor imports only from the floors under it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "sfss"

#: The floors, from the ground up; what stands together stands on one floor, by turns.
FLOORS = [
    {"sfss.compiled"},
    {"sfss"},  # the version
    {"sfss.errors"},
    {"sfss.models", "sfss.paths", "sfss.settings", "sfss.logs"}
    | {"sfss.allocator", "sfss.receivers", "sfss.figures", "sfss.board", "sfss.signing"}
    | {"sfss.media_types", "sfss.node_proofs", "sfss.reasons"},
    {"sfss.node_settings", "sfss.panel", "sfss.admission"},
    {"sfss.credentials"},
    {"sfss.client"},  # beside the house: imports only the ground, and only the top imports it
    {"sfss.memcache.*"},
    {"sfss.stores.*"},
    {"sfss.service"},
    {"sfss.replication.*"},
    {"sfss.http.*"},  # knows no file, no store: see below
    {"sfss.web.*"},
    {"sfss.listening"},
    {"sfss.transfers", "sfss.backups", "sfss.runtime.*", "sfss.process"},
    {"sfss.node_cli"},
    {"sfss.cli"},
    {"sfss.__main__"},
]
GROUND = 3
#: Whose imports are narrower than their floor: from which floor, to which others it may go.
NARROW = {"sfss.client": GROUND}
#: Who may import what stands beside the house.
OVER_THE_CLIENT = {"sfss.transfers", "sfss.cli"}


def floor_of(module: str) -> int:
    for number, modules in enumerate(FLOORS):
        if module in modules or module.rpartition(".")[0] + ".*" in modules:
            return number
        if module + ".*" in modules:
            return number
    raise AssertionError(f"{module} stands on no floor: give it one in {__file__}")


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


def test_every_arrow_points_down():
    known = modules()
    assert len(known) > 25
    wrong = []
    for module, file in known.items():
        for imported in imports(file, set(known)):
            highest = NARROW.get(module, floor_of(module))
            if floor_of(imported) > highest:
                wrong.append(f"{module} imports {imported}")
            if imported == "sfss.client" and module not in OVER_THE_CLIENT:
                wrong.append(f"{module} imports {imported}")
    assert not wrong


def test_nothing_goes_in_a_circle():
    known = modules()
    graph = {module: imports(file, set(known)) - {module} for module, file in known.items()}
    while graph:
        leaves = {module for module, imported in graph.items() if not imported & graph.keys()}
        assert leaves, f"a circle among {sorted(graph)}"
        graph = {module: imported for module, imported in graph.items() if module not in leaves}


def test_only_the_store_floor_and_below_know_stores_and_only_one_table_knows_statuses():
    known = modules()
    for module, file in known.items():
        arrows = imports(file, set(known))
        if module.startswith("sfss.web"):
            assert not {a for a in arrows if a.startswith(("sfss.stores", "sfss.memcache"))}, module
        if module.startswith("sfss.http"):
            below = ("sfss.stores", "sfss.memcache", "sfss.service", "sfss.models", "sfss.replication")
            assert not {a for a in arrows if a.startswith(below)}, module
        if not module.startswith(("sfss.web", "sfss.http", "sfss.cli", "sfss.client")):
            assert "HTTPStatus" not in file.read_text(), module
