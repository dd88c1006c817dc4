"""Prices that are measured: path lengths of a real KVM, read out of its recordings."""
