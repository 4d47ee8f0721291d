"""Methods beside independent implementations, on SmolLM2 and the default study's calibration text.

The figures that these tests print are those of docs/methods.md.
"""

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from brain_surgery import inverse_hessian, solve
from lab import ROOT, fetched, in_quant, inside
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel

from compression_order.checkpoint import masks, models
from compression_order.checkpoint.forms import packed
from compression_order.checkpoint.stored import Checkpoint
from compression_order.evaluation import perplexity, samples
from compression_order.methods.llm_pruner import run as llm_pruner
from compression_order.methods.shortgpt import run as shortgpt
from compression_order.study.settings import Opening
from compression_order.text import chat
from compression_order.text.chat import Encoded

pytestmark = pytest.mark.slow

MODEL, TEXT = "assets/models/smollm2-135m-instruct", "assets/text/alpaca.jsonl"
SPLITS = yaml.safe_load((ROOT / "config.yaml").read_text())["splits"]
SEQ_LEN, GROUP, BLOCK = 256, 64, 128
# linears of a layer that read the same states
TOGETHER = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
LINEARS = tuple(name for names in TOGETHER for name in names)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Real:
    """The base checkpoint of the default study, its text and splits; nothing may be changed."""

    base: Path
    splits: Path

    @property
    def text(self) -> Path:
        return ROOT / TEXT

    def model(self, dtype: torch.dtype) -> PreTrainedModel:
        return Checkpoint(self.base).model(dtype)

    def calibration(self, seq_len: int = SEQ_LEN) -> list[Encoded]:
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        return chat.encode(tokenizer, chat.records(self.text, self.splits, "calibration"), seq_len)

    def windows(self) -> Tensor:
        return chat.windows(self.calibration(), SEQ_LEN)

    def perplexity(self, model: PreTrainedModel) -> float:
        """Over the held-out conversations."""
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        sample = samples.documents(tokenizer, self.text, self.splits, Opening())
        scores = perplexity.score(model, sample)
        found: float = perplexity.perplexity_record(sample, scores)["perplexity"]
        return found


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    fetched(f"{MODEL}/asset.json", TEXT)
    folder = tmp_path_factory.mktemp("real")
    found = Real(folder / "base", folder / "splits.json")
    parts = [f"--{key.replace('_', '-')}={SPLITS[key]}" for key in SPLITS if key != "text"]
    inside("split_text", "--text", found.text, *parts, "--out", found.splits)
    inside("base", "--model", ROOT / MODEL, "--out", found.base, "--costs", folder / "costs")
    return found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints past pytest's capture."""

    def told(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="")

    return told


# ShortGPT and LLM-Pruner


def test_block_influence_is_that_of_output_hidden_states(real: Real, say: Say) -> None:
    """One conversation at a time in float32, no hooks, no padding; the project computes in bf16."""
    model, documents = real.model(torch.float32), real.calibration()
    found = shortgpt.block_influence(model, documents, 4)
    model.base_model.norm = nn.Identity()  # the last of those states has been through it
    sums, tokens = torch.zeros(len(found), dtype=torch.float64), 0
    for document in documents:
        with torch.no_grad():
            states = model(torch.tensor([document.ids]), output_hidden_states=True).hidden_states
        pairs = itertools.pairwise(states)
        cosines = [torch.cosine_similarity(a[0].double(), b[0].double(), dim=-1) for a, b in pairs]
        sums += torch.stack(cosines).sum(1)
        tokens += len(document.ids)
    by_hand = (1 - sums / tokens).tolist()
    worst = max(abs(a - b) / b for a, b in zip(found, by_hand, strict=True))
    ranked = [sorted(range(len(found)), key=lambda i, v=v: v[i]) for v in (found, by_hand)]
    say(
        f"Block Influence, {tokens} tokens: {min(by_hand):.4f} to {max(by_hand):.4f}; largest "
        f"relative difference {worst:.1e}; the 7 least influential layers {sorted(ranked[0][:7])} "
        f"and {sorted(ranked[1][:7])}"
    )
    assert worst < 0.02
    assert sorted(ranked[0][:7]) == sorted(ranked[1][:7])


@contextlib.contextmanager
def watched(modules: Mapping[str, Any]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Name -> what entered a module and the gradient of what left it, [tokens, width] each."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Callable[..., None]:
        def observe(_: nn.Module, given: tuple[Tensor, ...], left: Tensor) -> None:
            entered = given[0].detach()

            def keep(gradient: Tensor) -> None:
                seen[name] = (entered[0], gradient[0].detach())

            left.register_hook(keep)

        return observe

    hooks = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    yield seen
    for handle in hooks:
        handle.remove()


def gradients_by_hand(model: PreTrainedModel, documents: Sequence[Encoded]) -> dict[str, Tensor]:
    """Gradients of every weight as products of what autograd gives at outputs alone.

    Of a linear: sum over tokens of (gradient of the output) (input)^T. Of a norm: of gradient
    times normalized input. Of the embedding, which is the output head too: the head's, plus the
    gradients of the tokens' vectors, each at its row. The padding token has none there in torch,
    and in SmolLM2 the end of a turn is that token. The loss is written out.
    """
    norms = [n for n, _ in model.named_modules() if n.endswith("norm")]
    names = ["model.embed_tokens", "lm_head", *dict(masks.linears(model)), *norms]
    modules = {name: model.get_submodule(name) for name in names}
    total = {name: torch.zeros_like(module.weight) for name, module in modules.items()}
    predicted = sum(len(d.ids) - 1 for d in documents)
    for document in documents:
        ids = torch.tensor(document.ids)
        with watched(modules) as seen:
            scores = model(ids[None]).logits[0].log_softmax(-1)
            (-scores[torch.arange(len(ids) - 1), ids[1:]].sum() / predicted).backward()
        for name, (entered, gradient) in seen.items():
            if name == "model.embed_tokens":
                real = ids != modules[name].padding_idx
                total[name].index_add_(0, ids[real], gradient[real])
            elif name in norms:
                root = (entered.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
                total[name] += (gradient * entered * root).sum(0)
            else:
                total[name] += gradient.T @ entered
    total["model.embed_tokens"] += total.pop("lm_head")
    return total


def test_taylor_scores_are_those_of_gradients_made_by_hand(real: Real, say: Say) -> None:
    model = real.model(torch.float32)
    assert model.config.rms_norm_eps == 1e-5
    settings = llm_pruner.Settings()
    documents = llm_pruner.samples(real.calibration(settings.seq_len), settings)
    gradients = gradients_by_hand(model, documents)
    taylor = {n: (model.get_submodule(n).weight * g).abs() for n, g in gradients.items()}
    llm_pruner.differentiate(model, documents, settings.calibration_batch)
    shared, size = model.config.num_key_value_heads, model.config.head_dim
    found: dict[str, list[Tensor]] = {"heads": [], "neurons": []}
    by_hand: dict[str, list[Tensor]] = {"heads": [], "neurons": []}
    for number, layer in enumerate(model.base_model.layers):
        its = {name: taylor[f"model.layers.{number}.{name}"] for name in LINEARS}
        found["heads"].append(llm_pruner.head_importance(layer, shared))
        found["neurons"].append(llm_pruner.neuron_importance(layer))
        queries = its["self_attn.q_proj"].reshape(shared, -1).sum(1)
        outputs = its["self_attn.o_proj"].T.reshape(shared, -1).sum(1)
        keys = sum(its[f"self_attn.{n}_proj"].reshape(shared, -1).sum(1) for n in "kv")
        by_hand["heads"].append(queries + outputs + keys)
        gates = its["mlp.gate_proj"].sum(1) + its["mlp.up_proj"].sum(1)
        by_hand["neurons"].append(gates + its["mlp.down_proj"].sum(0))
    assert found["heads"][0].shape == (shared,)
    assert size * shared == model.config.hidden_size // 3
    channels = torch.zeros(model.config.hidden_size)
    for name, values in taylor.items():
        if name.endswith("norm"):
            channels += values
        else:
            channels += values.sum(1 if name.endswith(("o_proj", "down_proj")) else 0)
    found["channels"] = [llm_pruner.channel_importance(model, tied=True)]
    by_hand["channels"] = [channels]
    for kind, ours in found.items():
        pairs = list(zip(ours, by_hand[kind], strict=True))
        worst = max(float(((a - b).abs() / b).detach().max()) for a, b in pairs)
        kept = [max(1, int(0.75 * len(a))) for a in ours]
        alike = [
            set(llm_pruner.best(a, n).tolist()) & set(llm_pruner.best(b, n).tolist())
            for (a, b), n in zip(pairs, kept, strict=True)
        ]
        say(
            f"Taylor, {kind}: {sum(map(len, ours))} groups, largest relative difference "
            f"{worst:.1e}, {sum(map(len, alike))} of {sum(kept)} kept at 25% are the same"
        )
        assert worst < 1e-4
        assert sum(map(len, alike)) >= 0.999 * sum(kept)


# SparseGPT and GPTQ, against the algorithms written out in test_llm_compressor.py

STAGES = {
    "S": ("prune", ["--method=sparsegpt", f"--block-size={BLOCK}"]),
    "symmetric": ("quantize", ["--method=gptq", f"--group-size={GROUP}"]),
    "zero": ("quantize", ["--method=gptq", f"--group-size={GROUP}", "--symmetric=false"]),
}


@pytest.fixture(scope="module")
def made(real: Real, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages of the environment `quant`, in one process of it."""
    folder, commands = tmp_path_factory.mktemp("quant"), []
    for name, (script, flags) in STAGES.items():
        work = folder / "work" / name
        common = ["--parent", real.base, "--out", folder / name, "--pipeline", name]
        read = ["--text", real.text, "--splits", real.splits, f"--seq-len={SEQ_LEN}"]
        aside = ["--work", work, "--costs", work / "costs", "--max-degenerate=1.0"]
        commands.append([script, *map(str, [*common, *read, *aside]), *flags])
    assert in_quant(commands) == [None] * len(STAGES)
    return folder


class Reached(Exception):
    """The layer asked for has run."""


def entering(model: PreTrainedModel, layer: Any, windows: Tensor) -> dict[str, Tensor]:
    """Linear -> [tokens, columns]: what reaches it, in float64."""
    seen: dict[str, list[Tensor]] = {name: [] for name in LINEARS}

    def note(name: str) -> Callable[..., None]:
        return lambda _, given: seen[name].append(given[0][0])

    def stop(*_: Any) -> None:
        raise Reached

    linears = {name: layer.get_submodule(name) for name in LINEARS}
    hooks = [linear.register_forward_pre_hook(note(name)) for name, linear in linears.items()]
    hooks.append(layer.register_forward_hook(stop))
    for window in windows:
        with torch.no_grad(), contextlib.suppress(Reached):
            model(window[None])
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(states).double() for name, states in seen.items()}


def plain_sparsegpt(weight: Tensor, states: Tensor, share: float) -> Tensor:
    """SparseGPT (Frantar and Alistarh 2023, algorithm 1); the mask of a block at its turn."""
    inverse = inverse_hessian(states)
    turn: list[Tensor] = []  # the diagonal of the inverse when each column's turn comes
    order = torch.arange(len(inverse))

    def pivot(at: int, values: Tensor, _: Tensor, now: Tensor) -> Tensor:
        turn.append(now[at, at].clone())
        return values

    solve(weight[:1], inverse, order, pivot)
    diagonal, gone = torch.stack(turn), torch.zeros_like(weight, dtype=torch.bool)

    def zero(at: int, values: Tensor, now: Tensor, _: Tensor) -> Tensor:
        if at % BLOCK == 0:
            block = slice(at, at + BLOCK)
            score = now[:, block].square() / diagonal[block]
            worst = score.flatten().kthvalue(round(share * score.numel())).values
            gone[:, block] = score <= worst
        return values.masked_fill(gone[:, at], 0)

    return solve(weight, inverse, order, zero)


@pytest.mark.quant
def test_sparsegpt_errs_as_the_algorithm_written_out(real: Real, made: Path, say: Say) -> None:
    """All linears of the first layer, whose inputs depend on no pruned layer before."""
    model = real.model(torch.bfloat16)
    states = entering(model, model.model.layers[0], real.windows())
    dense, pruned = (load_file(f / "model.safetensors") for f in (real.base, made / "S"))
    errors: dict[str, list[float]] = {"magnitude": [], "library": [], "written out": []}
    for name in LINEARS:
        key = f"model.layers.0.{name}.weight"
        weight, entered = dense[key].double(), states[name]
        cut = weight.abs().flatten().kthvalue(weight.numel() // 2).values
        found = {
            "magnitude": weight.masked_fill(weight.abs() <= cut, 0),
            "library": pruned[key].double(),
            "written out": plain_sparsegpt(weight, entered, 0.5),
        }
        for kind, its in found.items():
            lost = ((its - weight) @ entered.T).norm() / (weight @ entered.T).norm()
            errors[kind].append(float(lost) ** 2)
        told = ", ".join(f"{kind} {values[-1]:.3e}" for kind, values in errors.items())
        say(f"SparseGPT, 50%, output error of {name}: {told}")
        assert errors["library"][-1] == pytest.approx(errors["written out"][-1], rel=0.05)
        assert errors["library"][-1] < errors["magnitude"][-1]


def plain_gptq(model: PreTrainedModel, windows: Tensor, form: packed.Packed) -> None:
    """GPTQ (Frantar et al. 2022, algorithm 1), layer after layer; changes the model."""
    for layer in model.model.layers:
        states = entering(model, layer, windows)
        for names in TOGETHER:
            linears = [layer.get_submodule(name) for name in names]
            weight = torch.cat([linear.weight.detach() for linear in linears])
            fixed = on_grid(weight, states[names[0]], form).to(torch.bfloat16)
            parts = fixed.split([len(linear.weight) for linear in linears])
            for linear, part in zip(linears, parts, strict=True):
                linear.weight.data = part.clone()


def on_grid(weight: Tensor, states: Tensor, form: packed.Packed) -> Tensor:
    """The columns of large activations first; scales and zero points are the weight's own."""
    scale, zero = (t.double().repeat_interleave(GROUP, 1) for t in form.fitted(weight))

    def nearest(column: int, values: Tensor, *_: Tensor) -> Tensor:
        step, shift = scale[:, column], zero[:, column]
        return ((values / step + shift).round().clamp(-8, 7) - shift) * step

    order = states.square().sum(0).argsort(descending=True)
    return solve(weight.double(), inverse_hessian(states), order, nearest)


@pytest.mark.quant
def test_gptq_predicts_as_the_algorithm_written_out(real: Real, made: Path, say: Say) -> None:
    base, windows = real.model(torch.bfloat16), real.windows()
    dense = real.perplexity(base)
    say(f"GPTQ, 4 bits, groups of {GROUP}, held-out conversations: dense {dense:.4f}")
    for name, symmetric in (("symmetric", True), ("zero", False)):
        form, nearest, plain = (
            packed.Packed(GROUP, symmetric),
            copy.deepcopy(base),
            copy.deepcopy(base),
        )
        for linear_name, linear in masks.linears(nearest):
            linear.weight.data = form.rounded(linear_name, linear.weight.data)
        plain_gptq(plain, windows, form)
        library = Checkpoint(made / name).model(torch.bfloat16)
        found = {
            "nearest": real.perplexity(nearest),
            "library": real.perplexity(library),
            "written out": real.perplexity(plain),
        }
        say(f"  {name}: {', '.join(f'{kind} {value:.4f}' for kind, value in found.items())}")
        assert dense < found["library"] < found["nearest"]
        assert found["library"] == pytest.approx(found["written out"], rel=0.03)


def test_the_architecture_is_the_published_one(real: Real) -> None:
    shape = models.architecture(real.model(torch.bfloat16))
    assert shape.parameters == 134_515_008
