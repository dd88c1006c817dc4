"""Tests of a start of a sweep, from the first task to the last line."""
