"""LawBench (arXiv 2309.16289): the published scoring rules of its 20 tasks, without a model.

A rule takes the generated text and the right answer. `tasks.py` puts them together for lm-eval's
task files in tasks/lawbench; the data are those of the repository open-compass/LawBench. Checked
against the evaluation code of that repository and its copy in OpenCompass.
"""
