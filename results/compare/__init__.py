"""One metric over any dimensions, in a run or between two, and what a table of it says."""
