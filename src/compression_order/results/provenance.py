"""Trace a checkpoint through its manifest and those of its parents, back to base.

Reads the manifests of the stages (`checkpoint.json`) and needs no weights, so that the records of
a run suffice. A method's source and paper are those of this checkout.
"""

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order import methods, orderings
from compression_order.common import declare, files
from compression_order.results.page import flat

MANIFEST, WEIGHTS = "checkpoint.json", "model.safetensors"
PAPER = re.compile(r".*?arXiv[^)]*\)")  # beginnings of a docstring's paragraph that names a paper
NO_CHECKOUT = "not a git checkout"


@dataclass(frozen=True)
class Link:
    """One checkpoint of a chain, as its stage recorded it.

    Attributes:
        pipeline: its name.
        manifest: the file.
        recorded: what the file holds.
        settings: in words, those that differ from `against`.
        against: what the settings are compared with; None if the method is not known.
        parent: pipeline of its parent; None for base.
        parent_digest: SHA-256 of the parent's manifest as it is now; None where it is not there.
    """

    pipeline: str
    manifest: Path
    recorded: Mapping[str, Any]
    settings: tuple[str, ...]
    against: str | None
    parent: str | None
    parent_digest: str | None

    @property
    def method(self) -> str:
        """The name of its method."""
        return str(self.recorded.get("method"))

    @property
    def weights(self) -> Path:
        """Where its weights lie, or lay."""
        return self.manifest.parent / WEIGHTS

    @property
    def weights_digest(self) -> str | None:
        """SHA-256 of its weights as recorded."""
        digest = self.recorded.get("files", {}).get(WEIGHTS)
        return None if digest is None else str(digest)


def chain(results: Path, pipeline: str, seed: int) -> list[Link]:
    """A checkpoint and its parents, base last.

    Args:
        results: folder of the study's results.
        pipeline: the checkpoint.
        seed: its seed.

    Raises:
        HarnessError: a manifest is missing or not JSON.
    """
    names = [*reversed(orderings.prefixes(pipeline)), orderings.BASE]
    paths = {name: results / f"seed{seed}" / "checkpoints" / name / MANIFEST for name in names}
    # records of an older format have no manifest of base
    found = {n: files.read_json(p) for n, p in paths.items() if n != names[-1] or p.exists()}
    return [_link(name, paths, found) for name in found]


def _link(name: str, paths: Mapping[str, Path], found: Mapping[str, Mapping[str, Any]]) -> Link:
    parent = None if name == orderings.BASE else orderings.parent(name)
    settings, against = _settings(name, found)
    digest = files.sha256(paths[parent]) if parent and parent in found else None
    return Link(name, paths[name], found[name], tuple(settings), against, parent, digest)


def _settings(
    name: str, found: Mapping[str, Mapping[str, Any]]
) -> tuple[Iterator[str], str | None]:
    """Differing settings, and their reference: the last stage of this method, or its defaults."""
    its, method = _recorded(found[name]), str(found[name].get("method"))
    before = reversed(orderings.prefixes(name)[:-1])
    same = next((other for other in before if found[other].get("method") == method), None)
    if same:
        return _differing(its, _recorded(found[same]), f"{same}:"), f"those of {same}"
    if method not in methods.REGISTRY:
        return _differing(its, {}, ""), None
    return _differing(its, defaults(method), "default"), f"the defaults of {method}"


def _recorded(manifest: Mapping[str, Any]) -> dict[str, str]:
    return dict(flat(manifest.get("settings") or {}))


def defaults(method: str) -> dict[str, str]:
    """The declared defaults of a method, as manifests show settings."""
    return dict(flat({name: its for name, _, its in declare.leaves(methods.settings(method))}))


def _differing(its: Mapping[str, str], other: Mapping[str, str], where: str) -> Iterator[str]:
    for name, value in its.items():
        if name not in other:
            yield f"{name} {value}"
        elif value != other[name]:
            yield f"{name} {value} ({where} {other[name]})"


def source(method: str) -> Path | None:
    """The source file of a method; None if this version has no such method."""
    if method not in methods.REGISTRY:
        return None
    return files.PACKAGE / "methods" / method.replace("-", "_") / "run.py"


def about(path: Path) -> tuple[str, str | None]:
    """The purpose, paper and section that a source file's docstring states."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first, *others = (" ".join(its.split()) for its in told.split("\n\n"))
    return first, next((named[0] for its in others if (named := PAPER.match(its))), None)


def revision(root: Path = files.WORKFLOW) -> str:
    """The commit of this checkout, `-dirty` where files were changed since; never fails."""
    if not (root / ".git").exists():  # an enclosing repository does not count
        return NO_CHECKOUT
    command: Sequence[str] = ("git", "-C", str(root), "describe", "--always", "--dirty")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return NO_CHECKOUT
    return done.stdout.strip() or NO_CHECKOUT
