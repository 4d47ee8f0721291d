"""Models and texts as they are fetched, verified and brought into one plain form."""
