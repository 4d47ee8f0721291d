"""What the numbers of a finished study mean: which differences are real, and how sure that is.

`src/findings.py` reads the evaluations of all seeds and writes analysis.json and findings.md.
docs/statistics.md says how to read them.
"""
