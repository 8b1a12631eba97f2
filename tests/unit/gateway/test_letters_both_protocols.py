"""Dead letters, their tasks and pauses are the same by REST and gRPC, for owners and for admins."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from eventflows.gateway.v1 import gateway_pb2 as pb
from eventflows.router.v1 import router_pb2
from gateway.entrypoints.rpc.server import gateway_server
from google.protobuf.json_format import MessageToDict
from servicekit.rpc import rpc_channel
from servicekit.settings import HostPort

from tests.unit.gateway.rpc_client import Rpc, key, refusal, same_failure
from tests.unit.gateway.stage import Stage
from tests.unit.gateway.test_dead_letters import ALL, SELECTION, of_flow
from tests.unit.gateway.world import World, world

NUMBERS = ("offset", "value_bytes", "succeeded", "failed", "left")
TIMES = ("record_time", "first_time", "given_up_time", "state_time", "at")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rpc(shared_stage: Stage) -> AsyncIterator[Rpc]:
    server = gateway_server(shared_stage.gateway, listen=HostPort("127.0.0.1", 0))
    await server.start()
    async with rpc_channel(server.address, None, unary_timeout_s=10.0) as channel:
        yield Rpc.on(channel)
    await server.stop()


def fields(message: Any) -> dict[str, Any]:
    """As JSON with every field; 64-bit numbers as numbers."""
    shown = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return shown | {name: int(shown[name]) for name in NUMBERS if name in shown}


def same_letter(by_rpc: dict[str, Any], by_rest: dict[str, Any]) -> None:
    """What REST says in other words: keys in base64 and as text, times with milliseconds."""
    assert by_rpc.pop("key") == by_rest["key_base64"]
    assert by_rpc.pop("has_key") is True
    for name, value in by_rpc.items():
        shown = by_rest[name]
        if name in TIMES:
            assert shown[:19] == value[:19]
        else:
            assert (shown or "") == (value or ""), name


def named(there: World) -> dict[str, Any]:
    """The flow, as an owner names it."""
    places = there.places
    return {"algorithm": f"{places['owner']}/{places['name']}", "flow": places["flow"]}


async def test_dead_letters_are_the_same(stage: Stage, rpc: Rpc) -> None:
    there = await world(stage)
    for caller, path, names in (
        (there.owner.key, of_flow(there), named(there)),
        (stage.admin_key, ALL, {}),
    ):
        page = await rpc.letters.ListDeadLetters(
            pb.ListDeadLettersRequest(limit=1, **names), **key(caller)
        )
        shown = (await stage.client.call("GET", f"{path}?limit=1", key=caller)).json
        assert page.marker == shown["marker"]
        (letter,), (other,) = page.dead_letters, shown["results"]
        same_letter(fields(letter), other)
        whole = await rpc.letters.GetDeadLetter(
            pb.GetDeadLetterRequest(id=letter.id, **names), **key(caller)
        )
        shown = (await stage.client.call("GET", f"{path}/{letter.id}", key=caller)).json
        assert base64.b64encode(whole.value).decode() == shown["value_base64"]
        assert [one.name for one in whole.headers] == [one["name"] for one in shown["headers"]]
        same = [(one.attempt, one.outcome, one.error) for one in whole.history]
        assert same == [(one["attempt"], one["outcome"], one["error"]) for one in shown["history"]]


async def test_redrives_and_purges_are_the_same(stage: Stage, rpc: Rpc) -> None:
    there = await world(stage)
    chosen = {name: value for name, value in SELECTION.items() if name != "key"}
    selection = pb.DeadLetterSelection(key="kéy".encode(), **chosen)
    taken = await rpc.letters.RedriveDeadLetters(
        pb.RedriveDeadLettersRequest(
            selection=selection, algorithm_version="0.1.0", rate_per_s=2.5, expected_version=0,
            **named(there),
        ),
        **key(there.owner.key),
    )  # fmt: skip
    shown = await stage.admin("GET", f"{ALL}/tasks/{taken.task.id}")
    by_rpc = fields(taken.task)
    for name in ("id", "kind", "flow", "algorithm", "algorithm_version", "rate_per_s", "state"):
        assert by_rpc[name] == shown[name]
    assert shown["selection"]["since"][:19] == taken.task.selection.since[:19]
    assert shown["selection"]["letters"] == list(taken.task.selection.letters)
    assert (shown["selection"]["offset_first"], taken.task.selection.offset_first) == (5, 5)
    assert not taken.task.selection.HasField("offset_last")
    counted = await rpc.letters.PurgeDeadLetters(
        pb.PurgeDeadLettersRequest(flow=there.places["flow"], dry_run=True), **key(stage.admin_key)
    )
    assert (counted.WhichOneof("taken"), counted.letters) == ("letters", 2)
    purge = await rpc.letters.PurgeDeadLetters(
        pb.PurgeDeadLettersRequest(flow=there.places["flow"]), **key(stage.admin_key)
    )
    listed = await rpc.letters.ListDeadLetterTasks(
        pb.ListDeadLetterTasksRequest(**named(there)), **key(there.owner.key)
    )
    ids = [purge.task.id, taken.task.id, there.places["task"]]
    assert [one.id for one in listed.tasks] == ids
    cancelled = await rpc.letters.CancelDeadLetterTask(
        pb.CancelDeadLetterTaskRequest(id=purge.task.id), **key(stage.admin_key)
    )
    assert (cancelled.state, cancelled.version) == ("cancelled", 2)


async def test_the_routers_word_on_a_task_is_the_same(stage: Stage, rpc: Rpc) -> None:
    there = await world(stage)
    task = there.places["task"]
    stage.router.tasks[task] = router_pb2.DeadLetterTaskProgress(
        state="waiting", reason="the flow is paused", succeeded=3, left=4, worker="r-1"
    )
    got = await rpc.letters.GetDeadLetterTask(
        pb.GetDeadLetterTaskRequest(id=task), **key(stage.admin_key)
    )
    shown = await stage.by(there.owner, "GET", f"{of_flow(there)}/tasks/{task}")
    for name in ("state", "reason", "succeeded", "failed", "left", "worker"):
        assert getattr(got, name) == shown[name]


@pytest.mark.parametrize("verb", ["PauseEventFlow", "ResumeEventFlow"])
async def test_a_stale_writer_of_a_pause_is_refused_by_both(
    stage: Stage, rpc: Rpc, verb: str
) -> None:
    there = await world(stage)
    path = of_flow(there).removesuffix("/dead-letters")
    await stage.by(there.owner, "PUT", path, {"enabled": True})
    request = getattr(pb, f"{verb}Request")(
        algorithm=named(there)["algorithm"], id=there.places["flow"], expected_version=0
    )
    by_rpc = await refusal(rpc.method(verb)(request, **key(there.owner.key)))
    word = verb.removesuffix("EventFlow").lower()
    by_rest = await stage.client.call(
        "POST", f"{path}/{word}", {}, key=there.owner.key, headers={"If-Match": '"0"'}
    )
    same_failure(by_rest, by_rpc)
    assert by_rest.status == 412


async def test_a_repeated_redrive_by_grpc_is_one_task(stage: Stage, rpc: Rpc) -> None:
    there = await world(stage)
    request = pb.RedriveDeadLettersRequest(**named(there))
    metadata = (("authorization", there.owner.key), ("idempotency-key", there.owner.name))
    first = await rpc.letters.RedriveDeadLetters(request, metadata=metadata)
    assert await rpc.letters.RedriveDeadLetters(request, metadata=metadata) == first


async def test_a_standard_key_must_name_its_algorithm(stage: Stage, rpc: Rpc) -> None:
    there = await world(stage)
    flow = there.places["flow"]
    for call in (
        rpc.flows.PauseEventFlow(pb.PauseEventFlowRequest(id=flow), **key(there.owner.key)),
        rpc.letters.ListDeadLetters(pb.ListDeadLettersRequest(), **key(there.owner.key)),
        rpc.letters.PurgeDeadLetters(pb.PurgeDeadLettersRequest(flow=flow), **key(there.owner.key)),
        rpc.letters.GetDeadLetterTask(
            pb.GetDeadLetterTaskRequest(id=there.places["task"]), **key(there.owner.key)
        ),
    ):
        refused = await refusal(call)
        assert refused.message.startswith("algorithm must be owner/name")
