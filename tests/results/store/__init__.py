"""Tests of what a run is made of, and of who reads it."""
