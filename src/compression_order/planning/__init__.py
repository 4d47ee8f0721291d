"""What a study will take, and what it took: jobs, memory, hours. No torch."""
