"""The report of a run: one page that needs nothing else, with the verdict in words, charts, tables and the data."""
