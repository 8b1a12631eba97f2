"""Broker passwords, for the router alone."""

from __future__ import annotations

import logging
from typing import Any

import grpc.aio
from eventflows.registry.v1 import registry_pb2 as pb
from servicekit.logs import hide

from registry.application.credentials import Credentials
from registry.domain import values

_log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class CredentialsRpc:
    """`ReadCredential`."""

    def __init__(self, *, credentials: Credentials) -> None:
        self._credentials = credentials

    async def ReadCredential(  # noqa: N802
        self, request: pb.ReadCredentialRequest, _context: Context
    ) -> pb.Credential:
        plain = await self._credentials.read(
            stream_id=values.uuid("stream_id", request.stream_id),
            secret_id=values.uuid("secret_id", request.secret_id),
        )
        credential = pb.Credential.FromString(plain)
        for secret in (credential.password, credential.connection_string, credential.client_key):
            hide(secret)
        _log.info("a credential was read", extra={"stream_id": request.stream_id})
        return credential
