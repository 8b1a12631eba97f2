"""Every change honours If-Match and Idempotency-Key, every single read gives an ETag."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest
from eventflows.runner.v1 import runner_pb2
from gateway.entrypoints.rest import wire, wire_letters
from gateway.entrypoints.rest.app import OPERATIONS, rest_app
from gateway.entrypoints.rest.operation import Operation
from gateway.entrypoints.rest.preconditions import TAGS_MAX, expected_versions
from kernel.errors import InvalidInput

from tests.unit.gateway.asgi_client import Answer, AsgiClient
from tests.unit.gateway.memory_peers import MemoryRunner
from tests.unit.gateway.stage import Owner, Stage
from tests.unit.gateway.world import world

WAIT_S = 10.0
CHANGES = [one for one in OPERATIONS if one.idempotent and one.name != "run"]
SINGLES = [one for one in OPERATIONS if one.method == "GET" and one.entity_tag]
EVERY_CHANGE = pytest.mark.parametrize("operation", CHANGES, ids=lambda o: f"{o.method} {o.path}")
NEW = '"0"'
"""The tag of what a POST is about to create."""
USER, FLOW = "/v1/users/{user}", "/v1/algorithms/{owner}/{name}/event-flows/{flow}"
LISTENER, ALGORITHM = "/v1/users/{user}/event-listeners/{listener}", "/v1/algorithms/{owner}/{name}"
CONNECTION = "/v1/admin/broker-connections/{connection}"
TASK = "/v1/admin/dead-letters/tasks/{task}"
QUEUE = {
    "sourceType": "AmazonSQS", "sourceURI": "https://sqs/1/new", "algoName": "{name}",
    "algoOwner": "{owner}", "credentials": "arn:aws:iam::783449028191:role/reader",
}  # fmt: skip
BROKER = {
    "name": "{fresh}", "broker_url": "kafka.example.com:9092",
    "connection_type": "kafka_unauthenticated_plaintext",
}  # fmt: skip
Body = dict[str, Any]
# Name of the handler → the body, what another body has in its place, and where the tag is read.
TABLE: dict[str, tuple[Body | None, Body, str | None]] = {
    "create_user": ({"username": "{fresh}", "email": "{fresh}@x.io"}, {"fullname": "Other"}, None),
    "create_key": ({"key_type": "AlgorithmKey"}, {"key_label": "other"}, USER),
    "revoke_key": (None, {}, USER),
    "create_event_listener": (QUEUE, {"algoTimeoutSeconds": 9}, None),
    "delete_event_listener": (None, {}, LISTENER),
    "create_algorithm": (
        {"name": "{fresh}", "source": {"git_url": "https://git.example.com/r"}},
        {"details": {"label": "other"}},
        None,
    ),
    "compile_algorithm": ({}, {"commitSha": "a" * 40}, ALGORITHM),
    "publish_version": ({}, {"version_info": {"version_type": "major"}}, ALGORITHM),
    "put_event_flow": ({"enabled": True}, {"timeout_s": 9}, FLOW),
    "pause_event_flow": ({"reason": "upkeep"}, {"drain": True}, FLOW),
    "resume_event_flow": ({}, {}, FLOW),
    "redrive_dead_letters": ({}, {"algorithm_version": "0.1.0"}, None),
    "purge_dead_letters": ({}, {"selection": {"topic": "images"}}, None),
    "cancel_dead_letter_task": ({}, {}, TASK),
    "create_broker_connection": (BROKER, {"broker_url": "other:1"}, None),
    "put_broker_connection": (BROKER, {"broker_url": "other:1"}, CONNECTION),
    "delete_broker_connection": (None, {}, CONNECTION),
    "shred_broker_credentials": (None, {}, CONNECTION),
    "put_topic_access": (
        {"algorithms": []},
        {"algorithms": [{"algorithm": "{owner}/{name}", "api_type": "publisher"}]},
        f"{CONNECTION}/topics/{{topic}}",
    ),
    "revert": ({"kind": "flow", "id": "{flow}", "to_version": 2}, {"to_version": 1}, FLOW),
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change, ready to be sent."""

    stage: Stage
    method: str
    path: str
    body: Body | None
    other: Body
    key: str
    tag: str

    async def send(self, body: Body | None = None, /, **headers: str) -> Answer:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.stage.client.call(
            self.method, self.path, self.body if body is None else body, key=self.key, headers=names
        )


async def change_of(stage: Stage, operation: Operation) -> Change:
    """In a world of its own, in which it can succeed."""
    there = await world(stage)
    places = {**there.places, "fresh": stage.name("Fresh")}
    if operation.name == "revert":
        for timeout_s in (7, 8):
            settings = {"enabled": True, "timeout_s": timeout_s}
            await stage.by(there.owner, "PUT", FLOW.format(**places), settings)
    if operation.name in ("pause_event_flow", "resume_event_flow"):
        await stage.by(there.owner, "PUT", FLOW.format(**places), {"enabled": True})
    if operation.name == "resume_event_flow":
        await stage.by(there.owner, "POST", f"{FLOW}/pause".format(**places), {})
    if operation.name == "shred_broker_credentials":
        places["connection"] = await secured_connection(stage)
    body, other, tagged = TABLE[operation.name]
    if operation.body in (wire_letters.RedriveOfFlow, wire_letters.PurgeOfFlow):
        body = {"flow": "{flow}", **(body or {})}
    return Change(
        stage=stage,
        method=operation.method,
        path=operation.path.format(**places),
        body=filled(body, places),
        other={**filled(body or {}, places), **filled(other, places)},
        key=there.key(stage, operation),
        tag=NEW if tagged is None else await tag_at(stage, there.owner, tagged.format(**places)),
    )


async def secured_connection(stage: Stage) -> str:
    body = {
        "name": stage.name("broker"), "broker_url": "kafka.example.com:9093",
        "connection_type": "kafka_sasl_ssl", "broker_username": "u",
        "broker_password": "correct-horse-battery",
    }  # fmt: skip
    made = await stage.admin("POST", "/v1/admin/broker-connections", body, status=201)
    return str(made["id"])


def filled(value: Any, places: dict[str, str]) -> Any:
    """With every `{place}` in its texts filled in."""
    if isinstance(value, dict):
        return {name: filled(one, places) for name, one in value.items()}
    if isinstance(value, list):
        return [filled(one, places) for one in value]
    return value.format(**places) if isinstance(value, str) else value


async def tag_at(stage: Stage, owner: Owner, path: str) -> str:
    for key in (owner.key, stage.admin_key):
        answer = await stage.client.call("GET", path, key=key)
        if answer.status == 200:
            return answer.headers["etag"]
    raise AssertionError(f"nobody may read {path}")


def test_every_change_and_every_single_read_is_in_the_tables() -> None:
    assert {one.name for one in CHANGES} == set(TABLE)
    assert all(one.conditional for one in CHANGES)
    for one in OPERATIONS:
        # The log knows nothing of a single dead letter, which nobody changes either.
        if one.method == "GET" and one.path.endswith("}") and "{letter}" not in one.path:
            assert one.entity_tag, one.path


@EVERY_CHANGE
async def test_a_stale_writer_is_refused_and_nothing_happened(
    stage: Stage, operation: Operation
) -> None:
    change = await change_of(stage, operation)
    before = stage.follower.catalog.position
    for tag in ('"999999"', '"x"', f"W/{change.tag}", 'W/"1", "999999"', '"02"', '""'):
        answer = await change.send(If_Match=tag)
        assert answer.status == 412, (tag, answer.content)
    assert (await stage.gateway.log.head()).position == before


@EVERY_CHANGE
@pytest.mark.parametrize("form", ["{0}", "*", '"999999", {0}', 'W/"5",{0} , "7"'])
async def test_a_fresh_writer_is_let_through(stage: Stage, operation: Operation, form: str) -> None:
    change = await change_of(stage, operation)
    answer = await change.send(If_Match=form.format(change.tag))
    assert answer.status == operation.status, answer.content
    assert ("etag" in answer.headers) == operation.entity_tag


@EVERY_CHANGE
async def test_the_tag_of_an_answer_is_good_for_the_next_change(
    stage: Stage, operation: Operation
) -> None:
    change = await change_of(stage, operation)
    answer = await change.send()
    assert answer.status == operation.status, answer.content
    if not operation.entity_tag:
        assert operation.method == "DELETE"  # what is gone has no tag
        return
    tagged = TABLE[operation.name][2]
    if tagged is not None:
        again = await change.send(If_Match=change.tag)
        assert again.status == 412, again.content
        again = await change.send(change.other, If_Match=answer.headers["etag"])
        # What the state forbids is told as such: the tag was right.
        assert again.status in (operation.status, 409), again.content


@EVERY_CHANGE
@pytest.mark.parametrize("conditional", [False, True])
async def test_a_repeated_change_is_done_once(
    stage: Stage, operation: Operation, conditional: bool
) -> None:
    change = await change_of(stage, operation)
    headers = {"Idempotency_Key": str(uuid4())}
    if conditional:
        headers["If_Match"] = f'"999999", {change.tag}'
    first = await change.send(**headers)
    assert first.status == operation.status, first.content
    done = (await stage.gateway.log.head()).position
    again = await change.send(**headers)
    assert again.status == first.status, again.content
    assert (await stage.gateway.log.head()).position == done
    if first.content:
        assert without_secret(again) == without_secret(first)
        assert "api_key" not in again.json
    assert again.headers.get("etag") == first.headers.get("etag")


def without_secret(answer: Answer) -> Body:
    return {name: value for name, value in answer.json.items() if name != "api_key"}


@EVERY_CHANGE
async def test_the_same_idempotency_key_with_another_body_is_refused(
    stage: Stage, operation: Operation
) -> None:
    change = await change_of(stage, operation)
    if operation.body is None or not operation.body.__struct_fields__:
        assert operation.method == "DELETE" or operation.body is wire.Empty
        return  # it has no body to be another
    wish = str(uuid4())
    assert (await change.send(Idempotency_Key=wish)).status == operation.status
    done = (await stage.gateway.log.head()).position
    answer = await change.send(change.other, Idempotency_Key=wish)
    assert (answer.status, answer.error["code"]) == (409, 9011), answer.content
    assert "Idempotency-Key was used for another request" in answer.error["message"]
    assert (await stage.gateway.log.head()).position == done


class ClockRunner(MemoryRunner):
    """No two builds end alike; both have begun before one ends."""

    def __init__(self) -> None:
        super().__init__()
        self._both = asyncio.Barrier(2)

    async def build(self, request: runner_pb2.BuildRequest) -> runner_pb2.BuildResponse:
        answer = await super().build(request)
        answer.finished_at.seconds += len(self.builds)
        async with asyncio.timeout(WAIT_S):
            await self._both.wait()
        return answer


async def test_a_build_that_is_asked_for_twice_at_once_is_one_build(
    stage: Stage, owner: Owner
) -> None:
    name = await stage.bare_algorithm(owner)
    client = AsgiClient(rest_app(replace(stage.gateway, runner=ClockRunner())))
    path = f"/v1/algorithms/{owner.name}/{name}"
    calls = [
        client.call(
            "POST", f"{path}/compile", {}, key=owner.key, headers={"Idempotency-Key": "once"}
        )
        for _ in range(2)
    ]
    one, other = await asyncio.gather(*calls)
    assert (one.status, other.status) == (200, 200), (one.content, other.content)
    assert one.json["build"] == other.json["build"]
    assert len((await stage.by(owner, "GET", f"{path}/builds"))["results"]) == 1


@pytest.mark.parametrize("operation", SINGLES, ids=lambda o: o.path)
async def test_every_single_read_gives_a_tag(stage: Stage, operation: Operation) -> None:
    there = await world(stage)
    path = there.path(operation)
    answer = await stage.client.call("GET", path, key=there.key(stage, operation))
    assert answer.status == 200, answer.content
    assert answer.headers["etag"].strip('"').isdigit()


async def test_a_thing_that_somebody_else_removed_is_gone_also_for_a_repeatable_wish(
    stage: Stage,
) -> None:
    for operation in (one for one in CHANGES if one.method == "DELETE" and not one.entity_tag):
        change = await change_of(stage, operation)
        assert (await change.send(Idempotency_Key="one")).status == operation.status
        for wish in ({}, {"Idempotency_Key": "two"}, {"Idempotency_Key": "two"}):
            assert (await change.send(**wish)).status == 404


async def test_two_accounts_with_one_idempotency_key_never_meet(stage: Stage) -> None:
    one, other = await stage.owner(), await stage.owner()
    names = set()
    for owner in (one, other):
        body = {"name": "Same", "source": {"git_url": "https://git.example.com/r"}}
        answer = await stage.client.call(
            "POST", f"/v1/algorithms/{owner.name}", body, key=owner.key,
            headers={"Idempotency-Key": "the same"},
        )  # fmt: skip
        assert answer.status == 201
        names.add(answer.json["id"])
    assert len(names) == 2


async def test_another_key_of_the_same_account_repeats_the_same_wish(
    stage: Stage, owner: Owner
) -> None:
    made = await stage.admin("POST", f"/v1/users/{owner.name}/keys", {"key_type": "AlgorithmKey"})
    body = {"name": "Once", "source": {"git_url": "https://git.example.com/r"}}
    answers = [
        await stage.client.call(
            "POST", f"/v1/algorithms/{owner.name}", body, key=key,
            headers={"Idempotency-Key": "rotated"},
        )
        for key in (owner.key, made["api_key"])
    ]  # fmt: skip
    assert [one.status for one in answers] == [201, 201]
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize(
    ("lines", "versions"),
    [
        ([], None), ([""], None), (["*"], None), ([" * "], None), (['"3"'], (3,)), (["3"], (3,)),
        (['"3", "4"'], (3, 4)), (['"3"', '"4"'], (3, 4)), (['"3","3"'], (3,)), (['W/"3"'], ()),
        (['W/"3", "4"'], (4,)), (['"abc"'], ()), (['"03"'], ()), (['"2147483648"'], ()),
        (['"a,b", "5"'], (5,)),
    ],
)  # fmt: skip
def test_if_match_is_read_as_rfc_9110_says(
    lines: list[str], versions: tuple[int, ...] | None
) -> None:
    assert expected_versions(lines) == versions


@pytest.mark.parametrize(
    "line", ['"3', '3"', "w/\"3\"", '"3" "4"', "*, \"3\"", ", ,", "abc", '"\x00"', "-1",
             ", ".join(f'"{n}"' for n in range(TAGS_MAX + 1))],
)  # fmt: skip
def test_what_is_no_list_of_tags_is_refused(line: str) -> None:
    with pytest.raises(InvalidInput, match="If-Match must be the ETag"):
        expected_versions([line])
