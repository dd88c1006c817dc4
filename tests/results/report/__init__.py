"""Tests of charts, of the page about a run, and of `sweep report` and `sweep plot`."""
