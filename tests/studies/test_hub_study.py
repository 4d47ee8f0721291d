"""The study of arXiv 2511.19495 from its own file: planned in full, and run small, offline.

The run reads the study file with `studies/overlays/qwen2.5-3b.yaml` laid over it, which changes
sizes alone, and takes models and data of the same names and commits from a hub cache on disk. It
makes some orders of each arm; the dry run lists all.
"""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import pytest
import yaml
from lab import ROOT, cli
from workflow_fixtures import TABLE, Copy, repository

from compression_order import orderings
from compression_order.architecture import storage
from compression_order.checkpoint import disk
from compression_order.study import parse

FULL = "studies/qwen2.5-3b.yaml"
SOME = {
    "corrected": ["P-KD-Q", "KD-P-Q", "Q-KD-P"],
    "paper": ["P.paper-KD.paper-Q", "KD.paper", "Q"],
}
SMALL = f"{FULL} studies/overlays/qwen2.5-3b.yaml some.yaml"
STUDY = yaml.safe_load((ROOT / FULL).read_text())
ARMS = STUDY["orderings"]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}

pytestmark = pytest.mark.workflow


# in full, without a GPU, a weight or a network


def test_the_dry_run_of_the_full_study_lists_its_jobs(tmp_path: Path) -> None:
    copy = repository(tmp_path / "repository")
    done = copy.snakemake("results/table.csv", "--dry-run", study=FULL)
    assert done.returncode == 0, done.stdout[-2000:]
    counted = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    nodes = {row for tokens in ARMS.values() for row in orderings.all_subsets(tokens)}
    assert len(nodes) == 40  # 15 of each arm; Q is in all, P.paper, P.paper-Q, Q-P.paper in two
    repositories = {e["hub"] for e in (STUDY["model"], STUDY["teacher"], *STUDY["text"].values())}
    hub_datasets = set(STUDY["datasets"])
    expected = {
        "device": 1,
        "fetch_hub": len(repositories | hub_datasets),
        "fetch": 1,  # sentence boundaries, which ifeval counts with
        "prepare_nltk": 1,
        "prepare_model": 2,
        "prepare_text": len(STUDY["text"]),
        "split_text": 1,
        "base": 3,
        "teach": 2,  # bf16 for KD; int8 for both published variants
        "reference": 1,
        "compress": 3 * len(nodes),
        "measure": 3 * (1 + len(nodes)),
        "table": 1,
        "analysis": 1,
        "main_table": 1,
    }
    total = int(counted.pop("total"))
    assert {rule: int(count) for rule, count in counted.items()} == expected
    assert total == sum(expected.values())


def test_every_arm_has_all_six_orders_the_pairs_and_the_singles() -> None:
    made = parse.build(STUDY, FULL, ROOT)
    for arm, rows in made.plan.arms.items():
        assert len(rows) == 16, arm
        assert {orderings.plain(row) for row in rows} == {
            "base",
            *orderings.all_subsets(["P", "KD", "Q"]),
        }


# small, for real


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_hub.make(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def run(hub: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """The small study, run once on two cores."""
    copy = repository(tmp_path_factory.mktemp("run") / "repository")
    copy.env = {**OFFLINE, "HF_HOME": str(hub)}
    (copy.root / "some.yaml").write_text(yaml.safe_dump({"orderings": SOME}))
    done = copy.snakemake(study=SMALL, timeout=1500)
    assert done.returncode == 0, done.stdout[-4000:]
    yield copy


def rows_of(copy: Copy) -> list[dict[str, str]]:
    with (copy.root / TABLE).open(newline="") as stream:
        return list(csv.DictReader(stream))


def manifest(copy: Copy, pipeline: str) -> dict:
    path = copy.root / "results/qwen2.5-3b-tiny/seed0/checkpoints" / pipeline / "checkpoint.json"
    return json.loads(path.read_text())


@pytest.mark.slow
def test_one_table_holds_the_arms_side_by_side(run: Copy) -> None:
    rows = {row["pipeline"]: row for row in rows_of(run)}
    assert rows["base"]["arm"] == "corrected paper paper-text"
    assert rows["Q"]["arm"] == "corrected paper"
    assert rows["P-KD-Q"]["arm"] == "corrected"
    assert rows["P.paper-KD.paper-Q"]["arm"] == "paper"
    assert rows["KD.text"]["arm"] == "paper-text"
    assert len(rows) == 1 + 9 + 4 + 1
    for row in ("P-KD-Q", "P.paper-KD.paper-Q"):
        assert rows[row]["published_perplexity"] == "5.05"
    for name, row in rows.items():
        assert {"ppl_wikitext2", "ppl_c4", "ppl_ultrachat-test"} <= set(row)
        assert all(cell.strip() for cell in row.values()), name


@pytest.mark.slow
def test_each_arm_is_made_as_its_settings_say(run: Copy) -> None:
    widths = {p: manifest(run, p)["architecture"]["ffn_widths"] for p in ("P", "P.paper")}
    assert widths == {"P": [80] * 3, "P.paper": [79] * 3}
    assert manifest(run, "KD.paper")["settings"]["reduction"] == "paper"
    paper, corrected = (manifest(run, p)["claims"]["training"] for p in ("KD.paper", "KD"))
    # padding counts: every position of 6 steps of 2 batches of 2
    assert paper["tokens"] == 6 * 2 * 2 * 95 > corrected["tokens"]
    for pipeline in ("P.paper-KD.paper-Q", "Q-KD-P"):
        made = manifest(run, pipeline)
        assert made["format"] == "bnb-nf4"
        assert made["bytes"]["model"] == sum(
            made["bytes"][part] for part in ("analytic", "header", "metadata")
        )


@pytest.mark.slow
def test_the_architecture_survives_the_way_from_the_hub(run: Copy) -> None:
    """Biases are there and not zero, the embedding is tied once, key-value heads are two."""
    from safetensors import safe_open
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = run.root / "results/qwen2.5-3b-tiny/seed0/checkpoints/KD-P"
    model = AutoModelForCausalLM.from_pretrained(folder)
    attention = model.base_model.layers[0].self_attn
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
        assert linear.bias.abs().max() > 0
    with safe_open(folder / "model.safetensors", "pt") as stored:
        assert "lm_head.weight" not in stored.keys()
    config = AutoConfig.from_pretrained(folder)
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 2)
    assert config.vocab_size == fake_hub.ROWS["student"]
    shape = disk.shape_of(config)
    assert storage.dense_bytes(shape) == manifest(run, "KD-P")["bytes"]["analytic"]


@pytest.mark.slow
def test_both_teachers_ran_and_what_they_keep_is_shared(run: Copy) -> None:
    caches = sorted(p.name for p in (run.root / "results/qwen2.5-3b-tiny/teacher").iterdir())
    assert caches == ["KD.paper.safetensors", "KD.safetensors", "reference.safetensors"]
    from safetensors import safe_open

    with safe_open(
        run.root / "results/qwen2.5-3b-tiny/teacher/KD.paper.safetensors", "pt"
    ) as stored:
        assert stored.get_tensor("vocabulary") == fake_hub.ROWS["student"]


@pytest.mark.slow
def test_nothing_is_left_to_do_and_the_plan_stands_beside_the_costs(run: Copy) -> None:
    again = run.snakemake("--dry-run", study=SMALL)
    assert "Nothing to be done" in again.stdout
    table = "results/qwen2.5-3b-tiny/table.csv"
    verdict = run.ask("verdict", "--study", *SMALL.split(), "--table", table)
    assert verdict.returncode == 0, verdict.stdout
    assert "not testable here" in verdict.stdout


# what can go wrong on the way from the hub


def fetch(hub: Path, out: Path, *flags: str, **changes: str):
    entry = STUDY["text"]["wikitext2"]
    wanted = {"--repository": entry["hub"], "--revision": entry["revision"], "--kind": "datasets"}
    wanted |= {f"--{key}": value for key, value in changes.items()}
    pairs = [item for pair in wanted.items() for item in pair]
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {**OFFLINE, "HF_HOME": str(hub)}.items():
            patch.setenv(key, value)
        return cli("fetch", "hub", *pairs, *flags, "--out", out)


def test_a_commit_that_the_cache_lacks_is_one_sentence(hub: Path, tmp_path: Path) -> None:
    done = fetch(hub, tmp_path / "out", revision="1" * 40)
    assert done.returncode == 1
    assert "the hub's cache does not hold the dataset Salesforce/wikitext at 1111" in done.stderr
    assert "HF_HUB_OFFLINE is set" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_branch_is_no_pin(hub: Path, tmp_path: Path) -> None:
    done = fetch(hub, tmp_path / "out", revision="main")
    assert done.returncode == 1
    assert "'main' is no commit of 40 hexadecimal digits" in done.stderr


def test_a_pattern_without_files_is_one_sentence(hub: Path, tmp_path: Path) -> None:
    done = fetch(hub, tmp_path / "out", "--files=data/none-*.parquet")
    assert done.returncode == 1
    assert "'data/none-*.parquet' matches nothing in Salesforce/wikitext@" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_told_by_its_name(hub: Path, tmp_path: Path) -> None:
    home = tmp_path / "hub"
    shutil.copytree(hub / "hub", home / "hub", symlinks=True)
    blobs = home / "hub" / "datasets--Salesforce--wikitext" / "blobs"
    large = next(path for path in blobs.iterdir() if len(path.name) == 64)
    large.write_bytes(large.read_bytes()[:-1])
    done = fetch(home, tmp_path / "out", "--files=wikitext-2-raw-v1/test-*.parquet")
    assert done.returncode == 1
    assert "is damaged: its sha256 is not its name in the hub's cache" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_snapshot_is_linked_whole_with_its_record(hub: Path, tmp_path: Path) -> None:
    done = fetch(hub, tmp_path / "out", "--files=wikitext-2-raw-v1/test-*.parquet")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "asset.json").read_text())
    assert list(record["files"]) == ["wikitext-2-raw-v1/test-00000-of-00001.parquet"]
    assert record["source"]["revision"] == STUDY["text"]["wikitext2"]["revision"]
    text = tmp_path / "text.jsonl"
    flags = ["--files", "wikitext-2-raw-v1/test-*.parquet", "--form=rows", "--out", text]
    assert cli("prepare_text", "--snapshot", tmp_path / "out", *flags).returncode == 0
    lines = [json.loads(line)["text"] for line in text.read_text().splitlines()]
    assert lines[:3] == ["", " = Heading = \n", lines[2]]  # blank rows are kept
    flags[1] = "other-*.parquet"
    done = cli("prepare_text", "--snapshot", tmp_path / "out", *flags)
    assert "'other-*.parquet' matches nothing" in done.stderr


def test_a_gpu_that_is_not_there_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    copy = repository(tmp_path / "repository")
    done = copy.snakemake("results/table.csv", study=FULL)
    assert done.returncode != 0
    assert "the study computes on cuda, and torch sees no GPU here" in done.stdout
    assert not (copy.root / "assets").exists()
