"""Pauses, dead letter tasks and client certificates by gRPC on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from catalog.events import ApiType
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from kernel.errors import VersionConflict
from registry.domain.dead_letter_task import OPEN_TASKS_MAX
from router.adapters.registry_pauses import RegistryPauses
from servicekit.identity import ServiceToken
from servicekit.rpc import rpc_channel

from tests.support.certificates import certified
from tests.support.registry import Served, connection_request, context, refusal, verified
from tests.support.registry_wires import Wires, wired

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub

FLOW = catalog_pb2.AGGREGATE_KIND_FLOW
TASK = catalog_pb2.AGGREGATE_KIND_DEAD_LETTER_TASK
CONNECTION = catalog_pb2.AGGREGATE_KIND_CONNECTION


async def state(client: RegistryAsyncStub, kind: int, id_: str) -> catalog_pb2.Aggregate:
    request = pb.GetAggregateRequest(kind=kind, id=id_)  # type: ignore[arg-type]
    return (await client.GetAggregate(request)).aggregate


async def flow_of(wires: Wires) -> catalog_pb2.Flow:
    return (await state(wires.client, FLOW, wires.flow_id)).flow


async def task(client: RegistryAsyncStub, task_id: str) -> catalog_pb2.DeadLetterTask:
    return (await state(client, TASK, task_id)).dead_letter_task


async def running(client: RegistryAsyncStub) -> Wires:
    """With an enabled flow."""
    wires = await wired(client)
    await wires.grant(ApiType.SUBSCRIBER)
    await wires.enable()
    return wires


def redrive(wires: Wires, **fields: object) -> pb.RequestRedriveRequest:
    given = {"dead_letter_task_id": str(uuid4()), "flow_id": wires.flow_id, **fields}
    return pb.RequestRedriveRequest(context=wires.context(), **given)  # type: ignore[arg-type]


def finish(task_id: str, **fields: object) -> pb.FinishDeadLetterTaskRequest:
    about = context(actor="service:router")
    return pb.FinishDeadLetterTaskRequest(
        context=about,
        dead_letter_task_id=task_id,
        **fields,  # type: ignore[arg-type]
    )


# ---- pauses --------------------------------------------------------------------------------------


async def test_a_flow_is_paused_and_resumed_and_its_log_verifies(registry: Served) -> None:
    async with registry.client() as client:
        wires = await running(client)
        pause = pb.PauseFlowRequest(
            context=wires.context(), flow_id=wires.flow_id, drain=True, reason="maintenance"
        )
        paused = await client.PauseFlow(pause)
        assert (paused.changed, paused.version) == (True, 3)
        found = (await flow_of(wires)).paused
        assert (found.drain, found.reason, found.position) == (True, "maintenance", paused.position)
        assert (await client.PauseFlow(pause)).replayed
        pause.context.command_id = str(uuid4())
        assert not (await client.PauseFlow(pause)).changed, "it is paused with these words"

        resumed = await client.ResumeFlow(
            pb.ResumeFlowRequest(context=wires.context(), flow_id=wires.flow_id)
        )
        assert (resumed.changed, resumed.version) == (True, 4)
        flow = await flow_of(wires)
        assert not flow.HasField("paused")
        assert flow.resumed_position == resumed.position
        assert (await verified(client)).intact


async def test_a_router_pauses_a_flow_at_the_version_that_it_knows_and_resumes_none(
    registry: Served,
) -> None:
    token = ServiceToken.load(registry.folder / "router.token")
    async with registry.client() as client, rpc_channel(registry.address, token) as channel:
        wires = await running(client)
        pauses = RegistryPauses(channel)
        with pytest.raises(VersionConflict):
            await pauses.pause(wires.flow_id, reason="halted", stream_version=1)
        assert not (await flow_of(wires)).HasField("paused")
        position = await pauses.pause(wires.flow_id, reason="halted", stream_version=2)
        found = (await flow_of(wires)).paused
        assert (found.drain, found.reason, found.position) == (False, "halted", position)
    async with registry.client("router") as router:
        resume = pb.ResumeFlowRequest(context=wires.context(), flow_id=wires.flow_id)
        assert (await refusal(router.ResumeFlow(resume)))[0] is StatusCode.PERMISSION_DENIED


async def test_a_disabled_flow_cannot_be_paused_and_an_unknown_one_is_not_found(
    registry: Served,
) -> None:
    async with registry.client("operator") as client, registry.client() as gateway:
        wires = await running(gateway)
        await wires.disable()
        pause = pb.PauseFlowRequest(context=wires.context(), flow_id=wires.flow_id)
        assert (await refusal(client.PauseFlow(pause)))[0] is StatusCode.FAILED_PRECONDITION
        pause = pb.PauseFlowRequest(context=wires.context(), flow_id=str(uuid4()))
        assert (await refusal(client.PauseFlow(pause)))[0] is StatusCode.NOT_FOUND


async def test_settings_of_delivery_are_stored_and_refused_with_a_sentence(
    registry: Served,
) -> None:
    async with registry.client() as client:
        wires = await running(client)
        delivery = events_pb2.DeliverySettings(
            order=events_pb2.DELIVERY_ORDER_PARTITION,
            parallelism=3,
            retries=[events_pb2.RetryRule(attempts_max=4, factor=1.5)],
        )
        assert (await wires.enable(delivery=delivery)).changed
        assert (await flow_of(wires)).settings.delivery == delivery
        assert not (await wires.enable(delivery=delivery)).changed
        delivery.parallelism = 65
        assert (await refusal(wires.enable(delivery=delivery)))[0] is StatusCode.INVALID_ARGUMENT


# ---- dead letter tasks ---------------------------------------------------------------------------


async def test_a_redrive_goes_from_its_request_to_the_end_that_the_router_tells(
    registry: Served,
) -> None:
    async with registry.client() as client, registry.client("router") as router:
        wires = await running(client)
        selection = events_pb2.DeadLetterSelection(
            since=Timestamp(seconds=1_700_000_000),
            failure=events_pb2.FAILURE_CLASS_TIMED_OUT,
            partitions=[0, 3],
            letter_ids=["2-17"],
        )
        request = redrive(wires, selection=selection, algorithm_version="0.1.0")
        task_id = request.dead_letter_task_id
        asked = await client.RequestRedrive(request)
        assert (asked.stream_id, asked.version, asked.changed) == (task_id, 1, True)
        before = await task(client, task_id)
        assert before.state == catalog_pb2.DEAD_LETTER_TASK_STATE_REQUESTED
        assert before.selection == selection
        assert (before.rate_per_s, before.requested_position) == (10.0, asked.position)

        assert (await refusal(client.FinishDeadLetterTask(finish(task_id))))[0] is (
            StatusCode.PERMISSION_DENIED
        )
        done = await router.FinishDeadLetterTask(finish(task_id, succeeded=40, failed=2))
        assert (done.changed, done.version) == (True, 2)
        again = await router.FinishDeadLetterTask(finish(task_id, succeeded=40, failed=2))
        assert not again.changed
        after = await task(client, task_id)
        assert after.state == catalog_pb2.DEAD_LETTER_TASK_STATE_FINISHED
        assert (after.succeeded, after.failed) == (40, 2)
        cancel = pb.CancelDeadLetterTaskRequest(
            context=wires.context(), dead_letter_task_id=task_id
        )
        assert (await refusal(client.CancelDeadLetterTask(cancel)))[0] is (
            StatusCode.FAILED_PRECONDITION
        )


async def test_a_purge_is_cancelled_by_an_operator(registry: Served) -> None:
    async with registry.client() as gateway, registry.client("operator") as client:
        wires = await running(gateway)
        task_id = str(uuid4())
        await client.RequestPurge(
            pb.RequestPurgeRequest(
                context=wires.context(), dead_letter_task_id=task_id, flow_id=wires.flow_id
            )
        )
        cancel = pb.CancelDeadLetterTaskRequest(
            context=wires.context(), dead_letter_task_id=task_id
        )
        assert (await client.CancelDeadLetterTask(cancel)).changed
        found = await task(client, task_id)
        assert found.kind == catalog_pb2.DEAD_LETTER_TASK_KIND_PURGE
        assert found.state == catalog_pb2.DEAD_LETTER_TASK_STATE_CANCELLED


async def test_a_flow_has_a_bounded_number_of_open_tasks(registry: Served) -> None:
    async with registry.client() as client:
        wires = await running(client)
        asked = [redrive(wires) for _ in range(OPEN_TASKS_MAX)]
        for request in asked:
            await client.RequestRedrive(request)
        one_more = client.RequestRedrive(redrive(wires))
        assert (await refusal(one_more))[0] is StatusCode.FAILED_PRECONDITION
        assert (await client.RequestRedrive(asked[0])).replayed


# ---- client certificates -------------------------------------------------------------------------


async def test_a_client_key_comes_out_of_the_vault_for_the_router_alone(registry: Served) -> None:
    client_pair = certified("client")
    request = connection_request(
        security_protocol=events_pb2.SECURITY_PROTOCOL_SSL,
        sasl_mechanism="",
        client_certificate=client_pair.certificate,
        credentials=pb.Credential(client_key=client_pair.key),
        group_prefix="acme.",
    )
    connection_id = request.connection_id
    async with registry.client() as client, registry.client("router") as router:
        await client.CreateConnection(request)
        stored = (await state(client, CONNECTION, connection_id)).connection
        assert stored.client_certificate == client_pair.certificate
        assert stored.group_prefix == "acme."
        read = pb.ReadCredentialRequest(
            stream_id=connection_id, secret_id=stored.credentials.secret_id
        )
        assert (await router.ReadCredential(read)).client_key == client_pair.key
        assert (await refusal(client.ReadCredential(read)))[0] is StatusCode.PERMISSION_DENIED
        (event,) = (await client.ReadLog(pb.ReadLogRequest(limit=1, newest_first=True))).events
        assert client_pair.key.encode() not in event.SerializeToString()


@pytest.mark.parametrize("protocol", ["SSL", "SASL_PLAINTEXT"])
async def test_other_protocols_are_stored_too(registry: Served, protocol: str) -> None:
    has_sasl = protocol.startswith("SASL")
    number = events_pb2.SecurityProtocol.Value(f"SECURITY_PROTOCOL_{protocol}")
    fields = {} if has_sasl else {"sasl_mechanism": "", "credentials": None}
    request = connection_request(security_protocol=number, **fields)
    async with registry.client() as client:
        assert (await client.CreateConnection(request)).changed
        stored = (await state(client, CONNECTION, request.connection_id)).connection
        assert stored.security_protocol == number
        assert stored.HasField("credentials") == has_sasl
