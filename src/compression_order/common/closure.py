"""What decides a result: the source files that a script runs, as far as they can change it.

Rules have a digest of these files as a parameter, and snapshots carry their digests, so that both
mean the same. The list is read from the import statements: one kept by hand would fall behind. Pure
Python: the Snakefile asks on machines without torch.

Left out is what no result depends on: settings and their formulas (values reach a script as flags),
the registries of methods and of model families and the families themselves (one more changes no
result of another), what observes a process (`costs/`), what asks for jobs (`workflow/`), and files
that hold a docstring alone.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from compression_order.common.files import PACKAGE, WORKFLOW

_OBSERVERS = ("costs", "workflow")
_FAMILIES, _FAMILY = "architecture/families/", "architecture/families/family.py"
_DECLARATIONS = ("methods/__init__.py", "methods/kinds.py", "methods/formulas.py")


@cache
def decides(path: Path) -> bool:
    """Whether a file can change a result of a script that imports it."""
    if not path.is_relative_to(PACKAGE):
        return True
    inside = path.relative_to(PACKAGE)
    if inside.parts[0] in _OBSERVERS or inside.name == "settings.py":
        return False
    name = inside.as_posix()
    is_family = name.startswith(_FAMILIES) and name != _FAMILY
    return not is_family and name not in _DECLARATIONS and not _is_empty(path)


@cache
def of(script: str, *modules: str) -> tuple[Path, ...]:
    """The script and every module of this package that it imports and that can change its result.

    Args:
        script: its name in `src/`, such as `prune.py`.
        modules: dotted names of modules that the script imports by name at run time.

    Returns:
        Absolute paths: the script, then the others in the order of their names.
    """
    program = WORKFLOW / "src" / script
    found: set[Path] = set()
    waiting = [program, *map(_file, modules)]
    while waiting:
        path = waiting.pop()
        if path not in found and decides(path):
            found.add(path)
            waiting += _imported(path)
    return (program, *sorted(found - {program}))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _is_empty(path: Path) -> bool:
    return all(isinstance(node, ast.Expr) for node in _tree(path).body)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements, nested ones too. An expression holds none, and most nodes are in those."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield child
            yield from _statements(child)


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    names: list[str] = []
    for node in _statements(_tree(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    ours = [name for name in names if name.split(".")[0] == PACKAGE.name]
    # importing a module of a package runs the package's own file first
    packages = [".".join(n.split(".")[:i]) for n in ours for i in range(1, n.count(".") + 1)]
    return tuple(path for name in [*ours, *packages] if (path := _file(name)).exists())


def module_of(path: Path) -> str:
    """Dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _file(name: str) -> Path:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
