"""Tests of the guest model."""
