"""Tests of the contract of mechanisms; that each does the same plainly and in lanes is tested in tests/engine."""
