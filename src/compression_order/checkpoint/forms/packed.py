"""4-bit codes packed into words, as GPTQ and AWQ store them: compressed-tensors' `pack-quantized`.

Every linear of the decoder layers has integer codes, one bf16 scale a group of columns and,
unless symmetric, one zero point a group: weight = scale * (code - zero point). Transformers and
vLLM load the layout.

A stage on such a parent does not run GPTQ or AWQ again. Its result is rounded to the nearest code
on the grid (scales and zero points) that the parent stored: a stage that changes nothing then
changes no code, no calibration is needed where there is none, and what AWQ folded into the
weights stays. A linear whose shape the stage changed gets a new grid from its smallest and
largest weights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.architecture import storage
from compression_order.checkpoint import forms, masks
from compression_order.common.errors import HarnessError

FORMAT = "compressed-tensors"
LAYOUT = "pack-quantized"
BITS = 4
_CODES = ".weight_packed"
_PARTS = ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape")

Grid = tuple[Tensor, Tensor]  # scales and zero points, [rows, groups] each


@dataclass(frozen=True)
class Packed:
    """How codes are grouped, and the grids of linears.

    Attributes:
        group_size: columns that share a scale.
        symmetric: whether there are no zero points.
        given: module name -> scales and zero points.
        weights: the stored checkpoint whose grids they are, where none are given.
    """

    group_size: int
    symmetric: bool
    given: Mapping[str, Grid] = field(default_factory=dict, repr=False, compare=False)
    weights: Path | None = field(default=None, repr=False, compare=False)

    @cached_property
    def grids(self) -> Mapping[str, Grid]:
        """The grids that are given, or that a stored checkpoint has."""
        if self.weights is None:
            return self.given
        unpacked = _unpacked(load_file(self.weights), self)
        return {name: (parts["weight_scale"], _zero(parts)) for name, parts in unpacked}

    @property
    def format(self) -> str:
        """The manifest's `format`."""
        return FORMAT

    def record(self) -> dict[str, Any]:
        """The manifest's `quantization`; the grids are in the checkpoint."""
        return {"bits": BITS, "group_size": self.group_size, "symmetric": self.symmetric}

    def scheme(self) -> Any:
        """compressed-tensors' description of it."""
        from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

        weights = QuantizationArgs(
            num_bits=BITS,
            type="int",
            strategy="group",
            group_size=self.group_size,
            symmetric=self.symmetric,
        )
        return QuantizationScheme(targets=["Linear"], weights=weights, format=LAYOUT)

    def store(self, model: PreTrainedModel, folder: Path) -> dict[str, Any]:
        """Write a dense model, rounded to the grids, into a folder that this makes."""
        from compressed_tensors.compressors import PackedQuantizationCompressor as Compressor

        require_groups(model, self.group_size)
        scheme, kept = self.scheme(), 0
        state, linears = model.state_dict(), list(masks.linears(model))
        for name, linear in linears:
            weight = state.pop(f"{name}.weight").to(torch.bfloat16)
            origin = forms.name_in_parent(linear, name)
            kept += self._has(origin, weight)
            scale, zero = self._grid(origin, weight)
            parts = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
            packed = Compressor.compress(parts, scheme)
            state |= {f"{name}.{key}": part.contiguous() for key, part in packed.items()}
        model.config.quantization_config = self._config(scheme)
        model.save_pretrained(folder, state_dict=state, max_shard_size="1TB")
        del model.config.quantization_config
        return {"grids": {"given": kept, "fitted": len(linears) - kept}}

    def _config(self, scheme: Any) -> dict[str, Any]:
        from compressed_tensors.quantization import QuantizationConfig

        config = QuantizationConfig(
            config_groups={"group_0": scheme},
            quant_method=FORMAT,
            quantization_status="compressed",
            format=LAYOUT,
            ignore=["lm_head"],
        )
        # without it transformers 5.23 refuses zero points: the model that it prepares for them has
        # them unpacked, the file packed (compressed-tensors 0.19 and 0.20)
        return {**config.to_dict(), "dequantize": True}

    def _has(self, name: str, weight: Tensor) -> bool:
        shape = (weight.shape[0], weight.shape[1] // self.group_size)
        return name in self.grids and self.grids[name][0].shape == shape

    def _grid(self, name: str, weight: Tensor) -> Grid:
        if self._has(name, weight):
            scale, zero = self.grids[name]
            return scale.to(weight.device), zero.to(weight.device)
        return self.fitted(weight)

    def fitted(self, weight: Tensor) -> Grid:
        """The grid that spans the smallest and the largest weight of every group."""
        from compressed_tensors.quantization.utils import calculate_qparams

        groups = weight.unflatten(1, (-1, self.group_size))
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), self.scheme().weights)
        return scale.to(torch.bfloat16), zero.to(torch.int8)

    def rounded(self, name: str, weight: Tensor) -> Tensor:
        """A weight rounded to the nearest point of its grid."""
        from compressed_tensors.quantization import fake_quantize

        scale, zero = self._grid(name, weight)
        found: Tensor = fake_quantize(weight, scale, zero, self.scheme().weights)
        return found

    def state(self, weights: Path) -> dict[str, Tensor]:
        """The state of a stored model with every packed weight in bf16."""
        tensors = load_file(weights)
        found = list(_unpacked(tensors, self))
        return {**tensors, **{f"{name}.weight": parts["weight"] for name, parts in found}}

    def prepare(self, loaded: PreTrainedModel) -> None:
        """Nothing: transformers unpacks the codes when it loads them."""

    def linears(self, loaded: PreTrainedModel, weights: Path) -> int:
        """How many linears are stored as codes; transformers loads them as dense ones."""
        with safe_open(weights, "pt") as stored:
            return sum(name.endswith(_CODES) for name in stored.keys())

    def analytic(self, shape: storage.Counts) -> int:
        """Bytes of the weights, by formula."""
        return storage.packed_bytes(shape, BITS, self.group_size, self.symmetric)


def require_groups(model: PreTrainedModel, group_size: int) -> None:
    """Raise HarnessError unless `group_size` divides the columns of every linear."""
    for name, linear in masks.linears(model):
        if linear.in_features % group_size:
            raise HarnessError(
                f"group_size {group_size} does not divide the {linear.in_features} columns of "
                f"{name}; choose a group_size that does (or widths that are its multiples)"
            )


def read(config: Mapping[str, Any], folder: Path) -> Packed:
    """The form of a stored checkpoint, with its grids.

    Args:
        config: `quantization_config` of its config.json.
        folder: where it lies.
    """
    described = config["config_groups"]["group_0"]["weights"]
    weights = folder / "model.safetensors"
    return Packed(described["group_size"], described["symmetric"], weights=weights)


def _zero(parts: Mapping[str, Tensor]) -> Tensor:
    symmetric = torch.zeros(parts["weight_scale"].shape, dtype=torch.int8)
    return parts.get("weight_zero_point", symmetric)


def _unpacked(tensors: dict[str, Tensor], form: Packed) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Module name -> its `weight` in bf16, `weight_scale` and `weight_zero_point`; takes them."""
    from compressed_tensors.compressors import PackedQuantizationCompressor as Compressor

    scheme = form.scheme()
    for name in [n.removesuffix(_CODES) for n in tensors if n.endswith(_CODES)]:
        stored = {p: tensors.pop(f"{name}.{p}") for p in _PARTS if f"{name}.{p}" in tensors}
        yield name, Compressor.decompress(stored, scheme)
