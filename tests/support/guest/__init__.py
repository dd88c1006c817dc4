"""A guest to play operations on, and a walker that checks its tables."""
