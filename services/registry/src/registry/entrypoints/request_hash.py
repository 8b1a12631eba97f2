"""What makes two requests with one command id the same request."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar

from eventflows.registry.v1 import registry_pb2
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

_WITH_CREDENTIALS = (
    registry_pb2.CreateConnectionRequest,
    registry_pb2.UpdateConnectionRequest,
    registry_pb2.CreateListenerRequest,
)


def request_hash(request: Message, *, keyed: Callable[[bytes], bytes]) -> bytes:
    """SHA-256 of the request without what may differ between two tries of it.

    That is the trace, the key that the actor used (a rotated one repeats the same request), and of
    a new API key what its maker draws afresh. Credentials are replaced by a keyed hash (`keyed`): a
    plain one, kept for 7 days, would let weak passwords be guessed.
    """
    same = _copy(request)
    context = getattr(same, "context")  # noqa: B009  every command has one; Message does not know
    for name in ("command_id", "correlation_id", "traceparent", "key_id"):
        context.ClearField(name)
    if isinstance(same, registry_pb2.CreateApiKeyRequest):
        same.ClearField("key_sha256")
        same.ClearField("mask")
    if isinstance(same, _WITH_CREDENTIALS) and same.HasField("credentials"):
        digest = keyed(same.credentials.SerializeToString(deterministic=True))
        same.credentials.Clear()
        same.credentials.password = digest.hex()
    kind = same.DESCRIPTOR.full_name.encode()
    return sha256(kind + b"\x00" + same.SerializeToString(deterministic=True)).digest()


def _copy(message: M) -> M:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
