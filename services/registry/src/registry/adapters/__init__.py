"""PostgreSQL and memory behind the ports."""
