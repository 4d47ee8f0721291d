"""Fine-tuning of all weights."""
