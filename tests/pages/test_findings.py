"""The findings in docs/ are those of the records beside them."""

import shipped
from lab import ROOT


def test_the_page_is_that_of_its_records() -> None:
    assert shipped.made().page == (ROOT / "docs/findings.md").read_text()
