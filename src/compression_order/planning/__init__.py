"""Plan the costs of a study and compare them with the measured ones: jobs, memory, hours. No torch."""
