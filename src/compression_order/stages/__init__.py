"""What every stage does: read its flags, load its parent, work, prove, store."""
