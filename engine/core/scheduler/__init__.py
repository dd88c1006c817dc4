"""The scheduler of generated builds in C, and the records that it shares with Python."""
