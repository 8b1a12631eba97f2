"""REST and gRPC are two doors to the same rooms: equal results, equal failures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from eventflows.gateway.v1 import gateway_pb2 as pb
from eventflows.router.v1 import router_pb2
from gateway.entrypoints.rpc.server import gateway_server
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from servicekit.rpc import rpc_channel
from servicekit.settings import HostPort

from tests.unit.gateway.rpc_client import Rpc, key, refusal, same_failure
from tests.unit.gateway.stage import ADMIN, Owner, Stage

QUEUE = "https://sqs.us-west-2.amazonaws.com/783449028191/demo-queue"
ROLE = "arn:aws:iam::783449028191:role/reader"
WAIT_S = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rpc(shared_stage: Stage) -> AsyncIterator[Rpc]:
    server = gateway_server(shared_stage.gateway, listen=HostPort("127.0.0.1", 0))
    await server.start()
    await server.set_serving(True)
    async with rpc_channel(server.address, None, unary_timeout_s=WAIT_S) as channel:
        yield Rpc.on(channel)
    await server.stop()


async def test_users_are_the_same(stage: Stage, rpc: Rpc) -> None:
    name = stage.name()
    request = pb.CreateUserRequest(
        username=name, email=f"{name}@x.io", fullname="F", company_role="engineer"
    )
    made = await rpc.users.CreateUser(request, **key(stage.admin_key))
    got = await rpc.users.GetUser(pb.GetUserRequest(name_or_id=name), **key(stage.admin_key))
    shown = await stage.admin("GET", f"/v1/users/{name}")
    for message in (made, got):
        fields = MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        fields.pop("company_name")  # the page's user does not have it
        assert fields == shown


async def test_pages_of_users_are_the_same(stage: Stage, rpc: Rpc) -> None:
    for _ in range(3):
        await stage.owner()
    by_rest: list[str] = []
    by_rpc: list[str] = []
    marker = ""
    while True:
        page = await rpc.users.ListUsers(
            pb.ListUsersRequest(limit=2, marker=marker), **key(stage.admin_key)
        )
        shown = await stage.admin("GET", f"/v1/users?limit=2&marker={marker}")
        by_rpc += [user.id for user in page.users]
        by_rest += [user["id"] for user in shown["results"]]
        assert page.marker == (shown["marker"] or "")
        marker = page.marker
        if not marker:
            break
    assert by_rpc == by_rest
    assert len(by_rpc) >= 4


async def test_event_listeners_are_the_same(stage: Stage, rpc: Rpc, owner: Owner) -> None:
    algorithm = await stage.algorithm(owner)
    request = pb.CreateEventListenerRequest(
        user=owner.id,
        source_type="AmazonSQS",
        source_uri=QUEUE,
        algo_name=algorithm,
        algo_owner=owner.name,
        algo_version="0.1.0",
        credentials=ROLE,
    )
    made = await rpc.listeners.CreateEventListener(request, **key(owner.key))
    listed = await rpc.listeners.ListEventListeners(
        pb.ListEventListenersRequest(user=owner.name), **key(owner.key)
    )
    assert list(listed.event_listeners) == [made]
    shown = await stage.by(owner, "GET", f"/v1/users/{owner.id}/event-listeners/{made.id}")
    assert shown == {
        "id": made.id,
        "sourceType": made.source_type,
        "sourceURI": made.source_uri,
        "algoName": made.algo_name,
        "algoOwner": made.algo_owner,
        "listenerOwner": made.listener_owner,
        "credentials": made.credentials,
        "algoTimeoutSeconds": made.algo_timeout_seconds,
        "algoVersion": made.algo_version,
    }
    await rpc.listeners.DeleteEventListener(
        pb.DeleteEventListenerRequest(user=owner.id, id=made.id), **key(owner.key)
    )
    assert await stage.by(owner, "GET", f"/v1/users/{owner.id}/event-listeners") == []


async def test_event_flows_are_the_same(stage: Stage, rpc: Rpc, owner: Owner) -> None:
    name = f"{owner.name}/{await stage.algorithm(owner)}"
    await stage.grant(await stage.connection(), "images", (name, "subscriber"))
    listed = await rpc.flows.ListEventFlows(
        pb.ListEventFlowsRequest(algorithm=name), **key(owner.key)
    )
    (flow,) = listed.event_flows
    assert flow.state == "disabled"
    put = await rpc.flows.PutEventFlow(
        pb.PutEventFlowRequest(
            algorithm=name,
            id=flow.id,
            enabled=True,
            algorithm_version="0.1.0",
            concurrency_max=3,
            timeout_s=60,
            expected_version=flow.version,
            order="partition",
            parallelism=3,
            start="latest",
            read_committed=True,
            retries=[
                pb.RetryRule(failure="timed_out", attempts_max=3, factor=1.5, give_up="halt_key"),
                pb.RetryRule(
                    error_type="Oops", age_max_s=60, delay_first_ms=50, delay_longest_ms=90
                ),
            ],
        ),
        **key(owner.key),
    )
    assert put.version > flow.version
    status = router_pb2.FlowStatus(
        flow_id=flow.id, state=router_pb2.FLOW_STATE_RUNNING, lag_records=5, settled_total=7
    )
    status.since.FromJsonString("2026-11-23T10:00:00.250Z")
    stage.router.statuses[flow.id] = status
    await rpc.flows.PauseEventFlow(
        pb.PauseEventFlowRequest(algorithm=name, id=flow.id, drain=True, reason="upkeep"),
        **key(owner.key),
    )
    got = await rpc.flows.GetEventFlow(
        pb.GetEventFlowRequest(algorithm=name, id=flow.id), **key(owner.key)
    )
    everything = await rpc.flows.ListAllEventFlows(
        pb.ListAllEventFlowsRequest(algorithm=name, state="running"), **key(stage.admin_key)
    )
    assert list(everything.event_flows) == [got]
    shown = await stage.by(owner, "GET", f"/v1/algorithms/{name}/event-flows/{flow.id}")
    assert _as_rest(got) == shown


def _as_rest(flow: pb.EventFlow) -> dict[str, Any]:
    fields = MessageToDict(
        flow, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    fields.pop("version")  # REST has it as ETag
    for name in ("dead_letter_topic", "connection", "connection_id", "algorithm_version"):
        fields[name] = fields[name] or None
    live = fields["live"]
    for name in (
        "lag_records", "settled_total", "dead_lettered_total", "retries_total", "repeats_total",
        "bytes_held", "expired_total",
    ):  # fmt: skip
        live[name] = int(live[name])
    fields["paused"]["since"] = _milliseconds(fields["paused"]["since"])
    for rule in fields["retries"]:
        for name in set(rule) - {"give_up"}:
            rule[name] = rule[name] or None
    live["last_progress"] = None
    fields["resource_type"] = "event_flow"
    return fields


def _milliseconds(time: str) -> str:
    return f"{time[:23].rstrip('Z')}Z"


async def test_a_repeated_call_makes_one_user(stage: Stage, rpc: Rpc) -> None:
    name = stage.name()
    request = pb.CreateUserRequest(username=name, email=f"{name}@x.io")
    metadata = (("authorization", stage.admin_key), ("idempotency-key", name))
    first = await rpc.users.CreateUser(request, metadata=metadata)
    assert await rpc.users.CreateUser(request, metadata=metadata) == first


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operation in both protocols."""

    request: Any
    method: str
    path: str
    body: Any = None
    admin: Case | None = None
    """What an admin asks in its place, of an operation for both kinds of key."""


NO_ID = "3f0c7a52-0f0e-4b0e-9d1e-0d8f3b0f9a11"
LISTENERS = "/v1/users/nobody/event-listeners"
FLOWS = "/v1/algorithms/nobody/Nothing/event-flows"
ALGORITHM = "nobody/Nothing"
CASES = {
    "CreateUser": Case(  # the admin's name, which is taken
        request=pb.CreateUserRequest(username=ADMIN, email="someone@x.io"),
        method="POST",
        path="/v1/users",
        body={"username": ADMIN, "email": "someone@x.io"},
    ),
    "GetUser": Case(
        request=pb.GetUserRequest(name_or_id="nobody"), method="GET", path="/v1/users/nobody"
    ),
    "ListUsers": Case(
        request=pb.ListUsersRequest(marker="!"), method="GET", path="/v1/users?marker=!"
    ),
    "ListEventListeners": Case(
        request=pb.ListEventListenersRequest(user="nobody"), method="GET", path=LISTENERS
    ),
    "CreateEventListener": Case(
        request=pb.CreateEventListenerRequest(
            source_type="AmazonSQS", source_uri=QUEUE, algo_name="Nothing", algo_owner="nobody",
            credentials=ROLE,
        ),
        method="POST",
        path=LISTENERS,
        body={
            "sourceType": "AmazonSQS", "sourceURI": QUEUE, "algoName": "Nothing",
            "algoOwner": "nobody", "credentials": ROLE,
        },
    ),
    "DeleteEventListener": Case(
        request=pb.DeleteEventListenerRequest(user="nobody", id=NO_ID),
        method="DELETE",
        path=f"{LISTENERS}/{NO_ID}",
    ),
    "ListEventFlows": Case(
        request=pb.ListEventFlowsRequest(algorithm=ALGORITHM), method="GET", path=FLOWS
    ),
    "GetEventFlow": Case(
        request=pb.GetEventFlowRequest(algorithm=ALGORITHM, id=NO_ID),
        method="GET",
        path=f"{FLOWS}/{NO_ID}",
    ),
    "PutEventFlow": Case(
        request=pb.PutEventFlowRequest(algorithm=ALGORITHM, id=NO_ID),
        method="PUT",
        path=f"{FLOWS}/{NO_ID}",
        body={"enabled": False},
    ),
    "ListAllEventFlows": Case(
        request=pb.ListAllEventFlowsRequest(state="sleeping"),
        method="GET",
        path="/v1/admin/event-flows?state=sleeping",
    ),
}  # fmt: skip
LETTERS, ALL_LETTERS = f"{FLOWS}/{NO_ID}/dead-letters", "/v1/admin/dead-letters"
REASON = {"reason": "upkeep"}
CASES |= {
    "PauseEventFlow": Case(
        request=pb.PauseEventFlowRequest(algorithm=ALGORITHM, id=NO_ID, reason="upkeep"),
        method="POST", path=f"{FLOWS}/{NO_ID}/pause", body=REASON,
        admin=Case(
            request=pb.PauseEventFlowRequest(id=NO_ID, reason="upkeep"),
            method="POST", path=f"/v1/admin/event-flows/{NO_ID}/pause", body=REASON,
        ),
    ),
    "ResumeEventFlow": Case(
        request=pb.ResumeEventFlowRequest(algorithm=ALGORITHM, id=NO_ID),
        method="POST", path=f"{FLOWS}/{NO_ID}/resume",
        admin=Case(
            request=pb.ResumeEventFlowRequest(id=NO_ID),
            method="POST", path=f"/v1/admin/event-flows/{NO_ID}/resume",
        ),
    ),
    "ListDeadLetters": Case(
        request=pb.ListDeadLettersRequest(algorithm=ALGORITHM, flow=NO_ID),
        method="GET", path=LETTERS,
        admin=Case(
            request=pb.ListDeadLettersRequest(state="sleeping"),
            method="GET", path=f"{ALL_LETTERS}?state=sleeping",
        ),
    ),
    "GetDeadLetter": Case(
        request=pb.GetDeadLetterRequest(algorithm=ALGORITHM, flow=NO_ID, id="9-9"),
        method="GET", path=f"{LETTERS}/9-9",
        admin=Case(
            request=pb.GetDeadLetterRequest(id="9-9"), method="GET", path=f"{ALL_LETTERS}/9-9"
        ),
    ),
    "RedriveDeadLetters": Case(
        request=pb.RedriveDeadLettersRequest(algorithm=ALGORITHM, flow=NO_ID),
        method="POST", path=f"{LETTERS}/redrive",
        admin=Case(
            request=pb.RedriveDeadLettersRequest(flow=NO_ID),
            method="POST", path=f"{ALL_LETTERS}/redrive", body={"flow": NO_ID},
        ),
    ),
    "PurgeDeadLetters": Case(
        request=pb.PurgeDeadLettersRequest(algorithm=ALGORITHM, flow=NO_ID, dry_run=True),
        method="POST", path=f"{LETTERS}/purge", body={"dry_run": True},
        admin=Case(
            request=pb.PurgeDeadLettersRequest(
                flow=NO_ID, selection=pb.DeadLetterSelection(failure="bad luck")
            ),
            method="POST", path=f"{ALL_LETTERS}/purge",
            body={"flow": NO_ID, "selection": {"failure": "bad luck"}},
        ),
    ),
    "ListDeadLetterTasks": Case(
        request=pb.ListDeadLetterTasksRequest(algorithm=ALGORITHM, flow=NO_ID),
        method="GET", path=f"{LETTERS}/tasks",
        admin=Case(
            request=pb.ListDeadLetterTasksRequest(flow="x"),
            method="GET", path=f"{ALL_LETTERS}/tasks?flow=x",
        ),
    ),
    "GetDeadLetterTask": Case(
        request=pb.GetDeadLetterTaskRequest(algorithm=ALGORITHM, flow=NO_ID, id=NO_ID),
        method="GET", path=f"{LETTERS}/tasks/{NO_ID}",
        admin=Case(
            request=pb.GetDeadLetterTaskRequest(id=NO_ID),
            method="GET", path=f"{ALL_LETTERS}/tasks/{NO_ID}",
        ),
    ),
    "CancelDeadLetterTask": Case(
        request=pb.CancelDeadLetterTaskRequest(algorithm=ALGORITHM, flow=NO_ID, id=NO_ID),
        method="POST", path=f"{LETTERS}/tasks/{NO_ID}/cancel",
        admin=Case(
            request=pb.CancelDeadLetterTaskRequest(id=NO_ID),
            method="POST", path=f"{ALL_LETTERS}/tasks/{NO_ID}/cancel",
        ),
    ),
}  # fmt: skip
FOR_ADMINS = ("CreateUser", "GetUser", "ListUsers", "ListAllEventFlows")


def test_every_method_has_a_case() -> None:
    services = pb.DESCRIPTOR.services_by_name.values()
    assert set(CASES) == {method.name for service in services for method in service.methods}


@pytest.mark.parametrize("name", CASES)
async def test_failures_are_the_same(stage: Stage, rpc: Rpc, owner: Owner, name: str) -> None:
    of_name = CASES[name]
    keys = {
        "none": None,
        "unknown": "simNobody",
        "bearer": "Bearer x",
        "standard": owner.key,
        "admin": stage.admin_key,
    }
    for kind, value in keys.items():
        case = of_name.admin or of_name if kind == "admin" else of_name
        headers = {} if value is None else {"Authorization": value}
        metadata = () if value is None else (("authorization", value),)
        by_rest = await stage.client.call(case.method, case.path, case.body, headers=headers)
        by_rpc = await refusal(rpc.method(name)(case.request, metadata=metadata))
        same_failure(by_rest, by_rpc)
        if kind in ("none", "unknown", "bearer"):
            assert by_rest.status == 401
        elif of_name.admin is None and (kind == "admin") != (name in FOR_ADMINS):
            assert by_rest.status == 403


async def test_a_stale_writer_is_refused_by_both(stage: Stage, rpc: Rpc, owner: Owner) -> None:
    name = f"{owner.name}/{await stage.algorithm(owner)}"
    await stage.grant(await stage.connection(), "images", (name, "subscriber"))
    path = f"/v1/algorithms/{name}/event-flows"
    (flow,) = await stage.by(owner, "GET", path)
    await stage.by(owner, "PUT", f"{path}/{flow['id']}", {"enabled": True})
    request = pb.PutEventFlowRequest(algorithm=name, id=flow["id"], expected_version=0)
    by_rpc = await refusal(rpc.flows.PutEventFlow(request, **key(owner.key)))
    by_rest = await stage.client.call(
        "PUT",
        f"{path}/{flow['id']}",
        {"enabled": False},
        key=owner.key,
        headers={"If-Match": '"0"'},
    )
    same_failure(by_rest, by_rpc)
    assert by_rest.status == 412


async def test_health_needs_no_key(rpc: Rpc) -> None:
    stub = health_pb2_grpc.HealthStub(rpc.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_two_keys_at_once_are_refused(stage: Stage, rpc: Rpc) -> None:
    metadata = (("authorization", stage.admin_key), ("authorization", stage.admin_key))
    refused = await refusal(rpc.users.ListUsers(pb.ListUsersRequest(), metadata=metadata))
    assert refused.code == 2002
