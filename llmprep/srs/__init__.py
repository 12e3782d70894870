"""Spaced repetition as pure functions."""
