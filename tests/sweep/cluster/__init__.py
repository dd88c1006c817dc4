"""Batch jobs on a real Ray head: submit, status, logs and cancel."""
