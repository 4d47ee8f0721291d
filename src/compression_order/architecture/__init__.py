"""Shapes, sizes and costs of models by formula: no torch, no weights."""
