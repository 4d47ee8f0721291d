"""Fine-tuning through a low-rank adapter."""
