"""Wires both processes: this file alone names concrete adapters, one stack owns every lifetime."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
from catalog.follow import CatalogFollower
from kernel.errors import Unavailable
from servicekit.clock import monotonic_s
from servicekit.identity import ServiceToken
from servicekit.metrics import serve_metrics
from servicekit.rpc import RECORD_ANSWER_BYTES_MAX, RpcServer, rpc_channel

from gateway.adapters.grpc_log import GrpcLog
from gateway.adapters.grpc_past import GrpcPast
from gateway.adapters.grpc_registry import GrpcRegistry
from gateway.adapters.grpc_router import GrpcRouter
from gateway.adapters.http_runner import CONNECTIONS_MAX, HttpRunner
from gateway.application.gateway import Gateway
from gateway.application.moments import Moments
from gateway.entrypoints.rest.app import rest_app
from gateway.entrypoints.rest.server import RestServer
from gateway.entrypoints.rpc.server import gateway_server
from gateway.settings import GatewaySettings

HEALTH_EVERY_S = 0.25

_log = logging.getLogger(__name__)


async def serve_rest(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """The REST process, until `stop`. Raises SettingsError when it cannot listen."""
    async with _gateway(settings) as (gateway, follower):
        server = RestServer(rest_app(gateway), listen=settings.rest_listen)
        _log.info("serving REST", extra={"listen": str(settings.rest_listen)})
        await _while_following(follower, server.serve(stop))


async def serve_rpc(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """The gRPC process, until `stop`. Raises SettingsError when it cannot listen."""
    async with _gateway(settings) as (gateway, follower):
        server = gateway_server(gateway, listen=settings.rpc_listen)
        await _while_following(follower, _serve_rpc(server, gateway, stop))


async def _serve_rpc(server: RpcServer, gateway: Gateway, stop: asyncio.Event) -> None:
    async with server:
        _log.info("serving gRPC", extra={"listen": str(server.address)})
        while not stop.is_set():
            await server.set_serving(_is_fresh(gateway))
            try:
                async with asyncio.timeout(HEALTH_EVERY_S):
                    await stop.wait()
            except TimeoutError:
                continue


def _is_fresh(gateway: Gateway) -> bool:
    try:
        gateway.check_fresh()
    except Unavailable:
        return False
    return True


@asynccontextmanager
async def _gateway(settings: GatewaySettings) -> AsyncIterator[tuple[Gateway, CatalogFollower]]:
    token = ServiceToken.load(settings.service_token_file)
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(serve_metrics(settings.metrics_listen))
        registry = await exits.enter_async_context(rpc_channel(settings.registry_address, token))
        runner = await exits.enter_async_context(rpc_channel(settings.runner_address, token))
        routers = [
            await exits.enter_async_context(
                rpc_channel(address, token, answer_bytes_max=RECORD_ANSWER_BYTES_MAX)
            )
            for address in settings.router_addresses
        ]
        session = await exits.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                # What the runner encoded stays encoded: bytes pass through.
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        )
        follower = CatalogFollower(
            registry, clock=monotonic_s, snapshot_file=settings.catalog_snapshot_file
        )
        gateway = Gateway(
            view=follower,
            moments=Moments(GrpcPast(registry)),
            registry=GrpcRegistry(registry),
            log=GrpcLog(registry),
            router=GrpcRouter(routers),
            runner=HttpRunner(
                session=session, url=settings.runner_url, token=token, channel=runner
            ),
            public_url=settings.public_url,
            choose=secrets.choice,
            catalog_stale_max_s=settings.catalog_stale_max_s,
        )
        yield gateway, follower


async def _while_following(follower: CatalogFollower, serving: Coroutine[Any, Any, None]) -> None:
    """Serve while the catalog follows the log; whichever fails first ends both with its error."""
    following = asyncio.create_task(follower.run())
    server = asyncio.create_task(serving)
    try:
        await asyncio.wait({following, server}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (following, server):
            if not task.done():
                task.cancel()
        outcomes = await asyncio.gather(server, following, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
            raise outcome
