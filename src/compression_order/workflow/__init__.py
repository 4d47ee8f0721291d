"""Helpers of the Snakefile: sources, environments, resources, leftover jobs of a killed run."""
