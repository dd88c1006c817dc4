"""One start of a sweep, from the plan to the summary."""
