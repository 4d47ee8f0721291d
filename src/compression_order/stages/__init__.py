"""The steps of every stage: read its flags, load its parent, work, prove, store."""
