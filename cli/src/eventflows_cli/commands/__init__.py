"""One module a command: what it asks the registry, and which document it shows."""
