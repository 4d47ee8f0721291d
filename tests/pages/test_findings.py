"""The findings in docs/ are those of the records beside them."""

import shipped
from lab import ROOT


def test_the_page_is_that_of_its_records() -> None:
    assert shipped.made().page == (ROOT / "docs/findings.md").read_text()


def test_effects_that_cancel_in_the_mean_are_told_apart() -> None:
    """Of the first experiment: training after Q helps before P and harms after it.

    The figures were computed once by independent code, a conversation each and a token each.
    """
    text = shipped.made().analysis["arms"]["all"]["perplexity"]["alpaca"]
    orders = next(o for o in text["full_orders"] if o["stages"] == ["P", "KD", "Q"])
    found = {
        (e["effect"], e["where"]): (
            round(e["ratio"], 3),
            round(e["beside"]["weighting"]["ratio"], 3),
        )
        for e in orders["simple_effects"]["entries"]
    }
    assert found["train after quantize", "pruning before quantizing"] == (0.919, 0.921)
    assert found["train after quantize", "pruning after quantizing"] == (1.078, 1.086)
    assert found["interaction", ""] == (1.172, 1.179)
    assert found["prune after quantize", "training before quantizing"][1] == 1.034
    assert found["prune after quantize", "training after quantizing"][1] == 1.219
