"""Sweeps on clusters and under faults: real processes, killed for real."""
