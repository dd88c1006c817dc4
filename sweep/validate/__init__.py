"""Compares the engine with a real KVM: rules on the same stream, counters on other runs."""
