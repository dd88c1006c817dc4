"""Tests of charts and of `sweep plot`."""
