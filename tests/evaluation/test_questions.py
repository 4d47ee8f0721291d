"""Question sets that cannot be asked."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from lab import ROOT

from compression_order.common.errors import HarnessError
from compression_order.evaluation import questions

NOBODY: Any = None  # a model that is not reached


def test_a_task_whose_file_is_empty(tmp_path: Path) -> None:
    data, path = tmp_path / "openbookqa.jsonl", tmp_path / "openbookqa.yaml"
    data.write_text("")
    described = yaml.safe_load((ROOT / "tasks/openbookqa.yaml").read_text())
    described["dataset_kwargs"]["data_files"]["test"] = str(data)
    path.write_text(yaml.safe_dump(described))
    with pytest.raises(HarnessError, match=r"openbookqa\.yaml: the task has no questions; look"):
        questions.prepare([questions.Asked(path, 4)])


@pytest.mark.parametrize("count", [0, 4])
def test_a_task_of_lm_eval_without_questions(count: int) -> None:
    leaves = {"one": SimpleNamespace(eval_docs=["?"]), "other": SimpleNamespace(eval_docs=[])}
    group = questions.Prepared("group", "hub_tasks.group", leaves, count)
    with pytest.raises(HarnessError, match=r"hub_tasks\.group: other has no questions"):
        questions.answer(NOBODY, [group])


def test_two_sets_that_share_a_task() -> None:
    leaves = {"one": SimpleNamespace(eval_docs=["?"])}
    sets = [questions.Prepared(name, name, leaves, 0) for name in ("first", "second")]
    with pytest.raises(HarnessError, match="second: one is in another set too"):
        questions.answer(NOBODY, sets)
