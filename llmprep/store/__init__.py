"""The review log."""
