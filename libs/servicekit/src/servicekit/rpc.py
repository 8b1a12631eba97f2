"""gRPC servers and channels as every process of ours has them.

server = rpc_server(
    listen=settings.listen,
    identities=Identities.load(settings.identities_file),
    services=[RpcService(REGISTRY, add_RegistryServicer_to_server, servicer)],
)
async with server:
    await stop.wait()

async with rpc_channel(settings.registry_address, ServiceToken.load(path)) as channel:
    try:
        await RegistryStub(channel).GetHead(GetHeadRequest())
    except grpc.aio.AioRpcError as error:
        raise_from_status(error)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from servicekit.client_interceptors import UNARY_TIMEOUT_DEFAULT_S, client_interceptors
from servicekit.failures import error_from_status, raise_from_status
from servicekit.identity import ALLOWED, Identities, ServiceToken
from servicekit.server_interceptors import (
    FailureInterceptor,
    IdentityInterceptor,
    current_caller,
    deny_handler,
)
from servicekit.settings import HostPort, SettingsError

__all__ = [
    "RECORD_ANSWER_BYTES_MAX",
    "RpcServer",
    "RpcService",
    "current_caller",
    "deny_handler",
    "error_from_status",
    "raise_from_status",
    "rpc_channel",
    "rpc_server",
]

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one gRPC message, both directions: several times a Watch batch (256 kB)."""
RECORD_ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of an answer that holds a whole record of a topic (24 MiB), for those who ask for such."""
CALLS_AT_ONCE_MAX: Final = 1_000
"""Per server; above it calls end with RESOURCE_EXHAUSTED, for the other side Overloaded."""
STOP_GRACE_S: Final = 5.0

KEEPALIVE_EVERY_MS: Final = 20_000
KEEPALIVE_ANSWER_MS: Final = 10_000
KEEPALIVE_MIN_MS: Final = 10_000
"""A server takes pings oftener than this for an attack; it must be below KEEPALIVE_EVERY_MS."""
RECONNECT_FIRST_MS: Final = 100
RECONNECT_LONGEST_MS: Final = 500
CONNECT_TIMEOUT_MS: Final = 3_000
"""One attempt to connect: a busy or distant server takes longer than the first pause."""

_KEEPALIVE = (
    ("grpc.keepalive_time_ms", KEEPALIVE_EVERY_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    *_KEEPALIVE,
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MIN_MS),
    # The default shares a port silently with any stray server that also listens on it (measured).
    ("grpc.so_reuseport", 0),
)
_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    *_KEEPALIVE,
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
    # By its name a pause; in gRPC's core it is the least time that an attempt to connect gets.
    ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_LONGEST_MS),
)

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class RpcService:
    """A service to serve: its descriptor, the generated function that adds it, our servicer."""

    descriptor: ServiceDescriptor
    add_to_server: Callable[[Any, Any], None]
    servicer: object


class RpcServer:
    """A grpc.aio server with health and reflection. Enter it to start, leave it to stop.

    After the start `address` is where it really listens (port 0 was replaced). Health answers
    `NOT_SERVING` until `set_serving(True)` when made with `serving=False`.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        *,
        listen: HostPort,
        names: Sequence[str],
        serving: bool,
        stop_grace_s: float,
    ) -> None:
        self._server = server
        self._listen = listen
        self._names = ("", *names)
        self._serving_first = serving
        self._stop_grace_s = stop_grace_s
        self._health = HealthServicer()
        self._address: HostPort | None = None
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        known = (*names, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(known, server)

    @property
    def address(self) -> HostPort:
        """Where it listens. Raises RuntimeError before the start."""
        if self._address is None:
            raise RuntimeError("the server has no address before it is started")
        return self._address

    async def set_serving(self, serving: bool) -> None:
        """What health answers from now on, for the server as a whole and each of its services."""
        for name in self._names:
            await self._health.set(name, _SERVING if serving else _NOT_SERVING)

    async def start(self) -> None:
        """Listens. Raises SettingsError when the address cannot be bound."""
        try:
            port = self._server.add_insecure_port(str(self._listen))
        except RuntimeError as error:
            raise SettingsError(
                [f"{self._listen} cannot be listened on: free the port or set another one."]
            ) from error
        self._address = HostPort(self._listen.host, port)
        await self.set_serving(self._serving_first)
        await self._server.start()

    async def stop(self) -> None:
        """Takes no new calls, waits up to the grace time, then cancels what still runs.

        May be called early and more than once. End long streams first: they would use up the grace.
        """
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._stop_grace_s)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


def rpc_server(
    *,
    listen: HostPort,
    identities: Identities | None,
    services: Sequence[RpcService],
    interceptors: Sequence[Any] = (),
    serving: bool = True,
    stop_grace_s: float = STOP_GRACE_S,
    calls_at_once_max: int = CALLS_AT_ONCE_MAX,
    answer_bytes_max: int = MESSAGE_BYTES_MAX,
) -> RpcServer:
    """A server that is not started yet.

    With `identities` every call but health needs a service token whose role `identity.ALLOWED`
    lets in. Without (the gateway's public side, where callers have API keys) `interceptors` must
    hold a check of its own, which raises Unauthenticated or NotAllowed; it guards reflection too,
    and lets health through. Extra interceptors run after the identity check.

    Raises ValueError when nothing would check callers, and when a method has no row in `ALLOWED`.
    """
    checks: list[Any] = []
    if identities is not None:
        _require_rows(services)
        checks = [IdentityInterceptor(identities)]
    elif not interceptors:
        raise ValueError("a server without identities needs an interceptor that checks callers")
    server = grpc.aio.server(
        interceptors=[FailureInterceptor(), *checks, *interceptors],
        options=(*_SERVER_OPTIONS, ("grpc.max_send_message_length", answer_bytes_max)),
        maximum_concurrent_rpcs=calls_at_once_max,
    )
    for service in services:
        service.add_to_server(service.servicer, server)
    return RpcServer(
        server,
        listen=listen,
        names=[service.descriptor.full_name for service in services],
        serving=serving,
        stop_grace_s=stop_grace_s,
    )


def rpc_channel(
    address: HostPort | str,
    token: ServiceToken | None,
    *,
    unary_timeout_s: float = UNARY_TIMEOUT_DEFAULT_S,
    answer_bytes_max: int = MESSAGE_BYTES_MAX,
) -> grpc.aio.Channel:
    """A channel whose calls carry the token, the trace of their context, and a deadline.

    `unary_timeout_s` holds for calls without a `timeout` of their own; streams have none unless
    given. Connects on the first call and again after every loss, waiting at most
    RECONNECT_LONGEST_MS. An answer above `answer_bytes_max` is TooLarge. Close it (`async with`).
    """
    return grpc.aio.insecure_channel(
        str(address),
        options=(*_CHANNEL_OPTIONS, ("grpc.max_receive_message_length", answer_bytes_max)),
        interceptors=client_interceptors(token, unary_timeout_s=unary_timeout_s),
    )


def _require_rows(services: Sequence[RpcService]) -> None:
    for service in services:
        for method in service.descriptor.methods:
            name = f"/{service.descriptor.full_name}/{method.name}"
            if name not in ALLOWED:
                raise ValueError(f"servicekit.identity.ALLOWED has no row for {name}")
