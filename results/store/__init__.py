"""Where a run lives: its files, tables, commits, and what is damage."""
