"""Broker credentials, read from the registry when they are needed and kept nowhere.

They go through memory into a client and are hidden from every log line. The price: a flow cannot
start while the registry is down; a running one needs nothing from it.
"""

from __future__ import annotations

import grpc.aio
from catalog.events import SecretRef
from eventflows.registry.v1.registry_pb2 import ReadCredentialRequest
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from servicekit.logs import hide
from servicekit.rpc import raise_from_status

from router.control_ports import BrokerLogin

READ_TIMEOUT_S = 5.0


class RegistryCredentials:
    """Reads secrets through `registry.v1.ReadCredential`. Any number of reads at the same time."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._registry = RegistryStub(channel)

    async def read(self, *, stream_id: str, secret: SecretRef) -> BrokerLogin:
        """The login behind a reference of that stream.

        Raises NotFound (code SECRET_GONE: the vault lost it), Unavailable and TimedOut when the
        registry cannot be asked, NotAllowed when we may not.
        """
        request = ReadCredentialRequest(stream_id=stream_id, secret_id=secret.secret_id)
        try:
            credential = await self._registry.ReadCredential(request, timeout=READ_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise_from_status(error)
        for secret_text in (
            credential.password,
            credential.connection_string,
            credential.client_key,
        ):
            hide(secret_text)
        return BrokerLogin(
            username=credential.username,
            password=credential.password,
            client_key=credential.client_key,
        )
