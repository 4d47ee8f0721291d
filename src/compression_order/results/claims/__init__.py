"""Claims of the published studies, as data: one module per study, one entry per claim.

A claim says that some pipelines score lower than others. It is written as groups in ascending
order: every member of a group has a lower score than every member of the next. To add a study,
add a module with one `PublishedStudy` and its row in `REGISTRY`.
"""

from compression_order.common.errors import HarnessError
from compression_order.results.claims import arxiv_2511_19495, llm_compression, llm_workout_plan
from compression_order.results.claims.statement import Claim, Measure, PublishedStudy

__all__ = ["REGISTRY", "Claim", "Measure", "PublishedStudy", "of"]

REGISTRY: dict[str, PublishedStudy] = {
    "arxiv-2511.19495": arxiv_2511_19495.STUDY,
    "llm-workout-plan": llm_workout_plan.STUDY,
    "llm-compression": llm_compression.STUDY,
}


def of(study: str) -> PublishedStudy:
    """The claims of a published study.

    Raises:
        HarnessError: the registry has no claims of this study.
    """
    if study not in REGISTRY:
        raise HarnessError(
            f"published: no claims of {study!r} are written down; add a module in "
            f"src/compression_order/results/claims/, or use one of {', '.join(REGISTRY)}"
        )
    return REGISTRY[study]
