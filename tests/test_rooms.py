"""The law of the house: which room may import which, and what lies outside a room."""

import ast
import tomllib
from pathlib import Path

import pytest
from lab import ROOT
from rooms import ROOMS

PACKAGE = ROOT / "src/compression_order"
# the public face, which manifests name, and the package itself
OUTSIDE = {"__init__", "orderings", "loading"}
LONGEST = 60  # lines of a script


def name_of(path: Path) -> str:
    """The dotted name of a module of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, also inside functions and for types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= full & set(MODULES) if full <= set(MODULES) else {*full, node.module or ""}
    return found & set(MODULES)


def room(module: str) -> str:
    """The room of a module; the package itself is of none."""
    return [*module.split("."), ""][1]


GRAPH = {module: imports(path) for module, path in MODULES.items()}


def upward(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Imports of a room by one before it."""
    return [
        (module, other)
        for module, imported in graph.items()
        for other in sorted(imported)
        if room(module) in ROOMS
        and room(other) in ROOMS
        and ROOMS.index(room(other)) > ROOMS.index(room(module))
    ]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that wait for each other: what is left when every finished module is taken away."""
    left = {module: imported - {module} for module, imported in graph.items()}
    while done := {module for module, imported in left.items() if not imported & set(left)}:
        left = {module: imported for module, imported in left.items() if module not in done}
    return sorted(left)


def test_no_room_imports_a_room_after_it():
    assert upward(GRAPH) == []


def test_no_module_waits_for_itself():
    assert circle(GRAPH) == []


def test_the_law_sees_what_it_forbids():
    name = "compression_order"
    broken = {f"{name}.common.files": {f"{name}.stages.stage"}, f"{name}.stages.stage": set()}
    assert upward(broken) == [(f"{name}.common.files", f"{name}.stages.stage")]
    assert circle({"a": {"b"}, "b": {"a"}, "c": {"a"}, "d": set()}) == ["a", "b", "c"]


def test_every_module_lies_in_a_room():
    assert {path.stem for path in PACKAGE.glob("*.py")} == OUTSIDE
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(
        ROOMS
    ) - {"orderings"}


def test_the_public_face_is_imported_by_nothing_here():
    """It may import anything: models stored by others name it."""
    assert [module for module, found in GRAPH.items() if "compression_order.loading" in found] == []


@pytest.mark.parametrize("script", sorted((ROOT / "src").glob("*.py")), ids=lambda p: p.name)
def test_a_script_holds_flags_and_one_call(script):
    assert len(script.read_text().splitlines()) <= LONGEST


def test_every_room_of_tests_mirrors_one_of_the_sources():
    own = {"workflow", "studies", "pages", "image", "support", "benchmarks"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("*.py"))}
    assert folders <= set(ROOMS) | own


def test_an_installed_package_brings_every_script():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = told["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    scripts = {str(path.relative_to(ROOT)) for path in (ROOT / "src").glob("*.py")}
    assert {source for source in wheel if source.startswith("src/")} == scripts
