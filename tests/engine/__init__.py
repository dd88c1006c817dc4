"""Tests of the engine: lanes against the reference, and both against scenarios with known counts."""
