"""llm-workout-plan: ShortGPT, LoRA and AWQ on Qwen2.5-3B in sixteen pipelines.

Most printed scores are invalid: the LawBench column is one task on two questions. The usable
scores were recomputed from stored answers: MMLU over the about 412 valid predictions, and 20
LawBench tasks of two questions each. The LawBench scores are too few for a claim; only their
ranking is compared with ours. Only gaps far beyond the error of 412 answers (2.5 points) are
claims here.
"""

from compression_order.results.claims.statement import Claim, Measure, PublishedStudy

MODEL = "Qwen2.5-3B"
TASKS = ("mmlu", "mmlu_stem")
# used if a study does not ask LawBench; none of them is about Chinese law
LAW = (
    "mmlu_international_law", "mmlu_professional_law",
    "contracts", "consumer_contracts", "privacy_policy", "legal_support",
)  # fmt: skip
NEVER_PRUNED = "the audit found the size and run time of 36 layers: it was never pruned"
UNPRUNED = {"P-FT": NEVER_PRUNED, "P-FT-Q": NEVER_PRUNED}

STUDY = PublishedStudy(
    measures=(
        Measure("mmlu", "mmlu_stem_valid_only", MODEL, "quality", TASKS, UNPRUNED),
        Measure("lawbench", "lawbench_mean20", MODEL, "quality", ("lawbench",), UNPRUNED, LAW),
    ),
    claims=(
        Claim(
            "p-after-q", "Pruning after Q lowers accuracy",
            "mmlu", (("Q-P",), ("Q",)),
        ),
        Claim(
            "p-after-ft", "Pruning after FT lowers accuracy",
            "mmlu", (("FT-P",), ("FT",)),
        ),
        Claim(
            "q-after-ft", "Q after FT lowers accuracy",
            "mmlu", (("FT-Q",), ("FT",)),
        ),
        Claim(
            "ft-before-q", "FT before Q gives a lower accuracy than FT after Q",
            "mmlu", (("FT-Q",), ("Q-FT",)),
        ),
    ),
)  # fmt: skip
