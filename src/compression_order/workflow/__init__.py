"""What only the Snakefile asks: sources, environments, resources, leftovers of a killed run."""
