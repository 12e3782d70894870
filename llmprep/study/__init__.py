"""A study session and its statistics."""
