"""One training on several devices: fully sharded data parallelism, one process a device.

Weights, gradients and the optimizer's moments are sharded by torch's FSDP2 (Zhao et al. 2023,
arXiv 2304.11277): a decoder layer's weights are gathered when it computes and let go after. The
embedding, the last norm and the head are gathered for the whole step, so that the chunked loss
(`losses.py`) reads plain tensors. Each process takes its share of the documents of every batch.

With one process nothing here does anything: no group is made, and tensors stay what they are.
"""

import copy
import os
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from compression_order.common.errors import HarnessError

Item = TypeVar("Item")
_PATIENCE = timedelta(minutes=30)  # the slowest wait for another process: a large snapshot


def rank() -> int:
    """The number of this process, 0 where it is alone."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many processes run this stage together; torchrun says it in WORLD_SIZE."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def require_launched(wanted: int) -> None:
    """Refuse a stage that runs in more or fewer processes than its settings ask for.

    Raises:
        HarnessError: it does.
    """
    found = processes()
    if wanted != found:
        start = f"torchrun --standalone --nproc-per-node={wanted}" if wanted > 1 else "python"
        raise HarnessError(
            f"devices: the settings ask for {wanted}, and {found} process(es) run; start the "
            f"script with `{start}`"
        )


def begin(device: torch.device) -> torch.device:
    """Join the other processes, if there are any; the device of this one.

    Raises:
        HarnessError: there are more processes than GPUs.
    """
    if processes() == 1:
        return device
    if device.type == "cuda":
        number, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= found:
            raise HarnessError(
                f"devices: the study asks for {processes()} GPUs, and torch sees {found} "
                "here; lower `devices`, or run where there are as many"
            )
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    return device


def leave() -> None:
    """Wait for the others and part from them; all but the first process end here.

    Raises:
        SystemExit: this is not the first process; status 0.
    """
    if not dist.is_initialized():
        return
    dist.barrier()
    dist.destroy_process_group()
    if rank():
        raise SystemExit(0)


def share(items: Sequence[Item]) -> Sequence[Item]:
    """This process's part of a batch."""
    return items[rank() :: processes()]


def summed(value: float, device: torch.device) -> float:
    """The sum of a number over the processes, the same in each."""
    if not dist.is_initialized():
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total)


def is_due(since: float, seconds: float, device: torch.device) -> bool:
    """Whether `seconds` passed since a moment of the monotonic clock, by the first one's clock."""
    late = time.monotonic() - since >= seconds
    if not dist.is_initialized():
        return late
    flag = torch.tensor(int(late), device=device)
    dist.broadcast(flag, 0)
    return bool(flag)


def worker(model: PreTrainedModel) -> PreTrainedModel:
    """What trains: the model itself, or a copy of its modules that shares its weights.

    Sharding changes the modules that it is applied to for good; the model stays as it is.
    """
    if not dist.is_initialized():
        return model
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.data, 0)
    shared = {id(weight): weight for weight in model.parameters()}
    twin: PreTrainedModel = copy.deepcopy(model, shared)
    return twin


def shard(step: nn.Module, model: PreTrainedModel, owner: PreTrainedModel) -> None:
    """Shard the layers of `model`, then what is left of `step`, the module around it.

    The weights of `owner`, which `model` shared, are let go until `restore`.
    """
    if not dist.is_initialized():
        return
    for layer in model.base_model.layers:
        fully_shard(layer)
    fully_shard(step)
    for weight in owner.parameters():
        weight.data = weight.data.new_empty(0)


def restore(model: PreTrainedModel, owner: PreTrainedModel) -> None:
    """Put the trained weights of `model`, whole, into `owner`, in the first process."""
    if not dist.is_initialized():
        return
    for theirs, weight in zip(model.parameters(), owner.parameters(), strict=True):
        full = whole(theirs.detach())
        if not rank():
            weight.data = full


def whole(tensor: Tensor) -> Tensor:
    """A tensor, gathered where it is sharded; every process must ask for the same one."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(full: Tensor, parameter: Tensor) -> Tensor:
    """This process's shard of a whole tensor, or the tensor where `parameter` is not sharded."""
    full = full.to(parameter.device)
    if not isinstance(parameter, DTensor) or full.shape != parameter.shape:
        return full
    # every process has read the whole tensor: nothing is sent
    return distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)
