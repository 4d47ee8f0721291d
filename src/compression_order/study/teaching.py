"""Who teaches whom: a distillation learns from the base, from a pipeline, or from another model.

Pure Python: the Snakefile reads it also on login nodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.orderings import BASE, Stage
from compression_order.study.file import AnyModel, StudyFile

DISTILL = "distill"


def model(file: StudyFile) -> AnyModel | None:
    """The entry of a teacher that is a model of its own, None where the study has none."""
    return None if file.teacher is None or isinstance(file.teacher, str) else file.teacher


def named(file: StudyFile, stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The stages, with the name of its teacher in the settings of every distillation.

    A name is `base`, a pipeline, or the name of the model that the study describes.

    Raises:
        HarnessError: a distillation has no teacher, or one that cannot teach it.
    """
    own = model(file)
    others = own.name if own else file.teacher
    if others is not None:
        _require_possible("teacher", str(others), own, stages)
    found = dict(stages)
    for token, stage in stages.items():
        if stage.kind != DISTILL:
            continue
        chosen = stage.settings.teacher
        if not chosen and others is None:
            raise HarnessError(
                f"teacher: stages.{token} distills and the study names no teacher; write "
                "`teacher: base` to learn from the uncompressed model, or describe a model there"
            )
        if chosen:
            _require_possible(f"stages.{token}.teacher", chosen, own, stages)
        found[token] = replace(stage, settings=stage.settings.with_(teacher=chosen or others))
    taught = pipelines(file, found)
    for token in taught:
        _require_no_circle(token, taught, bool(stages[token].settings.teacher))
    return found


def pipelines(file: StudyFile, stages: Mapping[str, Stage]) -> dict[str, str]:
    """Token -> the pipeline that teaches it, of the distillations that learn from one."""
    own = model(file)
    no_pipeline = {BASE, own.name if own else BASE}
    return {
        token: stage.settings.teacher
        for token, stage in stages.items()
        if stage.kind == DISTILL and stage.settings.teacher not in no_pipeline
    }


def _require_possible(
    key: str, name: str, own: AnyModel | None, stages: Mapping[str, Stage]
) -> None:
    """Refuse a teacher that no study of these stages can have."""
    if name == BASE or (own and name == own.name):
        return
    for token in orderings.split(name):
        if token not in stages:
            raise HarnessError(
                f"{key}: {name!r} names the stage {token!r}, which `stages` does not define; write "
                f"`base`, or a pipeline of {', '.join(stages)}"
            )
    why = orderings.refusal(name, stages)
    if why:
        raise HarnessError(f"{key}: {name!r} cannot exist ({why}); name another pipeline")


def _require_no_circle(token: str, taught: Mapping[str, str], own: bool) -> None:
    """Refuse a distillation that learns from itself."""
    chain = _back_to(token, [token], taught)
    if chain:
        told = ", which learns from ".join(taught[one] for one in chain)
        key = f"stages.{token}.teacher" if own else "teacher"
        raise HarnessError(
            f"{key}: {token} learns from {told}, which holds {token} itself; name a teacher that "
            f"can be made without {token}"
        )


def _back_to(token: str, chain: Sequence[str], taught: Mapping[str, str]) -> Sequence[str]:
    """The chain of distillations by which one learns from itself; empty if it does not."""
    for other in orderings.split(taught[chain[-1]]):
        if other == token:
            return chain
        if other in taught and other not in chain:
            found = _back_to(token, [*chain, other], taught)
            if found:
                return found
    return []
