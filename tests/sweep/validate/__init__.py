"""Tests of the comparison with a real KVM."""
