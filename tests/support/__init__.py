"""Helpers of the tests; no file here is a test, and tests import helpers from nowhere else."""
