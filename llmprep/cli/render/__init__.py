"""Drawing in the terminal: the only place that knows rich."""
