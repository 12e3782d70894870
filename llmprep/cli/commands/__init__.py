"""The commands: each parses, calls one function that returns a result, and renders it."""
