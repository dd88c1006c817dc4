"""Tests of layer-1 traces: import, storage, summary and recording."""
