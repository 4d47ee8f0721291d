"""This project's speed and memory beside those of other programs that do the same.

make benchmark
make benchmark QUICK=1

`run.py` is the program, `ways.py` the list of what is measured, `programs/` one file for each kind
of work: training, losses, evaluation, quantizing. Every measurement is a process of its own
(`measure.py`). Medians and ratios (`summary.py`) are kept for each kind of machine in `results/`;
`make docs` draws docs/performance.md from them.
"""
