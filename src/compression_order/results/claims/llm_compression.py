"""llm-compression: LLM-Pruner on Llama-2-7B, SparseGPT on LLaMA-13B, NF4.

Quantized pruned rows are constant multiples and second passes did nothing, so that no claim about
an order is left. The remaining claims compare ways and degrees of pruning. On Llama-2-7B, base
and Q were scored in windows of 2048 tokens, the pruned rows in windows of 128. No perplexity after
recovery was reported. Structured pruning against SparseGPT would compare two models and two
window lengths, and is therefore no claim here.

Chains over a whole grid need every ratio; the additional pairs can be tested on a smaller grid.
"""

from compression_order.results.claims.statement import Claim, Measure, PublishedStudy

LLAMA_2, LLAMA_1 = "Llama-2-7B", "Llama-13B"
LONG_WINDOWS = "scored in windows of 2048 tokens, the pruned rows in windows of 128"
LONGER = {"base": LONG_WINDOWS, "Q": LONG_WINDOWS}
WIKI = ("wikitext2", "wiki")
PTB = ("ptb",)
BLOCK, CHANNEL = ("LPB25", "LPB40", "LPB50", "LPB60"), ("LPC20", "LPC30", "LPC40", "LPC50")
ONE_SIZE = 1.1  # the published pairs are within 1.07
SPARSE = tuple((f"SG{percent}",) for percent in range(20, 100, 10))

STUDY = PublishedStudy(
    measures=(
        Measure("wikitext2", "perplexity_wikitext2", LLAMA_2, "perplexity", WIKI, LONGER),
        Measure("c4", "perplexity_c4", LLAMA_2, "perplexity", ("c4",), LONGER),
        Measure("ptb", "perplexity_ptb", LLAMA_2, "perplexity", PTB, LONGER),
        Measure("wikitext2-13b", "perplexity_wikitext2", LLAMA_1, "perplexity", WIKI),
        Measure("c4-13b", "perplexity_c4", LLAMA_1, "perplexity", ("c4",)),
        Measure("ptb-13b", "perplexity_ptb", LLAMA_1, "perplexity", PTB),
    ),
    claims=(
        *(
            Claim(
                f"block-{block.lower()}",
                f"Block pruning hurts less than channel pruning at about as many parameters, "
                f"{block} less than {channel}",
                "wikitext2", ((block,), (channel,)), alike=ONE_SIZE,
            )
            for block, channel in zip(BLOCK, CHANNEL, strict=True)
        ),
        Claim(
            "block-rises", "Perplexity rises with the ratio of block pruning",
            "wikitext2", tuple((token,) for token in BLOCK),
        ),
        Claim(
            "channel-rises", "Perplexity rises with the ratio of channel pruning",
            "wikitext2", tuple((token,) for token in CHANNEL),
        ),
        Claim(
            "block-25-40", "Block pruning of 40% hurts more than of 25%",
            "wikitext2", (("LPB25",), ("LPB40",)),
        ),
        Claim(
            "channel-20-30", "Channel pruning of 30% hurts more than of 20%",
            "wikitext2", (("LPC20",), ("LPC30",)),
        ),
        Claim(
            "sparsegpt-rises", "Perplexity rises with every tenth of SparseGPT's sparsity from 20%",
            "wikitext2-13b", (("base",), *SPARSE),
        ),
        Claim(
            "sparsegpt-30-50-70", "Perplexity rises from 30% over 50% to 70% of sparsity",
            "wikitext2-13b", (("SG30",), ("SG50",), ("SG70",)),
        ),
        Claim(
            "q-costs-more-than-30", "Q costs more perplexity than 30% of sparsity",
            "wikitext2-13b", (("SG30",), ("Q",)),
        ),
        Claim(
            "q-costs-less-than-half", "Q costs less perplexity than half sparsity",
            "wikitext2-13b", (("Q",), ("SG50",)),
        ),
    ),
)  # fmt: skip
