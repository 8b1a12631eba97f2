"""Connections for short statements, shared by adapters; none listens or holds a lock for long."""

from __future__ import annotations

from servicekit import postgres

from registry.adapters.postgres_errors import translated


class PostgresPool(postgres.PostgresPool):
    """That of the registry's database."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, application_name="eventflows-registry", translated=translated)
