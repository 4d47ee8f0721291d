"""One training loop, its losses, its teacher and its snapshots, on one device or several."""
