"""Fixtures that more than one file of tests uses, made once a session."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import ROOT, Lab, fetched

pytest_plugins = ["engine_fixtures"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: the last to end is then a short one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _products_as_in_a_stage() -> None:
    """Tests that compute in this process multiply as the CLIs do, in whatever order they run."""
    if "torch" in sys.modules:
        from compression_order.common import bf16

        bf16.widen()


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as prepared; fetched and converted where it is missing."""
    folder = "assets/models/smollm2-135m-instruct"
    fetched(f"{folder}/asset.json")
    return ROOT / folder


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Made once a session."""
    yield Lab.build(tmp_path_factory.mktemp("lab"))
