"""Turn evaluations into the table, and test published claims on it."""
