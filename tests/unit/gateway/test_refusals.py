"""What every path refuses: a missing, unknown or wrong-kind key, a bad body, an unknown id."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest
from gateway.entrypoints.rest import bodies
from gateway.entrypoints.rest.app import OPERATIONS
from gateway.entrypoints.rest.bodies import JSON_BODY_BYTES_MAX
from gateway.entrypoints.rest.operation import KeyKind, Operation
from starlette.types import Message

from tests.unit.gateway.asgi_client import Answer
from tests.unit.gateway.instructions import says_what_to_do
from tests.unit.gateway.stage import Owner, Stage
from tests.unit.gateway.world import world

UNKNOWN = str(uuid4())
PLACES = {
    "user": UNKNOWN, "key": UNKNOWN, "listener": UNKNOWN, "owner": "nobody", "name": "Nothing",
    "algorithm_id": UNKNOWN, "git_hash": "0" * 40, "build": UNKNOWN, "flow": UNKNOWN,
    "connection": UNKNOWN, "topic": "images", "target": "nobody/Nothing", "position": "999999999",
    "letter": "7-999999999", "task": UNKNOWN,
}  # fmt: skip
BODIES: dict[str, dict[str, object]] = {
    "UserCreate": {"username": "someone", "email": "a@b"},
    "KeyCreate": {"key_type": "AlgorithmKey"},
    "AlgorithmCreate": {"name": "Hello", "source": {"git_url": "https://git.example.com/r"}},
    "EventListenerCreate": {
        "sourceType": "AmazonSQS", "sourceURI": "https://sqs/1/q", "algoName": "Nothing",
        "algoOwner": "nobody", "credentials": "arn:aws:iam::783449028191:role/reader",
    },
    "BrokerConnectionCreate": {
        "name": "b", "broker_url": "k:1", "connection_type": "kafka_unauthenticated_plaintext",
    },
    "BrokerConnectionPut": {
        "name": "b", "broker_url": "k:1", "connection_type": "kafka_unauthenticated_plaintext",
    },
    "Revert": {"kind": "flow", "id": UNKNOWN, "to_version": 1},
    "TopicAccessPut": {"algorithms": []},
    "EventFlowPut": {"enabled": True},
    "EventFlowPause": {"drain": True, "reason": "upkeep"},
    "Redrive": {"selection": {}, "algorithm_version": "0.1.0"},
    "RedriveOfFlow": {"selection": {}, "algorithm_version": "0.1.0", "flow": UNKNOWN},
    "Purge": {"selection": {}, "dry_run": True},
    "PurgeOfFlow": {"selection": {}, "dry_run": True, "flow": UNKNOWN},
    "Compile": {}, "Publish": {}, "Empty": {},
}  # fmt: skip
EVERY = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: f"{o.method} {o.path}")
WITH_BODY = pytest.mark.parametrize(
    "operation",
    [one for one in OPERATIONS if one.body is not None],
    ids=lambda o: f"{o.method} {o.path}",
)


def path(operation: Operation, **places: str) -> str:
    return operation.path.format(**{**PLACES, **places})


def body_of(operation: Operation) -> object:
    return None if operation.body is None else BODIES[operation.body.__name__]


def right_key(stage: Stage, owner: Owner, operation: Operation) -> str:
    return stage.admin_key if operation.key is KeyKind.ADMIN else owner.key


def check_envelope(answer: Answer, status: int, code: int) -> None:
    assert answer.status == status, answer.content
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["code"] == code
    assert says_what_to_do(answer.error["message"]), answer.error["message"]
    assert answer.headers["x-error-message"]


@EVERY
async def test_without_a_key_nobody_comes_in(stage: Stage, operation: Operation) -> None:
    answer = await stage.client.call(operation.method, path(operation), body_of(operation))
    check_envelope(answer, 401, 2002)
    assert "uthorization" in answer.error["message"]
    assert answer.headers["www-authenticate"].startswith("Simple")


@EVERY
@pytest.mark.parametrize(
    "authorization",
    ["Simple simNobodyHasThisKey", "simNobodyHasThisKey", "Simple ", "Simple", "Bearer e30.e30.x",
     "simple é", "x" * 1_000],
)  # fmt: skip
async def test_an_unknown_key_is_worth_nothing(
    stage: Stage, operation: Operation, authorization: str
) -> None:
    answer = await stage.client.call(
        operation.method,
        path(operation),
        body_of(operation),
        headers={"Authorization": authorization},
    )
    check_envelope(answer, 401, 2002)
    assert "simNobody" not in answer.content.decode()


@EVERY
async def test_the_wrong_kind_of_key_is_told_which_is_needed(
    stage: Stage, owner: Owner, operation: Operation
) -> None:
    wrong, needed = (
        (owner.key, "admin key")
        if operation.key is KeyKind.ADMIN
        else (stage.admin_key, "standard key")
    )
    answer = await stage.client.call(
        operation.method, path(operation), {"unknown": "field"}, key=wrong
    )
    check_envelope(answer, 403, 2001)
    assert f"needs a{'n' if needed == 'admin key' else ''} {needed}" in answer.error["message"]


@WITH_BODY
async def test_an_unknown_field_is_named(stage: Stage, owner: Owner, operation: Operation) -> None:
    given = {**(BODIES[operation.body.__name__]), "surprise": 1}  # type: ignore[union-attr]
    key = right_key(stage, owner, operation)
    answer = await stage.client.call(operation.method, path(operation), given, key=key)
    check_envelope(answer, 400, 6001)
    assert "unknown field surprise: remove it" in answer.error["message"]


@WITH_BODY
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", 2013),
        (b"\xff", 2013),
        (b"[]", 6001),
        (b"null", 6001),
        (b'"text"', 6001),
        (b"[" * 100_000, 6001),
    ],
)
async def test_a_body_that_is_not_a_json_object_is_refused(
    stage: Stage, owner: Owner, operation: Operation, content: bytes, code: int
) -> None:
    answer = await stage.client.call(
        operation.method,
        path(operation),
        key=right_key(stage, owner, operation),
        headers={"Content-Type": "application/json"},
        chunks=[content],
    )
    check_envelope(answer, 400, code)


async def test_a_body_that_is_nested_too_deeply_is_refused(stage: Stage, owner: Owner) -> None:
    content = b'{"scmsCredentials": ' + b'{"a":' * 100_000
    answer = await stage.client.call(
        "POST", f"/v1/algorithms/{owner.name}", key=owner.key, chunks=[content]
    )
    check_envelope(answer, 400, 2013)


@WITH_BODY
async def test_a_body_of_another_type_is_refused(
    stage: Stage, owner: Owner, operation: Operation
) -> None:
    answer = await stage.client.call(
        operation.method,
        path(operation),
        key=right_key(stage, owner, operation),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        chunks=[b"details=label&settings=license"],
    )
    check_envelope(answer, 415, 9415)
    assert "application/json" in answer.error["message"]


@WITH_BODY
async def test_a_body_that_is_too_large_is_refused(
    stage: Stage, owner: Owner, operation: Operation
) -> None:
    answer = await stage.client.call(
        operation.method,
        path(operation),
        key=right_key(stage, owner, operation),
        headers={"Content-Type": "application/json"},
        chunks=[b" " * JSON_BODY_BYTES_MAX, b"{}"],
    )
    check_envelope(answer, 413, 9013)


@WITH_BODY
async def test_fields_of_the_wrong_type_are_named(
    stage: Stage, owner: Owner, operation: Operation
) -> None:
    assert operation.body is not None
    for field in BODIES[operation.body.__name__]:
        given = {**BODIES[operation.body.__name__], field: 17.5}
        key = right_key(stage, owner, operation)
        answer = await stage.client.call(operation.method, path(operation), given, key=key)
        check_envelope(answer, 400, 6001)
        assert answer.error["message"].startswith(f"{field} must be ")


# Paths that make something, or list everything, name nothing that could be unknown.
NAMES_NOTHING = (
    "/v1/users", "/v1/admin/broker-connections", "/v1/admin/event-flows", "/v1/admin/log",
    "/v1/admin/log/head", "/v1/admin/log/diff", "/v1/admin/dead-letters",
    "/v1/admin/dead-letters/tasks",
)  # fmt: skip


@pytest.mark.parametrize(
    "operation",
    [one for one in OPERATIONS if one.path not in NAMES_NOTHING],
    ids=lambda o: f"{o.method} {o.path}",
)
async def test_an_unknown_id_is_not_found(stage: Stage, owner: Owner, operation: Operation) -> None:
    own = {"user": owner.id} if "event-listeners" in operation.path else {}
    key = right_key(stage, owner, operation)
    where = path(operation, **own)
    answer = await stage.client.call(operation.method, where, body_of(operation), key=key)
    if operation.path == "/v1/algorithms/{owner}" and operation.method == "POST":
        check_envelope(answer, 403, 2001)
    elif operation.path.endswith("/event-listeners") and operation.method == "GET":
        assert (answer.status, answer.json) == (200, [])
    else:
        assert answer.status == 404, answer.content
        assert answer.headers["x-error-message"]


async def test_a_body_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.01)
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def send(message: Message) -> None:
        sent.append(message)

    key = ("authorization", stage.admin_key)
    scope = {
        "type": "http", "method": "POST", "path": "/v1/users", "query_string": b"",
        "headers": [tuple(word.encode() for word in key)], "root_path": "",
    }  # fmt: skip
    await stage.client.app(scope, receive, send)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"]["code"] == 9408


async def test_an_unknown_path_is_told_in_the_envelope(stage: Stage, owner: Owner) -> None:
    for where in ("/", "/v1", "/v1/nothing", "/v1/users/a/b/c/d", "/v1/users/", "/v2/users"):
        answer = await stage.client.call("GET", where, key=owner.key)
        check_envelope(answer, 404, 9404)


@EVERY
async def test_a_wrong_method_is_told_which_are_right(stage: Stage, operation: Operation) -> None:
    answer = await stage.client.call("PATCH", path(operation))
    check_envelope(answer, 405, 9405)
    assert operation.method in answer.headers["allow"].split(", ")


PAGED = [one for one in OPERATIONS if "limit" in one.query]


@pytest.mark.parametrize("operation", PAGED, ids=lambda o: o.path)
async def test_bad_paging_has_codes_of_its_own(stage: Stage, operation: Operation) -> None:
    there = await world(stage)
    where, key = there.path(operation), there.key(stage, operation)
    for limit in ("0", "-1", "501", "many", "", "1.5", "٣", "9" * 30):
        answer = await stage.client.call("GET", f"{where}?limit={limit}", key=key)
        check_envelope(answer, 400, 5003)
    for marker in ("x", "%25", "W10", "WyJhIiwxXQ==", "bnVsbA", "W3t9XQ", "x" * 5_000, "é"):
        answer = await stage.client.call("GET", f"{where}?marker={marker}", key=key)
        if answer.status != 200:  # a well-formed marker of another list is a place in this one
            check_envelope(answer, 400, 5002)


async def test_an_empty_idempotency_key_is_refused(stage: Stage) -> None:
    for key in ("", "x" * 256):
        answer = await stage.client.call(
            "POST", "/v1/users", BODIES["UserCreate"], key=stage.admin_key,
            headers={"Idempotency-Key": key},
        )  # fmt: skip
        check_envelope(answer, 400, 6001)


async def test_text_that_no_string_may_hold_is_refused(stage: Stage) -> None:
    for name in ("nul\x00", "line\nbreak", "\ud800"):
        content = json.dumps({"username": name, "email": "a@b"}).encode()
        answer = await stage.client.call(
            "POST", "/v1/users", key=stage.admin_key, chunks=[content],
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        assert answer.status == 400, answer.content


@pytest.mark.parametrize(
    "message",
    ["the body is not valid JSON", "Object contains unknown field `bogus`", "it is wrong",
     "algorithms[].algorithm: there is no algorithm acme/nosuch", "no broker answers at kafka:9092",
     "Expected `str`, got `int` - at `$.username`"],
)  # fmt: skip
def test_a_sentence_that_leaves_its_reader_helpless_is_found(message: str) -> None:
    assert not says_what_to_do(message)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"algoTimeoutSeconds": -1}, "algoTimeoutSeconds must be a whole number >= 0: change it"),
        ({"algoTimeoutSeconds": "1"}, "algoTimeoutSeconds must be a whole number"),
        ({"sourceType": None}, "sourceType must be text, not null: change it"),
        ({"bo`gus": 1}, "the body has an unknown field bo`gus: remove it"),
    ],
)
async def test_what_is_wrong_in_a_body_is_told_in_plain_words(
    stage: Stage, owner: Owner, changes: dict[str, object], sentence: str
) -> None:
    answer = await stage.client.call(
        "POST", f"/v1/users/{owner.id}/event-listeners",
        {**BODIES["EventListenerCreate"], **changes}, key=owner.key,
    )  # fmt: skip
    check_envelope(answer, 400, 6001)
    assert answer.error["message"].startswith(sentence)
    assert "GET /v1/openapispec" in answer.error["message"]


async def test_a_word_that_is_none_of_a_fields_values_is_told(stage: Stage) -> None:
    given = {**BODIES["BrokerConnectionCreate"], "connection_type": "kafka_plain"}
    answer = await stage.client.call(
        "POST", "/v1/admin/broker-connections", given, key=stage.admin_key
    )
    check_envelope(answer, 400, 6001)
    assert answer.error["message"].startswith("connection_type cannot be 'kafka_plain': choose")
