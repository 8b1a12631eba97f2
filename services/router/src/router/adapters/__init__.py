"""Brokers, the runner and memory behind the ports: one file, one class, no retry, no metric."""
