"""Where the difference between two policies comes from."""
