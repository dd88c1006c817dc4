"""Traces for tests of the engine, made by hand or drawn."""
