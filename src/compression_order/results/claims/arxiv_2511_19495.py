"""arXiv 2511.19495: pruning, distillation and NF4 on Qwen2.5-3B, in all six orders.

The six orders split exactly on Q before P. The figures do not support a wider reading, that
nothing may be trained after quantizing: P-Q-KD trains after Q and does not collapse. Both
predicates are tested.
"""

from compression_order import orderings
from compression_order.results.claims.statement import Claim, Measure, PublishedStudy

MODEL = "Qwen2.5-3B"
SIX = tuple(p for p in orderings.all_subsets(["P", "KD", "Q"]) if p.count("-") == 2)
EARLY = tuple(p for p in SIX if orderings.before(p, "Q", "P"))
LATE = tuple(p for p in SIX if p not in EARLY)
TRAINED_AFTER_Q = tuple(p for p in SIX if orderings.before(p, "Q", "KD"))
TRAINED_BEFORE_Q = tuple(p for p in SIX if p not in TRAINED_AFTER_Q)
OTHERS = tuple(p for p in SIX if p != "P-KD-Q")

STUDY = PublishedStudy(
    measures=(
        Measure("perplexity", "perplexity", MODEL, "perplexity"),
        Measure("quality", "g_eval", MODEL, "quality"),
    ),
    claims=(
        Claim(
            "kd-below-base", "KD lowers perplexity below base",
            "perplexity", (("KD",), ("base",)),
        ),
        Claim(
            "q-costs-less-than-p", "Q alone costs less perplexity than P alone",
            "perplexity", (("Q",), ("P",)),
        ),
        Claim(
            "pkdq-beats-p", "P-KD-Q has a lower perplexity than P",
            "perplexity", (("P-KD-Q",), ("P",)),
        ),
        Claim(
            "pkdq-best-order", "P-KD-Q has the lowest perplexity of the six orders",
            "perplexity", (("P-KD-Q",), OTHERS),
        ),
        Claim(
            "early-q-worst", "Every order with Q before P has a higher perplexity than every other",
            "perplexity", (LATE, EARLY),
        ),
        Claim(
            "early-q-collapses",
            "The orders with Q before P collapse: their lowest perplexity is a multiple of the "
            "highest of the others",
            "perplexity", (LATE, EARLY), collapse=True,
        ),
        Claim(
            "training-after-q",
            "Training after Q is not what collapses: P-Q-KD stays below every order with Q "
            "before P",
            "perplexity", (("P-Q-KD",), EARLY), rival=(TRAINED_BEFORE_Q, TRAINED_AFTER_Q),
        ),
        Claim(
            "pkdq-best-quality", "P-KD-Q has the highest quality of the six orders",
            "quality", (OTHERS, ("P-KD-Q",)),
        ),
        Claim(
            "early-q-quality",
            "Every order with Q before P has a lower quality than every other", "quality",
            (EARLY, LATE),
        ),
    ),
    one_size=SIX,
)  # fmt: skip
