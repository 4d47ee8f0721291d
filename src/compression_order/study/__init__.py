"""The study file: its keys, and the study that it describes."""
