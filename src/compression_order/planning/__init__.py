"""Plan the costs of a study and compare them with measured ones: jobs, memory, hours. No torch."""
