"""Demos of the training cluster."""
