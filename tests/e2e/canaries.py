"""A life of passwords that exist only to be searched for, and all that gRPC says meanwhile."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import pytest
from catalog.snapshot import FOLD
from eventflows.catalog.v1 import catalog_pb2
from eventflows.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from eventflows.router.v1 import router_pb2, router_pb2_grpc
from google.protobuf.message import Message

from examples.demo import steps
from tests.e2e.conftest import Landscape
from tests.support.certificates import certified
from tests.support.secret_search import SecretSearch

RPC_TIMEOUT_S = 10.0
CONFLICT = 409
REFUSED = {400, 409, 412}
OK = 200
KINDS = [kind for kind in catalog_pb2.AggregateKind.values() if kind]
Authorization = tuple[tuple[str, str], ...]


@dataclass(slots=True, kw_only=True)
class Canaries:
    """Passwords that exist for this search alone, and what gRPC said of their connection."""

    connection: str = ""
    passwords: dict[str, bytes] = field(default_factory=dict)
    rpc_answers: list[bytes] = field(default_factory=list)

    def password(self, name: str) -> str:
        """A new one, remembered."""
        password = f"canary-{secrets.token_hex(20)}"
        self.passwords[name] = password.encode()
        return password

    def client_pair(self) -> dict[str, str]:
        """A client certificate with its key, of which the secret line is remembered."""
        pair = certified("canary")
        self.passwords["client key"] = pair.key.splitlines()[1].encode()
        return {"client_certificate": pair.certificate, "client_key": pair.key}

    def search(self, landscape: Landscape) -> SecretSearch:
        """For everything that may stand only where it is meant to be."""
        return SecretSearch(secrets_of(landscape), self.passwords)


async def lived(landscape: Landscape) -> Canaries:
    """A connection whose password is entered, tried, replaced, refused, shredded, entered again."""
    canaries, admin = Canaries(), landscape.admin
    path = "/v1/admin/broker-connections"
    body = steps.connection_body(landscape.cluster.customer_kafka, name="canary")

    def with_password(name: str, **fields: object) -> dict[str, Any]:
        return body | {"broker_password": canaries.password(name)} | fields

    created = await admin.post(path, with_password("created"))
    canaries.connection = created["id"]
    one = f"{path}/{canaries.connection}"
    assert not (await admin.post(f"{one}/test", {}))["connected"], "no such password at the broker"
    assert (await admin.answer("POST", path, with_password("same name")))[0] == CONFLICT
    update, key = with_password("updated"), {"Idempotency-Key": str(uuid4())}
    for _ in range(2):
        assert (await admin.answer("PUT", one, update, headers=key))[0] == OK
    await admin.put(one, with_password("with a client key", **canaries.client_pair()))
    assert not (await admin.post(f"{one}/test", {}))["connected"]
    for refused in (
        with_password("wrong mechanism", sasl_mechanism="GSSAPI"),
        with_password("wrong certificate", ca_certificate="no certificate"),
        body | {"broker_password": [canaries.password("wrong type")]},
    ):
        assert (await admin.answer("PUT", one, refused))[0] in REFUSED
    canaries.rpc_answers += await _refused_over_grpc(landscape, canaries)
    await admin.call("DELETE", f"{one}/credentials")
    back = {"kind": "connection", "id": canaries.connection, "to_version": 1}
    assert (await admin.answer("POST", "/v1/admin/log/revert", back))[0] in REFUSED
    await admin.put(one, with_password("entered again"))
    assert not (await admin.post(f"{one}/test", {}))["connected"]
    for reading in ("", f"/{canaries.connection}", f"/{canaries.connection}?as_of=1000000000"):
        await admin.answer("GET", path + reading)
    for reading in ("", "/head", "/diff?from=1", f"?id={canaries.connection}&kind=connection"):
        await admin.get("/v1/admin/log" + reading)
    canaries.rpc_answers += await _registry_answers(landscape)
    canaries.rpc_answers += await _rpc_answers(landscape)
    return canaries


def secrets_of(landscape: Landscape) -> dict[str, bytes]:
    """Everything of the cluster that may stand only where it is meant to be, by name."""
    folder = landscape.cluster.secrets.folder
    password = landscape.cluster.customer_kafka.password
    assert password is not None
    found = {"broker password": password.encode()}
    for number, key in enumerate(landscape.keys):
        found[f"API key {number}"] = key.encode()
    for path in [*folder.glob("*.token"), *folder.glob("*.password"), folder / "master.key"]:
        found[path.name] = path.read_bytes().strip()
    master_key = base64.b64decode(found["master.key"])
    return found | {"raw master key": master_key}


@asynccontextmanager
async def _registry(landscape: Landscape, role: str) -> AsyncIterator[tuple[Any, Authorization]]:
    """(stub, metadata) of the registry for a role."""
    async with grpc.aio.insecure_channel(landscape.cluster.registry_address) as channel:
        metadata = (("authorization", _token(landscape, role)),)
        yield registry_pb2_grpc.RegistryStub(channel), metadata


async def _refused_over_grpc(landscape: Landscape, canaries: Canaries) -> list[bytes]:
    """What the registry says to updates that it refuses, with all metadata."""
    answers = []
    async with _registry(landscape, "gateway") as (registry, metadata):
        for name, request in (
            ("no context", registry_pb2.UpdateConnectionRequest()),
            ("unknown", registry_pb2.UpdateConnectionRequest(connection_id=str(uuid4()))),
        ):
            request.credentials.username = "somebody"
            request.credentials.password = canaries.password(f"refused: {name}")
            if name == "unknown":
                request.context.command_id = str(uuid4())
                request.context.actor = "service:gateway"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await registry.UpdateConnection(request, metadata=metadata, timeout=RPC_TIMEOUT_S)
            error = caught.value
            told = [error.details(), error.debug_error_string(), *(error.trailing_metadata() or ())]
            answers.append("\n".join(map(str, told)).encode())
    return answers


async def _registry_answers(landscape: Landscape) -> list[bytes]:
    """What the registry tells an operator of the whole log and of everything in it."""
    pb = registry_pb2
    async with _registry(landscape, "operator") as (registry, metadata):
        call = {"metadata": metadata, "timeout": RPC_TIMEOUT_S}
        head = await registry.GetHead(pb.GetHeadRequest(), **call)
        answers: list[Message] = [
            head,
            await registry.ReadLog(pb.ReadLogRequest(limit=1000), **call),
            await registry.Diff(_since_the_first_event(), **call),
            await registry.GetLogStatistics(pb.GetLogStatisticsRequest(), **call),
            *[
                await registry.ListAggregates(pb.ListAggregatesRequest(kind=k), **call)
                for k in KINDS
            ],
        ]
        for stream in (
            registry.VerifyLog(pb.VerifyLogRequest(), **call),
            registry.ExportLog(pb.ExportLogRequest(), **call),
            registry.ReadCatalog(pb.ReadCatalogRequest(fold=FOLD), **call),
        ):
            answers += [answer async for answer in stream]
        watch = registry.Watch(pb.WatchRequest(), **call)
        async for batch in watch:
            answers.append(batch)
            if batch.to_position >= head.position:
                break
        watch.cancel()
    return [answer.SerializeToString() for answer in answers]


async def _rpc_answers(landscape: Landscape) -> list[bytes]:
    """What both gRPC sides say of users, flows, topics and the connection."""
    admin, operator = landscape.keys[0], _token(landscape, "operator")
    async with grpc.aio.insecure_channel(landscape.cluster.gateway_address) as channel:
        metadata: Authorization = (("authorization", f"Simple {admin}"),)
        users = await gateway_pb2_grpc.UsersStub(channel).ListUsers(
            gateway_pb2.ListUsersRequest(), metadata=metadata, timeout=RPC_TIMEOUT_S
        )
        flows = await gateway_pb2_grpc.EventFlowsStub(channel).ListAllEventFlows(
            gateway_pb2.ListAllEventFlowsRequest(), metadata=metadata, timeout=RPC_TIMEOUT_S
        )
    async with grpc.aio.insecure_channel(landscape.cluster.router_addresses[0]) as channel:
        router, metadata = router_pb2_grpc.RouterStub(channel), (("authorization", operator),)
        topics = await router.ListTopics(
            router_pb2.ListTopicsRequest(connection_id=landscape.connection),
            metadata=metadata,
            timeout=RPC_TIMEOUT_S,
        )
        statuses = await router.GetFlowStatus(
            router_pb2.GetFlowStatusRequest(), metadata=metadata, timeout=RPC_TIMEOUT_S
        )
    assert users.users
    assert flows.event_flows
    assert topics.topics
    assert statuses.flows
    return [answer.SerializeToString() for answer in (users, flows, topics, statuses)]


def _token(landscape: Landscape, role: str) -> str:
    return f"Bearer {landscape.cluster.secrets.token(role).read_text().strip()}"


def _since_the_first_event() -> registry_pb2.DiffRequest:
    request = registry_pb2.DiffRequest()
    getattr(request, "from").position = 1  # a word of Python
    return request
