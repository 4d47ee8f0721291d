"""What a study may say of distillation. Pure Python."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compression_order.architecture import demands, memory
from compression_order.architecture.demands import Demand, State
from compression_order.common.declare import Role
from compression_order.common.errors import HarnessError
from compression_order.methods import formulas, kinds
from compression_order.methods.formulas import Context
from compression_order.training.settings import (
    TeacherName,
    TeacherWeights,
    Teaching,
    TopK,
    Training,
)


class Settings(kinds.Adapted):
    """Learn the teacher's next-token distribution (Hinton et al. 2015, sections 2 and 2.1)."""

    kind: ClassVar[str] = "distill"
    rules: ClassVar[tuple[str, ...]] = (
        kinds.REQUANTIZE,
        kinds.DEQUANTIZE,
        kinds.ADAPTER,
        kinds.FAKE_QUANT,
        kinds.REFUSE,
    )

    temperature: Annotated[
        float,
        Field(ge=1, description="divides the logits of teacher and student, at least 1"),
        Role.TEACHING,
    ] = 2.0
    alpha: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="weight of the distillation loss against cross entropy, 0 to 1",
        ),
        Role.TEACHING,
    ] = 0.5
    top_k: TopK = 0
    reduction: Annotated[
        Literal["token-mean", "paper"],
        Field(
            description="token-mean, or paper: the divergence summed over positions, divided by "
            "the batch and clamped at 100, as arXiv 2511.19495 has it"
        ),
        Role.TEACHING,
    ] = "token-mean"
    teacher: TeacherName = ""
    teacher_weights: TeacherWeights = "bf16"

    @property
    def teaching(self) -> Teaching:
        """What of these settings decides the teacher's outputs."""
        its = {**self.training.model_dump(), **self.model_dump(exclude={"training"})}
        return Teaching(**{name: its[name] for name in Teaching.model_fields})

    def demand(self, parent: State, made: State, context: Context) -> Demand:
        """Train on the training split against the cached outputs."""
        assert context.teacher is not None  # a study names one
        documents = formulas.documents(self.training, context)
        tokens = documents * formulas.length(self.training, context)
        shared = min(made.shape.vocabulary, context.teacher.vocabulary)
        kept = (shared, tokens, documents, self.top_k, context.number)
        cache = memory.cache_bytes(context.teacher, *kept)
        how = self.run(parent, made, context)
        if self.reduction == "paper":
            how = replace(how, heads=2)  # cross entropy and divergence, each from its own logits
        if not self.top_k:
            how = replace(how, taught=shared * context.teacher.hidden)
        logit = memory.BUCKETS_LOGIT if self.top_k else memory.EXACT_LOGIT
        return demands.cached(demands.tune(parent, made, how, cache, logit), context.on_gpu)

    def _require_shareable(self, key: str, its: Training, on_quantized: str, prefix: str) -> None:
        super()._require_shareable(key, its, on_quantized, prefix)
        if self.reduction == "paper":
            raise HarnessError(
                f"{prefix}reduction: 'paper' clamps the divergence of a whole batch, which none "
                f"of {its.devices} devices sees; use token-mean, or set {prefix}{key}.devices to 1"
            )
