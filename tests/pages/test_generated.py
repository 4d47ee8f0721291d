"""What is generated in docs/ is what its sources give: `make docs` rewrites it."""

import pytest
from generated import PAGES
from lab import ROOT


@pytest.mark.parametrize(("name", "write"), PAGES, ids=[name for name, _ in PAGES])
def test_a_generated_page_is_up_to_date(name, write):
    assert (ROOT / name).read_text() == write(), f"{name} is out of date; run `make docs`"
