"""Tests of what is done to finished runs: checks, differences, merges, exports."""
