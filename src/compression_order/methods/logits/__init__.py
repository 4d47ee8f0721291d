"""Distillation of the teacher's next-token distribution."""
