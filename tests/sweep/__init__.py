"""Tests of the command line and the fan-out."""
