"""Conversations as records and as token ids."""
