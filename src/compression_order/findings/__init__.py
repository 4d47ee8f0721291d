"""Test which differences of a finished study are real, and with what confidence.

`src/findings.py` reads the evaluations of all seeds and writes analysis.json and findings.md.
docs/statistics.md says how to read them.
"""
