"""Read and check a study file: report any fault in one sentence before anything runs.

Pure Python: the Snakefile builds its `Study` here, also on login nodes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from compression_order import methods, orderings
from compression_order.common import arithmetic, declare
from compression_order.common.errors import HarnessError
from compression_order.orderings import Plan, Stage
from compression_order.study import hub_tasks, study, teaching
from compression_order.study.file import CHAT_FORMS, PLAIN_FORMS, StudyFile

# keys of a stage entry that are flags of every stage, not settings of its method
COMMON = ("method", "on_quantized")


def read(paths: Sequence[Path], root: Path) -> study.Study:
    """Read the study file of a command. Snakemake reads the file itself and calls `build`.

    Args:
        paths: the study, and files laid over it, key by key, as Snakemake's --configfile does.
        root: folder of the workflow, where the task files are.

    Raises:
        HarnessError: no such file, not YAML, or a fault that `build` finds.
    """
    config: dict[str, Any] = {}
    for path in paths:
        config = _laid_over(config, _mapping(path))
    return build(config, " + ".join(map(str, paths)), root)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise HarnessError(f"{path} does not exist; name a study, such as config.yaml") from None
    except yaml.YAMLError as fault:
        raise HarnessError(f"{path} is not YAML ({' '.join(str(fault).split())})") from None
    if not isinstance(found, dict):
        raise HarnessError(f"{path} is not a study: it has no keys; see config.yaml")
    return found


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            merged[key] = _laid_over(under, value)
        else:
            merged[key] = value
    return merged


# what a file laid over a study may leave out of it with null: entries, and the whole where true
_OPTIONAL = {
    ("evaluations", "tasks"): False,
    ("evaluations", "hub_tasks"): False,
    ("comparisons", "contrasts"): True,
}


def _asked(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Drop the question sets whose count is null, and contrasts that are null as a whole.

    A file laid over another can add keys but not remove one. Elsewhere null is a fault.
    """
    found = dict(config)
    for (section, key), whole in _OPTIONAL.items():
        inside = found.get(section)
        if not isinstance(inside, Mapping) or key not in inside:
            continue
        value = inside[key]
        if value is None and whole:
            value = {}
        elif isinstance(value, Mapping):
            value = {name: its for name, its in value.items() if its is not None}
        found[section] = {**inside, key: value}
    return found


def build(config: Mapping[str, Any], source: str, root: Path) -> study.Study:
    """Check a study and work out its nodes.

    Args:
        config: the file as read.
        source: its name, for messages.
        root: folder of the workflow, where the task files are.

    Raises:
        HarnessError: the first fault, with file, key, value and what to do.
    """
    file = declare.checked(StudyFile, _asked(config), source)
    given = {token: _stage(token, entry, source) for token, entry in file.stages.items()}
    try:
        _check_names(file, root)
        _require_scored(file)
        stages = teaching.named(file, given)
        for token, stage in stages.items():
            _require_products(file.compute, stage)
            _require_part(file, stage)
            stage.settings.require_shareable(stage.on_quantized, f"stages.{token}.")
        taught = teaching.pipelines(file, stages)
        planned = orderings.plan(file.orderings, stages, taught)
        _check_comparisons(file, planned)
    except HarnessError as fault:
        raise HarnessError(f"{source}: {fault}") from None
    return study.Study(file, stages, planned, root, taught)


def _stage(token: str, entry: Mapping[str, Any], source: str) -> Stage:
    where = f"{source}: stages.{token}"
    for key in COMMON:
        if key not in entry:
            raise HarnessError(f"{where}: the key {key!r} is missing; add it")
    method, on_quantized = entry["method"], entry["on_quantized"]
    if method not in methods.REGISTRY:
        raise HarnessError(f"{where}.method: {_unknown(method, methods.REGISTRY)}")
    kind = methods.settings(method)
    given = {key: value for key, value in entry.items() if key not in COMMON}
    settings = declare.checked(kind, given, source, f"stages.{token}")
    if on_quantized not in kind.rules:
        raise HarnessError(f"{where}.on_quantized: {_unknown(on_quantized, kind.rules)}")
    if settings.trains_adapter(on_quantized) and "adapter" not in given:
        raise HarnessError(
            f"{where}.adapter: the stage trains an adapter and does not describe it; write its "
            "rank, alpha, dropout and targets there"
        )
    return Stage(token, kind.kind, method, on_quantized, settings)


def _unknown(value: Any, known: Iterable[str]) -> str:
    return f"{value!r} is not known; use one of {', '.join(known)}"


def _check_names(file: StudyFile, root: Path) -> None:
    """Refuse a study that uses a name which it does not define."""
    texts = file.text
    teacher = teaching.model(file)
    entries: list[tuple[str, Any]] = [("model", file.model)]
    entries += [("teacher", teacher)] if teacher else []
    for key, entry in [*entries, *((f"text.{n}", t) for n, t in texts.items())]:
        if hasattr(entry, "package"):
            _require(entry.package, file.packages, f"{key}.package", "packages")
    _require(file.splits.text, texts, "splits.text", "text")
    _require(file.splits.scored, texts, "splits.held_out_text", "text")
    if teacher and teacher.name == file.model.name:
        raise HarnessError(
            f"teacher.name: {teacher.name!r} is the model's name too; give another, or write "
            "`teacher: base` to let the uncompressed model teach"
        )
    if file.published:
        known = sorted(study.published_studies(root / study.PUBLISHED))
        _require(file.published, known, "published", study.PUBLISHED)
    plain = [name for name, entry in texts.items() if entry.form in PLAIN_FORMS]
    for name in file.evaluations.windows:
        _require(name, plain, "evaluations.windows", "text (form lines or jsonl)")
    for name in file.evaluations.tasks:
        _require(name, texts, "evaluations.tasks", "text")
        task = study.task_path(name)
        if not (root / task).exists():
            raise HarnessError(
                f"evaluations.tasks: {name!r} needs the task file {task}, which does not exist; "
                "write it or leave the task out"
            )
    hub_tasks.check(file, root)
    if file.judge:
        chats = [n for n, entry in texts.items() if entry.form in CHAT_FORMS]
        asked = file.judge.answers.text
        _require(asked, chats, "judge.answers.text", "text (form alpaca or messages)")


def _require_part(file: StudyFile, stage: Stage) -> None:
    """Refuse a training on a part of the text that the study does not draw."""
    for key in ("training", "recovery"):
        its = getattr(stage.settings, key, None)
        if its and its.steps and its.part != "train" and not file.splits.recovery:
            raise HarnessError(
                f"stages.{stage.token}.{key}.part: {its.part!r} reads conversations that the study "
                "does not draw; set splits.recovery to their number, or write `part: train`"
            )


def _require_scored(file: StudyFile) -> None:
    """Refuse to score conversations that the study does not draw."""
    if file.evaluations.part == "dev" and file.splits.dev < 2:
        raise HarnessError(
            "evaluations.part: 'dev' scores splits.dev, which has "
            f"{file.splits.dev} conversations; draw 2 or more there, or write `part: held_out`"
        )


def _check_comparisons(file: StudyFile, planned: Plan) -> None:
    """Refuse a primary text that is not scored, and a contrast that no arm can have."""
    wanted = file.comparisons
    scored = [file.splits.scored, *file.evaluations.windows]
    if wanted.text:
        _require(wanted.text, scored, "comparisons.text", "text that is scored")
    arms = list(planned.arms.values()) or [planned.rows]
    for name, contrast in wanted.contrasts.items():
        for row in contrast.rows:
            _require(row, planned.rows, f"comparisons.contrasts.{name}", "orderings")
            if row in planned.refused:
                raise HarnessError(
                    f"comparisons.contrasts.{name}: {row!r} cannot exist "
                    f"({planned.refused[row]}); leave it out"
                )
        if not any(set(contrast.rows) <= set(rows) for rows in arms):
            raise HarnessError(
                f"comparisons.contrasts.{name}: {', '.join(contrast.rows)} are of different arms, "
                "which are compared apart; name rows of one arm"
            )


def _require_products(compute: str, stage: Stage) -> None:
    """Refuse bf16 weights that are to be multiplied in another arithmetic."""
    for key, training in stage.settings.model_dump().items():
        narrow = isinstance(training, Mapping) and training.get("weights") == "bfloat16"
        if narrow and compute != arithmetic.BF16:
            raise HarnessError(
                f"compute: {compute!r} does not go with stages.{stage.token}.{key}.weights: "
                "bfloat16 weights are multiplied in bf16; write `compute: bf16`, or float32 weights"
            )


def _require(name: Any, known: Iterable[str], key: str, section: str) -> None:
    if name not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise HarnessError(
            f"{key}: {name!r} is not defined under `{section}`; define it or use one of: {listed}"
        )
