"""Tests of the core: what Python hands to it, and the core under sanitizers."""
