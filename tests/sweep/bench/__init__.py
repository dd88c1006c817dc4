"""Tests of plans: which cells, under which identity, and for how long."""
