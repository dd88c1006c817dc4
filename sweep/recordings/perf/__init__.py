"""Text of `perf script` as process operations."""
