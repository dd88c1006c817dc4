"""The guest model in C, and the records that it shares with Python."""
