"""Tests of verbs as a user meets them."""
