"""A registry with an algorithm, a connection, grants and a flow, told in short calls by gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from catalog.events import ApiType
from catalog.identifiers import granted_flow_id, topic_access_id
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.registry import account_request, connection_request, context

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub

TOPIC = "orders"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """An owner with an algorithm of version 0.1.0, a connection, and a key of the owner.

    Everything is done by the owner with that key.
    """

    client: RegistryAsyncStub
    owner_id: str
    owner_name: str
    key_id: str
    algorithm_id: str
    connection_id: str
    connection_name: str

    @property
    def access_id(self) -> str:
        return topic_access_id(connection_id=self.connection_id, topic=TOPIC)

    @property
    def flow_id(self) -> str:
        return granted_flow_id(
            connection_id=self.connection_id,
            topic=TOPIC,
            algorithm_id=self.algorithm_id,
            api_type=ApiType.SUBSCRIBER,
        )

    def context(self, **fields: object) -> pb.CommandContext:
        given = {"actor": self.owner_id, "key_id": self.key_id, **fields}
        return context(correlation_id="req-1", **given)

    async def publish(self) -> pb.CommandResult:
        """One more build and version."""
        await self.client.FinishBuild(
            pb.FinishBuildRequest(
                context=self.context(),
                algorithm_id=self.algorithm_id,
                build_id=str(uuid4()),
                commit_sha=(uuid4().hex + uuid4().hex)[:40],
                succeeded=True,
                log_tail="done",
                started_at=Timestamp(seconds=1_700_000_000),
                finished_at=Timestamp(seconds=1_700_000_010),
            )
        )
        return await self.client.PublishVersion(
            pb.PublishVersionRequest(
                context=self.context(),
                algorithm_id=self.algorithm_id,
                callability=events_pb2.CALLABILITY_PRIVATE,
            )
        )

    async def grant(self, *api_types: ApiType, topic: str = TOPIC) -> pb.CommandResult:
        """These grants and no others."""
        return await self.client.SetTopicAccess(
            pb.SetTopicAccessRequest(
                context=self.context(),
                connection_id=self.connection_id,
                topic=topic,
                grants=[
                    events_pb2.Grant(algorithm_id=self.algorithm_id, api_type=one.value)  # type: ignore[arg-type]
                    for one in api_types
                ],
            )
        )

    async def enable(self, **settings: object) -> pb.CommandResult:
        """The flow that the owner's algorithm subscribes with."""
        return await self.client.EnableFlow(
            pb.EnableFlowRequest(context=self.context(), flow_id=self.flow_id, **settings)  # type: ignore[arg-type]
        )

    async def disable(self) -> pb.CommandResult:
        """The same flow."""
        return await self.client.DisableFlow(
            pb.DisableFlowRequest(context=self.context(), flow_id=self.flow_id)
        )

    async def update_connection(
        self, password: str | None = None, **fields: object
    ) -> pb.CommandResult:
        """Its values but for these; without a password its credentials stay."""
        known = connection_request(connection_id=self.connection_id, name=self.connection_name)
        request = pb.UpdateConnectionRequest(
            context=self.context(),
            connection_id=known.connection_id,
            name=known.name,
            bootstrap_servers=known.bootstrap_servers,
            security_protocol=known.security_protocol,
            sasl_mechanism=known.sasl_mechanism,
        )
        if password is not None:
            request.credentials.CopyFrom(pb.Credential(username="admin", password=password))
        request.MergeFrom(pb.UpdateConnectionRequest(**fields))  # type: ignore[arg-type]
        return await self.client.UpdateConnection(request)

    async def key(self, label: str) -> str:
        """One more key of the owner; its id."""
        key_id = str(uuid4())
        await self.client.CreateApiKey(
            pb.CreateApiKeyRequest(
                context=self.context(),
                account_id=self.owner_id,
                key_id=key_id,
                label=label,
                key_type=events_pb2.KEY_TYPE_STANDARD,
                key_sha256=uuid4().bytes * 2,
                mask="sim******abcd",
            )
        )
        return key_id

    async def revoke(self, key_id: str) -> pb.CommandResult:
        """A key of the owner."""
        return await self.client.RevokeApiKey(
            pb.RevokeApiKeyRequest(context=self.context(), account_id=self.owner_id, key_id=key_id)
        )

    async def head(self) -> int:
        return (await self.client.GetHead(pb.GetHeadRequest())).position


async def wired(client: RegistryAsyncStub) -> Wires:
    """Made by the given client's registry."""
    account = account_request(f"acme_{uuid4().hex[:8]}")
    await client.CreateAccount(account)
    connection = connection_request()
    await client.CreateConnection(connection)
    algorithm = pb.CreateAlgorithmRequest(
        context=context(),
        algorithm_id=str(uuid4()),
        owner_id=account.account_id,
        name="digits",
        source_kind=events_pb2.SOURCE_KIND_GIT,
        source_url="file:///srv/digits",
    )
    await client.CreateAlgorithm(algorithm)
    wires = Wires(
        client=client,
        owner_id=account.account_id,
        owner_name=account.username,
        key_id="",
        algorithm_id=algorithm.algorithm_id,
        connection_id=connection.connection_id,
        connection_name=connection.name,
    )
    key_id = await wires.key("deploy")
    await wires.publish()
    return Wires(
        **{name: getattr(wires, name) for name in Wires.__slots__ if name != "key_id"},
        key_id=key_id,
    )
