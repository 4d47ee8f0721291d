"""What every checkpoint is measured on, and how far two of them are apart."""
