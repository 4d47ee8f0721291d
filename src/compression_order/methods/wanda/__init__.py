"""Wanda."""
