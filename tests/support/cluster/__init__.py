"""Processes, clusters and job files for tests."""
