"""Questions: types, loading, checking, indexing, search."""
