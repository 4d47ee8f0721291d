"""A study file: what it may say, and what it asks for."""
