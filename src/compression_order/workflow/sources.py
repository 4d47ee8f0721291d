"""The source files that each rule watches, as inputs of its jobs."""

from collections.abc import Iterable

from compression_order import methods, orderings
from compression_order.common import closure
from compression_order.common.files import of_workflow
from compression_order.study.study import Study

_FORMS = "checkpoint/forms/"


def of_script(script: str, *modules: str) -> list[str]:
    """The sources of a script, and of modules that it imports by name at run time."""
    return [of_workflow(path) for path in closure.of(script, *modules)]


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
            run = methods.run_module(study.stages[token].method)
            paths = closure.of("quantize.py", run)
            found |= dict.fromkeys(closure.module_of(p) for p in paths if _FORMS in p.as_posix())
    return list(found)
