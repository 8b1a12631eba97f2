"""Reading broker credentials: only those that the configuration names now, in their place."""

from __future__ import annotations

from catalog.catalog import Catalog
from catalog.events import SecretRef
from kernel.errors import NotFound

from registry.application.projection import Projection
from registry.ports.vault import Vault

CREDENTIALS_FIELD = "credentials"


class Credentials:
    """Answers the router's question for the secret behind a reference."""

    def __init__(self, *, vault: Vault, projection: Projection) -> None:
        self._vault = vault
        self._projection = projection

    async def read(self, *, stream_id: str, secret_id: str) -> bytes:
        """The secret in clear. Raises NotFound unless a connection or listener names it now."""
        if not self._is_named(stream_id, secret_id):
            await self._projection.reach_head()
            if not self._is_named(stream_id, secret_id):
                raise NotFound("no connection or listener has this secret: read the catalog again")
        return await self._vault.read(
            secret_id=secret_id, stream_id=stream_id, field=CREDENTIALS_FIELD
        )

    def _is_named(self, stream_id: str, secret_id: str) -> bool:
        reference = credentials_of(self._projection.catalog, stream_id)
        return reference is not None and reference.secret_id == secret_id


def credentials_of(catalog: Catalog, stream_id: str) -> SecretRef | None:
    """What a connection or listener has in the vault; None for one without, or deleted."""
    if (connection := catalog.connection(stream_id)) is not None:
        return connection.credentials
    if (flow := catalog.flow(stream_id)) is not None and flow.channel is not None:
        return flow.channel.credentials
    return None
