"""From a connection's id to everything that a client needs: address, security, credentials.

The catalog knows the address, the registry's vault the password. Nothing is kept between two uses.
"""

from __future__ import annotations

import asyncio

from catalog.blocking import credentials_missing
from catalog.errors import SECRET_GONE
from catalog.events import SecretRef
from catalog.records import Connection
from kernel.errors import NotFound

from router.application.plans import CatalogFeed
from router.control_ports import (
    BrokerLogin,
    ClusterProbe,
    Credentials,
    FoundTopic,
    ProbeResult,
)
from router.domain.errors import CredentialsMissing
from router.domain.flow_spec import INTERNAL_CONNECTION
from router.domain.kafka_connection import KafkaConnection

FOLLOW_WAIT_S = 2.0
"""A connection that was created a moment ago may be on its way to our catalog."""
PROBE_MAX_S = 9.0
"""Callers wait ten seconds at most; the answer has to be on its way before."""


class Connections:
    """Resolves connections and asks clusters. Any number of calls at the same time."""

    def __init__(
        self,
        *,
        feed: CatalogFeed,
        credentials: Credentials,
        internal: KafkaConnection,
        probe: ClusterProbe,
    ) -> None:
        self._feed = feed
        self._credentials = credentials
        self._internal = internal
        self._probe = probe

    async def resolve(self, connection_id: str) -> KafkaConnection:
        """The connection with its credentials; `INTERNAL_CONNECTION` is our own Kafka.

        Raises NotFound for an id that the catalog does not know within FOLLOW_WAIT_S;
        CredentialsMissing when the vault does not hold its secret; Unavailable, TimedOut when the
        registry cannot be asked for it.
        """
        if connection_id == INTERNAL_CONNECTION:
            return self._internal
        connection = await self._known(connection_id)
        login = BrokerLogin()
        if connection.credentials is not None:
            login = await self._login(connection, connection.credentials)
        return KafkaConnection(
            connection_id=connection_id,
            bootstrap_servers=connection.bootstrap_servers,
            security_protocol=connection.security_protocol,
            sasl_mechanism=connection.sasl_mechanism,
            username=login.username,
            password=login.password,
            ca_certificate=connection.ca_certificate,
            client_certificate=connection.client_certificate,
            # A key that is left of a certificate that was taken away says nothing to anybody.
            client_key=login.client_key if connection.client_certificate else "",
        )

    async def test(self, connection_id: str) -> ProbeResult:
        """Connect, authenticate, ask for metadata. Raises what `resolve` raises, and TimeoutError
        when the cluster says nothing within PROBE_MAX_S."""
        connection = await self.resolve(connection_id)
        async with asyncio.timeout(PROBE_MAX_S):
            return await self._probe.probe(connection)

    async def topics(self, connection_id: str) -> tuple[FoundTopic, ...]:
        """The topics that we may see, by name. Raises as `test`, and StateForbids with the cause
        when the cluster cannot be used."""
        connection = await self.resolve(connection_id)
        async with asyncio.timeout(PROBE_MAX_S):
            return await self._probe.list_topics(connection)

    async def _login(self, connection: Connection, secret: SecretRef) -> BrokerLogin:
        try:
            return await self._credentials.read(stream_id=connection.connection_id, secret=secret)
        except NotFound as error:
            if error.code != SECRET_GONE:
                raise
            missing = credentials_missing(f"the connection {connection.name}")
            raise CredentialsMissing(missing.sentence) from error

    async def _known(self, connection_id: str) -> Connection:
        found = self._feed.catalog.connection(connection_id)
        if found is not None:
            return found
        try:
            async with asyncio.timeout(FOLLOW_WAIT_S):
                async for _ in self._feed.changes():
                    found = self._feed.catalog.connection(connection_id)
                    if found is not None:
                        return found
        except TimeoutError:
            pass
        raise NotFound(f"There is no connection {connection_id}: it was deleted, or never created.")
