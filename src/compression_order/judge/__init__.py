"""A language model judges stored answers.

`core` writes the answers (`src/answers.py`); the environment `judge` has no torch and asks the
judge about them (`src/judge.py`). Only `endpoint` and `metrics` import `deepeval` and `openai`.
"""
