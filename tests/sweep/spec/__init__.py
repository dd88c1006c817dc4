"""Tests of specifications and of the files that they name."""
