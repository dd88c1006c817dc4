"""Counts into time: cost models, pricing, waiting for the lock, and what uncertain prices do."""
