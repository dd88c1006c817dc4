"""Tests of means, intervals and verdicts."""
