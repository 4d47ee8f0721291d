"""What observes a process: its time, memory, utilization and energy. No result depends on it."""
