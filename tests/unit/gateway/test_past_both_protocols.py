"""Reads as of a moment are the same by REST and gRPC: what is shown, the moment, the refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from eventflows.gateway.v1 import gateway_pb2 as pb
from gateway.entrypoints.rpc.server import gateway_server
from servicekit.rpc import rpc_channel
from servicekit.settings import HostPort

from tests.unit.gateway.rpc_client import Rpc, key, refusal, same_failure
from tests.unit.gateway.stage import Stage
from tests.unit.gateway.test_past import change_everything
from tests.unit.gateway.world import World, world

POSITION, TIME = "x-eventflows-as-of-position", "x-eventflows-as-of-time"
FLOWS = "/v1/algorithms/{owner}/{name}/event-flows"


@dataclass(frozen=True, kw_only=True)
class Read:
    """One read in both protocols, and the ids that each shows."""

    request: Callable[[dict[str, str]], Any]
    path: str
    rpc_ids: Callable[[Any], list[str]]
    rest_ids: Callable[[Any], list[str]]
    admin: bool = False


def name(places: dict[str, str]) -> str:
    return f"{places['owner']}/{places['name']}"


READS = {
    "GetUser": Read(
        request=lambda places: pb.GetUserRequest(name_or_id=places["user"]),
        path="/v1/users/{user}",
        rpc_ids=lambda answer: [answer.id],
        rest_ids=lambda answer: [answer["id"]],
        admin=True,
    ),
    "ListUsers": Read(
        request=lambda _places: pb.ListUsersRequest(limit=500),
        path="/v1/users?limit=500",
        rpc_ids=lambda answer: [one.id for one in answer.users],
        rest_ids=lambda answer: [one["id"] for one in answer["results"]],
        admin=True,
    ),
    "ListEventListeners": Read(
        request=lambda places: pb.ListEventListenersRequest(user=places["user"]),
        path="/v1/users/{user}/event-listeners",
        rpc_ids=lambda answer: [one.id for one in answer.event_listeners],
        rest_ids=lambda answer: [one["id"] for one in answer],
    ),
    "ListEventFlows": Read(
        request=lambda places: pb.ListEventFlowsRequest(algorithm=name(places)),
        path=FLOWS,
        rpc_ids=lambda answer: [f"{one.id} {one.state}" for one in answer.event_flows],
        rest_ids=lambda answer: [f"{one['id']} {one['state']}" for one in answer],
    ),
    "GetEventFlow": Read(
        request=lambda places: pb.GetEventFlowRequest(algorithm=name(places), id=places["flow"]),
        path=f"{FLOWS}/{{flow}}",
        rpc_ids=lambda answer: [f"{answer.id} {answer.state}"],
        rest_ids=lambda answer: [f"{answer['id']} {answer['state']}"],
    ),
    "ListAllEventFlows": Read(
        request=lambda places: pb.ListAllEventFlowsRequest(algorithm=name(places)),
        path="/v1/admin/event-flows?algorithm={owner}/{name}",
        rpc_ids=lambda answer: [f"{one.id} {one.state}" for one in answer.event_flows],
        rest_ids=lambda answer: [f"{one['id']} {one['state']}" for one in answer["results"]],
        admin=True,
    ),
}
READS |= {
    "ListDeadLetterTasks": Read(
        request=lambda places: pb.ListDeadLetterTasksRequest(
            algorithm=name(places), flow=places["flow"]
        ),
        path=f"{FLOWS}/{{flow}}/dead-letters/tasks",
        rpc_ids=lambda answer: [f"{one.id} {one.state}" for one in answer.tasks],
        rest_ids=lambda answer: [f"{one['id']} {one['state']}" for one in answer["results"]],
    ),
    "GetDeadLetterTask": Read(
        request=lambda places: pb.GetDeadLetterTaskRequest(
            algorithm=name(places), flow=places["flow"], id=places["task"]
        ),
        path=f"{FLOWS}/{{flow}}/dead-letters/tasks/{{task}}",
        rpc_ids=lambda answer: [f"{answer.id} {answer.state}"],
        rest_ids=lambda answer: [f"{answer['id']} {answer['state']}"],
    ),
}
WITHOUT_PAST = {
    "CreateUser", "CreateEventListener", "DeleteEventListener", "PutEventFlow", "PauseEventFlow",
    "ResumeEventFlow", "ListDeadLetters", "GetDeadLetter", "RedriveDeadLetters", "PurgeDeadLetters",
    "CancelDeadLetterTask",
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rpc(shared_stage: Stage) -> AsyncIterator[Rpc]:
    server = gateway_server(shared_stage.gateway, listen=HostPort("127.0.0.1", 0))
    await server.start()
    async with rpc_channel(server.address, None, unary_timeout_s=10.0) as channel:
        yield Rpc.on(channel)
    await server.stop()


def test_every_method_that_reads_has_a_case() -> None:
    services = pb.DESCRIPTOR.services_by_name.values()
    methods = {method.name for service in services for method in service.methods}
    assert set(READS) == methods - WITHOUT_PAST


def at(read: Read, there: World, moment: object) -> tuple[Any, str]:
    """The request and the path, as of a moment."""
    request = read.request(there.places)
    request.as_of = str(moment)
    path = read.path.format(**there.places)
    return request, f"{path}{'&' if '?' in path else '?'}as_of={moment}"


@pytest.mark.parametrize("method", READS)
async def test_both_show_the_same_past(stage: Stage, rpc: Rpc, method: str) -> None:
    there, read = await world(stage), READS[method]
    await change_everything(stage, there)
    caller = stage.admin_key if read.admin else there.owner.key
    request, path = at(read, there, there.position)
    by_rest = await stage.client.call("GET", path, key=caller)
    assert by_rest.status == 200, by_rest.content
    call = rpc.method(method)(request, **key(caller))
    by_rpc = await call
    shown = read.rpc_ids(by_rpc)
    assert shown == read.rest_ids(by_rest.json)
    assert shown
    metadata = dict(await call.initial_metadata())
    assert metadata[POSITION] == by_rest.headers[POSITION] == str(there.position)
    assert metadata[TIME] == by_rest.headers[TIME]
    assert dict(await call.trailing_metadata())["x-eventflows-request-id"].startswith("req-")


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("moment", ["yesterday", "999999999", "1970-01-01T00:00:00Z", "0"])
async def test_both_refuse_the_same_moments(
    stage: Stage, rpc: Rpc, method: str, moment: str
) -> None:
    there, read = await world(stage), READS[method]
    caller = stage.admin_key if read.admin else there.owner.key
    request, path = at(read, there, moment)
    if moment == "0" and method in ("ListUsers", "ListAllEventFlows"):
        assert read.rpc_ids(await rpc.method(method)(request, **key(caller))) == []
        return
    refused = await refusal(rpc.method(method)(request, **key(caller)))
    by_rest = await stage.client.call("GET", path, key=caller)
    same_failure(by_rest, refused)
    assert by_rest.status == (404 if moment == "0" else 400)


async def test_a_marker_of_rest_goes_on_in_grpc_at_the_same_moment(stage: Stage, rpc: Rpc) -> None:
    names = [(await stage.owner()).name for _ in range(3)]
    position = stage.follower.catalog.position
    page = await stage.admin("GET", f"/v1/users?limit=1&as_of={position}")
    later = await stage.owner()
    seen, marker = [page["results"][0]["username"]], page["marker"]
    while marker:
        request = pb.ListUsersRequest(limit=500, marker=marker)
        call = rpc.users.ListUsers(request, **key(stage.admin_key))
        found = await call
        assert dict(await call.initial_metadata())[POSITION] == str(position)
        seen += [user.username for user in found.users]
        marker = found.marker
    assert set(names) <= set(seen)
    assert later.name not in seen


async def test_a_change_by_grpc_is_in_the_log_with_its_key_and_request(
    stage: Stage, rpc: Rpc
) -> None:
    new = stage.name()
    call = rpc.users.CreateUser(
        pb.CreateUserRequest(username=new, email=f"{new}@x.io"), **key(stage.admin_key)
    )
    made = await call
    (event,) = (await stage.admin("GET", "/v1/admin/log?limit=1"))["results"]
    assert event["id"] == made.id
    assert event["origin"]["actor"] == stage.admin_id
    assert event["origin"]["key_id"]
    told = dict(await call.trailing_metadata())["x-eventflows-request-id"]
    assert event["origin"]["request_id"] == told
