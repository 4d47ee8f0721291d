"""Evaluations of one checkpoint, and the distance between two."""
