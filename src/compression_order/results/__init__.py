"""From evaluations to the table, and what published claims become of it."""
