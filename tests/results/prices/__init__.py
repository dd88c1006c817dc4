"""Tests of cost models and of time from counts."""
