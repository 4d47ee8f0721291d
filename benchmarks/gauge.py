"""Seconds, operations and memory of the timed part of one process.

It needs torch alone, so that every program can be measured in its own environment.
"""

import resource
import time
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook


class Gauge:
    """Marks in time; what lies between the first and the last of them is measured.

    Operations are those that run, padding and a teacher's forward pass among them: linears of the
    decoder layers, attention over whole squares of positions, and the output head. A forward and
    backward pass counts as three forward ones. Where a program keeps keys and values of earlier
    tokens, attention to these is not counted.
    """

    def __init__(self) -> None:
        self._operations = 0
        self._marks: list[tuple[float, float, int]] = []
        self._head = 0

    def mark(self, *_: Any) -> None:
        """Note the time: wall seconds, CPU seconds of all threads, operations so far."""
        self._marks.append((time.perf_counter(), time.process_time(), self._operations))

    def mark_steps(self) -> None:
        """Mark the end of every step of any optimizer, so that the first step is not timed."""
        register_optimizer_step_post_hook(self.mark)

    def watch(self, model: Any) -> None:
        """Count the operations of a model by hooks on its embedding and its head."""
        layers = model.base_model.layers
        linears = sum(
            m.weight.numel() for layer in layers for m in layer.modules() if type(m) is nn.Linear
        )
        attention = sum(layer.self_attn.q_proj.weight.shape[0] for layer in layers)
        head = model.get_output_embeddings()
        self._head = head.weight.numel()

        def read(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            length = output.shape[-2]
            tokens = output.numel() // output.shape[-1]
            self._add(tokens * (linears + 2 * attention * length))

        def predicted(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            self.predict(output.numel() // output.shape[-1])

        model.get_input_embeddings().register_forward_hook(read)
        head.register_forward_hook(predicted)

    def predict(self, tokens: int) -> None:
        """Count the output head at some tokens, where no module of the model computes it."""
        self._add(tokens * self._head)

    def _add(self, multiplications: int) -> None:
        self._operations += 2 * multiplications * (3 if torch.is_grad_enabled() else 1)

    def measured(self) -> dict[str, float | int]:
        """Wall and CPU seconds, floating-point operations, and the process's peak memory."""
        (wall, cpu, operations), (*end, done) = self._marks[0], self._marks[-1]
        return {
            "wall_s": end[0] - wall,
            "cpu_s": end[1] - cpu,
            "flop": done - operations,
            "peak_bytes": peak_bytes(),
        }


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
