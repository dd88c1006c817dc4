"""Pairs, means, intervals and verdicts."""
