"""Which source files a script runs: the inputs that make its results stale when they change.

Read from the import statements, so that a list kept by hand cannot fall behind. Pure Python:
the Snakefile asks on machines without torch.
"""

import ast
from functools import cache
from pathlib import Path

_PACKAGE = "compression_order"
# a list of names: a row more changes no result of another row
_REGISTRY = Path("compression_order", "methods", "__init__.py")


@cache
def closure(root: str, script: str, *modules: str) -> tuple[str, ...]:
    """The script and every module of this package that it imports, directly or not.

    Args:
        root: folder of the repository.
        script: path below it, such as `src/prune.py`.
        modules: dotted names of modules that the script imports by name at run time.

    Returns:
        Sorted paths relative to `root`.
    """
    source = Path(root, "src")
    found: set[Path] = set()
    waiting = [Path(root, script), *(_files(source, name) for name in modules)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports(source, path)
    found.discard(source / _REGISTRY)
    return tuple(sorted(str(path.relative_to(root)) for path in found))


def _imports(source: Path, path: Path) -> list[Path]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    ours = [name for name in names if name.split(".")[0] == _PACKAGE]
    # importing a module of a package runs the package's own file first
    packages = [name.rpartition(".")[0] for name in ours]
    return [path for name in [*ours, *packages] if (path := _files(source, name)).exists()]


def _files(source: Path, name: str) -> Path:
    path = source.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
