"""Demos of the architecture cluster."""
