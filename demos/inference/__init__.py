"""Demos of the inference cluster."""
