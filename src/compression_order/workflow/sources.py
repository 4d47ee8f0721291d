"""The source files that each rule watches: their digest is a parameter of its jobs.

A changed parameter reruns a job, as a changed setting does. As inputs of every job, dozens of files
would take Snakemake as long as all the rest of a dry run.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from compression_order import methods, orderings
from compression_order.common import closure, files
from compression_order.common.files import of_workflow
from compression_order.study.study import Study

_FORMS = "checkpoint/forms/"


_sha256 = cache(files.sha256)


def digest(paths: Iterable[str]) -> str:
    """Digest the bytes of source files: the same in whatever folder they lie, however old."""
    return _digest(tuple(paths))


@cache
def _digest(paths: tuple[str, ...]) -> str:
    # the word tells what has changed where Snakemake gives its reason for a rerun
    return f"sources {files.digest([_sha256(Path(path)) for path in paths])[:16]}"


def of_script(script: str, *modules: str) -> list[str]:
    """The sources of a script, and of modules that it imports by name at run time."""
    return list(_named(Path.cwd(), script, modules))


@cache
def _named(folder: Path, script: str, modules: tuple[str, ...]) -> tuple[str, ...]:
    """The same as seen from a folder: thousands of jobs share a few lists."""
    return tuple(of_workflow(path) for path in closure.of(script, *modules))


def of_stage(study: Study, pipeline: str) -> list[str]:
    """The sources of a pipeline's last stage: of its method, and of the stored forms it handles."""
    stage = study.stages[orderings.last(pipeline)]
    modules = [methods.run_module(stage.method), *_forms(study, pipeline)]
    return of_script(f"{stage.kind}.py", *modules)


def of_reader(study: Study, pipeline: str, script: str, modules: Iterable[str] = ()) -> list[str]:
    """The sources of a script that loads the checkpoint of a pipeline."""
    return of_script(script, *modules, *_forms(study, pipeline))


def _forms(study: Study, pipeline: str) -> list[str]:
    """The modules of the forms in which a checkpoint of the pipeline, or its parent, is stored."""
    found: dict[str, None] = {}
    for token in orderings.split(pipeline):
        if study.stages[token].kind == "quantize":
            found |= dict.fromkeys(_forms_of(study.stages[token].method))
    return list(found)


@cache
def _forms_of(method: str) -> tuple[str, ...]:
    """The modules of the forms that a method stores."""
    paths = closure.of("quantize.py", methods.run_module(method))
    return tuple(closure.module_of(path) for path in paths if _FORMS in path.as_posix())
