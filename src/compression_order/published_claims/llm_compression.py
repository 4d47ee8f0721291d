"""llm-compression: LLM-Pruner on Llama-2-7B, SparseGPT on LLaMA-13B, NF4.

Quantized pruned rows are constant multiples and second passes did nothing, so that no claim
about an order is left: what remains compares ways and degrees of pruning. On Llama-2-7B base and
Q were read in windows of 2048 tokens, the pruned rows in windows of 128.
"""

from compression_order.published_claims.kinds import Claim, Measure, PublishedStudy

LLAMA_2, LLAMA_1 = "Llama-2-7B", "Llama-13B"
LONG_WINDOWS = "scored in windows of 2048 tokens, the pruned rows in windows of 128"
LONGER = {"base": LONG_WINDOWS, "Q": LONG_WINDOWS}
WIKI = ("wikitext2", "wiki")
SPARSE = tuple((f"SG{percent}",) for percent in range(20, 100, 10))

STUDY = PublishedStudy(
    measures=(
        Measure("wikitext2", "perplexity_wikitext2", LLAMA_2, "perplexity", WIKI, LONGER),
        Measure("c4", "perplexity_c4", LLAMA_2, "perplexity", ("c4",), LONGER),
        Measure("wikitext2-13b", "perplexity_wikitext2", LLAMA_1, "perplexity", WIKI),
        Measure("c4-13b", "perplexity_c4", LLAMA_1, "perplexity", ("c4",)),
    ),
    claims=(
        *(
            Claim(
                f"block-{block.lower()}",
                f"Block pruning hurts less than channel pruning at about as many parameters, "
                f"{block} less than {channel}",
                "wikitext2", ((block,), (channel,)),
            )
            for block, channel in (
                ("LPB25", "LPC20"), ("LPB40", "LPC30"), ("LPB50", "LPC40"), ("LPB60", "LPC50"),
            )
        ),
        Claim(
            "sparsegpt-rises", "Perplexity rises with every tenth of SparseGPT's sparsity from 20%",
            "wikitext2-13b", (("base",), *SPARSE),
        ),
        Claim(
            "q-costs-less-than-half", "Q costs less perplexity than half sparsity",
            "wikitext2-13b", (("Q",), ("SG50",)),
        ),
    ),
)  # fmt: skip
