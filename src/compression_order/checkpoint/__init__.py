"""Checkpoints as stored: opened once, loaded in any form, proved by what lies on the disk."""
