"""Recordings of a real KVM as page-table events."""
