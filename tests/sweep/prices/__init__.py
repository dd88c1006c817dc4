"""Tests of prices that are measured."""
