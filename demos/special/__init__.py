"""Demos of the cluster of special architectures."""
