"""The first account of an empty cluster: an admin whose key opens the REST API for all others.

Later accounts and keys come through the gateway; the first one cannot: nobody has a key yet. So
it is made over the registry's gRPC with the operator's identity.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from pathlib import Path
from uuid import uuid4

import grpc
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc

KEY_PREFIX = "sim"
KEY_RANDOM_CHARACTERS = 25
RPC_TIMEOUT_S = 15.0
_BASE62 = string.ascii_letters + string.digits


async def create_first_admin(
    registry_address: str, operator_token: Path, *, username: str = "admin"
) -> str:
    """Make the account and an admin key; returns the key, which is kept nowhere."""
    key = KEY_PREFIX + "".join(secrets.choice(_BASE62) for _ in range(KEY_RANDOM_CHARACTERS))
    account_id = str(uuid4())
    metadata = (("authorization", f"Bearer {operator_token.read_text().strip()}"),)
    async with grpc.aio.insecure_channel(registry_address) as channel:
        registry = registry_pb2_grpc.RegistryStub(channel)
        await registry.CreateAccount(
            registry_pb2.CreateAccountRequest(
                context=_context(),
                account_id=account_id,
                kind=events_pb2.ACCOUNT_KIND_USER,
                username=username,
                email=f"{username}@example.com",
                fullname="Cluster Admin",
            ),
            metadata=metadata,
            timeout=RPC_TIMEOUT_S,
        )
        await registry.CreateApiKey(
            registry_pb2.CreateApiKeyRequest(
                context=_context(),
                account_id=account_id,
                key_id=str(uuid4()),
                label="first admin key",
                key_type=events_pb2.KEY_TYPE_ADMIN,
                key_sha256=hashlib.sha256(key.encode()).digest(),
                mask=f"{key[:5]}…{key[-3:]}",
            ),
            metadata=metadata,
            timeout=RPC_TIMEOUT_S,
        )
    return key


def _context() -> registry_pb2.CommandContext:
    return registry_pb2.CommandContext(command_id=str(uuid4()), actor="service:operator")
