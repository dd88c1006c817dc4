"""Charts of runs: heat maps, curves, breakdowns, timelines; for the report, for papers and for terminals."""
