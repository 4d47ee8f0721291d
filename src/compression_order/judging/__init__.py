"""A language model judges stored answers.

`core` writes the answers (`src/write_answers.py`); the environment `judge` has no torch and asks
the judge about them (`src/judge_steps.py`, `src/judge.py`). `deepeval` and `openai` are imported
by `endpoint` and `metrics` alone.
"""
