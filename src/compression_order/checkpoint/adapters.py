"""Low-rank adapters: put on a model, trained, merged into its weights or stored beside them.

Hu et al. 2021, LoRA, section 4.1 (arXiv 2106.09685): a linear W x gains (alpha / rank) B A x, and
only A and B train. On the frozen weights of a 4-bit parent it is QLoRA (Dettmers et al. 2023,
section 3, arXiv 2305.14314). The layers are PEFT's.

An adapter that is merged is merged into weights where pruning left zeros: there its product is
masked while it trains, so that what is merged is what was trained. An adapter that stays beside
the weights is dense, as every program that serves one computes it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from compression_order.checkpoint import masks
from compression_order.checkpoint.settings import EVERY, Adapter
from compression_order.common import arithmetic, files
from compression_order.common.errors import HarnessError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = "default"  # PEFT's name of a model's only adapter
_PREFIX = "base_model.model."  # of the names in PEFT's files


def put(model: PreTrainedModel, its: Adapter, masked: bool) -> None:
    """Freeze a model and give it a fresh adapter in float32; B is zero: the function stays.

    Args:
        model: dense, without an adapter; changed in place.
        its: the adapter.
        masked: whether the product is kept off the zeros of a pruning.

    Raises:
        HarnessError: a target matches no linear.
    """
    targets = _targets(model, its.targets)
    _inject(model, _config(its, targets), masked)
    freeze(model)


def freeze(model: PreTrainedModel) -> None:
    """Only the adapter trains, in float32; frozen weights are in what products are made in."""
    for name, parameter in model.named_parameters():
        trains = _is_part(name)
        parameter.requires_grad_(trains)
        parameter.data = parameter.data.to(torch.float32 if trains else arithmetic.dtype())


def merge(model: PreTrainedModel) -> None:
    """Add the adapter's product to the weights, but for pruned zeros; changes the model."""
    for path, layer in list(_layers(model)):
        linear = layer.get_base_layer()
        with torch.no_grad():
            # in float32, whatever the dtype that the stage works in
            low, high = layer.lora_A[_NAME].weight.float(), layer.lora_B[_NAME].weight.float()
            product = high @ low * layer.scaling[_NAME]
            linear.weight.data = (linear.weight.to(torch.float32) + product).to(linear.weight.dtype)
        owner, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(owner), leaf, linear)
    masks.restore(model)
    model.requires_grad_(True)


def is_stored(folder: Path) -> bool:
    """Whether a checkpoint has an adapter beside its weights."""
    return (folder / CONFIG).exists()


def parameters(model: PreTrainedModel) -> int:
    """Parameters of a model's adapter; 0 where it has none."""
    return sum(p.numel() for name, p in model.named_parameters() if _is_part(name))


def stored_with(folder: Path) -> Adapter:
    """The shape of the adapter that lies beside a checkpoint."""
    its = files.read_json(folder / CONFIG)
    targets = ",".join(its["target_modules"])
    return Adapter(
        rank=its["r"], alpha=its["lora_alpha"], dropout=its["lora_dropout"], targets=targets
    )


def same(model: PreTrainedModel, stored: Adapter, asked: Adapter) -> bool:
    """Whether a stored adapter is the one that a stage asks for."""
    wanted = ",".join(_targets(model, asked.targets))
    return stored == asked.with_(targets=wanted)


def store(model: PreTrainedModel, folder: Path) -> None:
    """Write the adapter in PEFT's format, in bf16; `from_pretrained` finds it there."""
    layers = dict(_layers(model))
    tensors = {
        f"{_PREFIX}{name.replace(f'.{_NAME}.', '.')}": parameter.detach().to(torch.bfloat16)
        for name, parameter in model.named_parameters()
        if _is_part(name)
    }
    save_file(
        {n: t.cpu().contiguous() for n, t in tensors.items()}, folder / WEIGHTS, {"format": "pt"}
    )
    config = model.peft_config[_NAME].to_dict()
    config["target_modules"] = sorted({name.rpartition(".")[2] for name in layers})
    files.write_json(folder / CONFIG, {k: _listed(v) for k, v in config.items()})


def attach(model: PreTrainedModel, folder: Path) -> None:
    """Give a dense model the adapter that lies beside its checkpoint, in the model's dtype."""
    its = stored_with(folder)
    _inject(model, _config(its, its.targets.split(",")), masked=False)
    tensors = load_file(folder / WEIGHTS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if _is_part(name):
                stored = tensors[f"{_PREFIX}{name.replace(f'.{_NAME}.', '.')}"]
                parameter.copy_(stored)


def _targets(model: PreTrainedModel, asked: str) -> list[str]:
    """The names of the linears that `asked` means, sorted."""
    known = sorted({name.rpartition(".")[2] for name, _ in masks.linears(model)})
    if asked == EVERY:
        return known
    wanted = sorted(set(asked.split(",")))
    for name in wanted:
        if name not in known:
            raise HarnessError(
                f"adapter.targets: {name!r} matches no linear of the decoder layers; write "
                f"{EVERY}, or some of {','.join(known)}"
            )
    return wanted


def _config(its: Adapter, targets: list[str]) -> Any:
    from peft import LoraConfig  # slow to import; most stages do without

    return LoraConfig(
        r=its.rank,
        lora_alpha=its.alpha,
        lora_dropout=its.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


def _inject(model: PreTrainedModel, config: Any, masked: bool) -> None:
    from peft import inject_adapter_in_model

    if masked and masks.of(model):
        config._register_custom_module({nn.Linear: _masked_class()})
    inject_adapter_in_model(config, model, adapter_name=_NAME)
    model.peft_config = {_NAME: config}


def _masked_class() -> Any:
    from peft.tuners import lora

    class MaskedLinear(lora.Linear):
        """A linear whose adapter does not reach the zeros of a pruning."""

        def get_delta_weight(self, adapter: str) -> Tensor:
            product: Tensor = super().get_delta_weight(adapter)
            return product.masked_fill(masks.of_linear(self.get_base_layer()), 0)

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            seen = self.lora_dropout[_NAME](x)
            found: Tensor = self.base_layer(x)
            return found + nn.functional.linear(seen, self.get_delta_weight(_NAME).to(x.dtype))

    return MaskedLinear


def _layers(model: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    """Path and module of every linear with an adapter."""
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            yield name, module


def _is_part(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


def _listed(value: Any) -> Any:
    """Sets in a fixed order, for JSON."""
    return sorted(value) if isinstance(value, set) else value
