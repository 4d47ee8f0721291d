"""Everything that the pages point to is there: links, files, tests."""

import re
from itertools import chain

import pytest
from lab import ROOT
from tree import top_folders

PAGES = sorted(
    chain(
        *(
            ROOT.glob(its)
            for its in ("README.md", "CONTRIBUTING.md", "[a-z]*/README.md", "docs/*.md")
        )
    )
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(rf"(?<![\w./-])(?:{'|'.join(top_folders())})/[\w./*-]*[\w*/]")
TEST = re.compile(r"`(test_\w+)`")
A_NAME = "NAME"  # stands for a name that the reader gives


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request):
    return request.param


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", its.lower()).replace(" ", "-") for its in found}


def test_every_relative_link_leads_somewhere(page):
    for link in LINK.findall(page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if "://" not in link:
            assert target.exists(), link
            assert not anchor or anchor in headings(target.read_text()), link


def test_every_file_that_is_named_exists(page):
    for name in FILE.findall(page.read_text()):
        assert A_NAME in name or any(ROOT.glob(name.rstrip("/"))), name


def test_every_test_that_is_named_exists(page):
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in TEST.findall(page.read_text()):
        assert f"def {name}(" in tests, name


def test_every_page_is_linked_from_the_readme():
    linked = set(LINK.findall((ROOT / "README.md").read_text()))
    assert {str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")} <= linked
