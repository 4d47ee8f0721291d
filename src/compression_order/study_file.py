"""A study file, read and checked: every fault is one sentence before anything runs.

Pure Python: the Snakefile builds its `Study` here wherever it is parsed, login nodes included.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from compression_order import hub_tasks, methods, orderings, processes, schema, study
from compression_order.errors import HarnessError
from compression_order.judging import options
from compression_order.orderings import Stage
from compression_order.settings import COMMON, adapts

PLAIN_FORMS = ("lines", "jsonl", "rows", "penn-valid", "penn-test")
CHAT_FORMS = ("alpaca", "messages")


def read(paths: Sequence[Path], root: Path) -> study.Study:
    """The study of a file, for a CLI; Snakemake reads the file itself and calls `build`.

    Args:
        paths: the study, and files laid over it, key by key, as Snakemake's --configfile does.
        root: folder of the repository.

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


def _asked(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The study without the question sets whose count is null.

    A file laid over another adds keys and cannot take one out; elsewhere null is a fault.
    """
    evaluations = config.get("evaluations")
    if not isinstance(evaluations, Mapping):
        return config
    kept = {
        key: {name: count for name, count in value.items() if count is not None}
        if key in ("tasks", "hub_tasks") and isinstance(value, Mapping)
        else value
        for key, value in evaluations.items()
    }
    return {**config, "evaluations": kept}


def build(config: Mapping[str, Any], source: str, root: Path) -> study.Study:
    """Check a study and work out its nodes.

    Args:
        config: the file as read.
        source: its name, for messages.
        root: folder of the repository, where the task files are.

    Raises:
        HarnessError: the first fault, with file, key, value and what to do.
    """
    config = _asked(config)
    schema.validate(config, schema.study_schema(), source)
    stages = {token: _stage(token, entry) for token, entry in config["stages"].items()}
    try:
        _check_names(config, root)
        for token, stage in stages.items():
            where = f"stages.{token}."
            processes.require(stage.settings, stage.method, stage.on_quantized, where)
            _require_adapter(stage)
        planned = orderings.plan(config["orderings"], stages)
    except HarnessError as fault:
        raise HarnessError(f"{source}: {fault}") from None
    return study.Study(config, stages, planned, root)


def _stage(token: str, entry: Mapping[str, Any]) -> Stage:
    method = entry["method"]
    kind = methods.REGISTRY[method][0]
    settings = {key: value for key, value in entry.items() if key not in COMMON}
    return Stage(token, kind, method, entry["on_quantized"], settings)


def _check_names(config: Mapping[str, Any], root: Path) -> None:
    """Every name that the study uses must be one that it defines."""
    packages, texts = config.get("packages", {}), config["text"]
    teacher = study.teacher_model(config)
    models = [("model", config["model"]), *([("teacher", teacher)] if teacher else [])]
    _require_teacher(config)
    for key, entry in [*models, *((f"text.{n}", t) for n, t in texts.items())]:
        _require(entry.get("package", None), [None, *packages], f"{key}.package", "packages")
    _require(config["splits"]["text"], texts, "splits.text", "text")
    held_out = config["splits"].get("held_out_text", config["splits"]["text"])
    _require(held_out, texts, "splits.held_out_text", "text")
    if len({entry["name"] for _, entry in models}) < len(models):
        raise HarnessError(
            f"teacher.name: {config['model']['name']!r} is the model's name too; give another, or "
            "write `teacher: base` to let the uncompressed model teach"
        )
    if "published" in config:
        known = sorted(study.published_studies(root / study.PUBLISHED))
        _require(config["published"], known, "published", study.PUBLISHED)
    wanted = config["evaluations"]
    plain = [name for name, entry in texts.items() if entry["form"] in PLAIN_FORMS]
    for name in wanted["windows"]:
        _require(name, plain, "evaluations.windows", "text (form lines or jsonl)")
    for name in wanted["tasks"]:
        _require(name, texts, "evaluations.tasks", "text")
        file = study.task_path(name)
        if not (root / file).exists():
            raise HarnessError(
                f"evaluations.tasks: {name!r} needs the task file {file}, which does not exist; "
                "write it or leave the task out"
            )
    hub_tasks.check(config, root)
    if "judge" in config:
        chats = [n for n, entry in texts.items() if entry["form"] in CHAT_FORMS]
        asked = config["judge"]["answers"]["text"]
        _require(asked, chats, "judge.answers.text", "text (form alpaca or messages)")
        options.check(config["judge"])


def _require_adapter(stage: Stage) -> None:
    if adapts(stage.method, stage.on_quantized) and "adapter" not in stage.settings:
        raise HarnessError(
            f"stages.{stage.token}.adapter: the stage trains an adapter and does not describe it; "
            "write its rank, alpha, dropout and targets there"
        )


def _require_teacher(config: Mapping[str, Any]) -> None:
    tokens = [
        t for t, e in config["stages"].items() if methods.REGISTRY[e["method"]][0] == "distill"
    ]
    if tokens and "teacher" not in config:
        raise HarnessError(
            f"teacher: stages.{tokens[0]} distills and the study names no teacher; write "
            "`teacher: base` to learn from the uncompressed model, or describe a model there"
        )


def _require(name: Any, known: Any, key: str, section: str) -> None:
    if name not in known:
        listed = ", ".join(str(n) for n in known if n is not None) or "none"
        raise HarnessError(
            f"{key}: {name!r} is not defined under `{section}`; define it or use one of: {listed}"
        )
