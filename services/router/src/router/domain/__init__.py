"""Decisions of the router as pure functions and records: no await, no clock, no randomness."""
