"""Tests, one folder per area; house rules and documents at the top."""
