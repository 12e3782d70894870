"""Demos: short lessons that measure what the answers claim."""
