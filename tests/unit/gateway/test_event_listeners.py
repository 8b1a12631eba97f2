"""Event listeners: the fields of the Event Flows page, role ARNs in clear, secrets never."""

from typing import Any

import pytest
from servicekit.logs import redact

from tests.unit.gateway.stage import Owner, Stage

QUEUE = "https://sqs.us-west-2.amazonaws.com/783449028191/demo-queue"
ROLE = "arn:aws:iam::783449028191:role/demo-sqs-event-flow-algoqueuerole-C4YBAFWYH69Q"
SECRET = "c2VjcmV0LW9mLXRoZS1xdWV1ZQ=="
CONNECTION_STRING = (
    "Endpoint=sb://demo.servicebus.windows.net/;SharedAccessKeyName=reader;"
    f"SharedAccessKey={SECRET}"
)


def sqs(owner: Owner, algorithm: str) -> dict[str, Any]:
    return {
        "sourceType": "AmazonSQS",
        "sourceURI": QUEUE,
        "algoName": algorithm,
        "algoOwner": owner.name,
        "credentials": ROLE,
    }


def service_bus(owner: Owner, algorithm: str) -> dict[str, Any]:
    return {
        **sqs(owner, algorithm),
        "sourceType": "AzureSB",
        "sourceURI": "demo-queue",
        "credentials": CONNECTION_STRING,
    }


async def test_the_list_is_an_array_with_exactly_the_fields_of_the_page(
    stage: Stage, owner: Owner
) -> None:
    path = f"/v1/users/{owner.id}/event-listeners"
    assert await stage.by(owner, "GET", path) == []
    algorithm = await stage.algorithm(owner)
    made = await stage.by(owner, "POST", path, sqs(owner, algorithm))
    listed = await stage.by(owner, "GET", path)
    assert listed == [
        {
            "id": made["id"],
            "sourceType": "AmazonSQS",
            "sourceURI": QUEUE,
            "algoName": algorithm,
            "algoOwner": owner.name,
            "listenerOwner": owner.name,
            "credentials": ROLE,
        }
    ]
    assert list(listed[0]) == [
        "id",
        "sourceType",
        "sourceURI",
        "algoName",
        "algoOwner",
        "listenerOwner",
        "credentials",
    ]
    assert made == {**listed[0], "algoTimeoutSeconds": 420}
    assert await stage.by(owner, "GET", f"{path}/{made['id']}") == made


async def test_version_and_timeout_are_kept_as_given(stage: Stage, owner: Owner) -> None:
    algorithm = await stage.algorithm(owner)
    body = {**sqs(owner, algorithm), "algoVersion": "0.1.0", "algoTimeoutSeconds": 60}
    made = await stage.by(owner, "POST", f"/v1/users/{owner.name}/event-listeners", body)
    assert (made["algoVersion"], made["algoTimeoutSeconds"]) == ("0.1.0", 60)


async def test_a_connection_string_is_shown_as_a_fingerprint_only(
    stage: Stage, owner: Owner
) -> None:
    algorithm = await stage.algorithm(owner)
    path = f"/v1/users/{owner.id}/event-listeners"
    made = await stage.by(owner, "POST", path, service_bus(owner, algorithm))
    assert made["credentials"].startswith("sha256:")
    assert bytes.fromhex(made["credentials"].removeprefix("sha256:"))
    (listed,) = await stage.by(owner, "GET", path)
    assert listed["credentials"] == made["credentials"]
    assert SECRET not in str([made, listed])
    assert SECRET not in redact(f"a log line with {SECRET}")


async def test_a_listener_is_an_event_flow_that_waits_for_its_adapter(
    stage: Stage, owner: Owner
) -> None:
    algorithm = await stage.algorithm(owner)
    path = f"/v1/users/{owner.id}/event-listeners"
    made = await stage.by(owner, "POST", path, sqs(owner, algorithm))
    (flow,) = await stage.by(owner, "GET", f"/v1/algorithms/{owner.name}/{algorithm}/event-flows")
    assert flow["id"] == made["id"]
    assert (flow["broker"], flow["topic"], flow["api_type"]) == ("sqs", QUEUE, "subscriber")
    assert flow["state"] == "blocked"
    assert "no adapter yet" in flow["reason"]


async def test_a_deleted_listener_is_gone(stage: Stage, owner: Owner) -> None:
    algorithm = await stage.algorithm(owner)
    path = f"/v1/users/{owner.id}/event-listeners"
    made = await stage.by(owner, "POST", path, sqs(owner, algorithm))
    answer = await stage.client.call("DELETE", f"{path}/{made['id']}", key=owner.key)
    assert (answer.status, answer.content) == (200, b"")
    assert await stage.by(owner, "GET", path) == []
    answer = await stage.client.call("DELETE", f"{path}/{made['id']}", key=owner.key)
    assert answer.status == 404


async def test_a_repeated_request_makes_one_listener(stage: Stage, owner: Owner) -> None:
    algorithm = await stage.algorithm(owner)
    path = f"/v1/users/{owner.id}/event-listeners"
    for _ in range(2):
        answer = await stage.client.call(
            "POST",
            path,
            service_bus(owner, algorithm),
            key=owner.key,
            headers={"Idempotency-Key": "once"},
        )
        assert answer.status == 200
    assert len(await stage.by(owner, "GET", path)) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sourceType": "Kafka"}, "sourceType"),
        ({"credentials": "a role"}, "credentials"),
        ({"credentials": "x" * 256}, "credentials"),
        ({"sourceURI": ""}, "sourceURI"),
        ({"sourceURI": "demo-queue"}, "sourceURI"),
        ({"sourceType": "AzureSB"}, "credentials"),
        ({"algoTimeoutSeconds": 3001}, "algoTimeoutSeconds"),
        ({"algoTimeoutSeconds": -1}, "algoTimeoutSeconds"),
        ({"algoTimeoutSeconds": 2**40}, "algoTimeoutSeconds"),
    ],
)
async def test_a_bad_field_is_named(
    stage: Stage, owner: Owner, change: dict[str, Any], field: str
) -> None:
    algorithm = await stage.algorithm(owner)
    body = {**sqs(owner, algorithm), **change}
    path = f"/v1/users/{owner.id}/event-listeners"
    answer = await stage.client.call("POST", path, body, key=owner.key)
    assert answer.status == 400, answer.content
    assert field in answer.error["message"]


async def test_a_queue_attaches_to_public_algorithms_of_others_but_not_to_private_ones(
    stage: Stage, owner: Owner
) -> None:
    stranger = await stage.owner()
    private = await stage.algorithm(owner)
    public = await stage.algorithm(owner, callability="public")
    path = f"/v1/users/{stranger.id}/event-listeners"
    answer = await stage.client.call("POST", path, sqs(owner, private), key=stranger.key)
    assert answer.status == 404
    made = await stage.by(stranger, "POST", path, sqs(owner, public))
    assert (made["algoOwner"], made["listenerOwner"]) == (owner.name, stranger.name)
    flows = await stage.by(owner, "GET", f"/v1/algorithms/{owner.name}/{public}/event-flows")
    assert flows == [], "the owner of the algorithm sees a stranger's queue"


async def test_an_unpublished_version_is_refused(stage: Stage, owner: Owner) -> None:
    algorithm = await stage.algorithm(owner)
    body = {**sqs(owner, algorithm), "algoVersion": "9.9.9"}
    path = f"/v1/users/{owner.id}/event-listeners"
    answer = await stage.client.call("POST", path, body, key=owner.key)
    assert (answer.status, answer.error["code"]) == (404, 1014)


async def test_listeners_are_for_their_owner_alone(stage: Stage, owner: Owner) -> None:
    stranger = await stage.owner()
    algorithm = await stage.algorithm(owner)
    path = f"/v1/users/{owner.id}/event-listeners"
    made = await stage.by(owner, "POST", path, sqs(owner, algorithm))
    one = f"{path}/{made['id']}"
    for method, where in (("GET", path), ("GET", one), ("DELETE", one)):
        answer = await stage.client.call(method, where, key=stranger.key)
        assert (answer.status, answer.error["code"]) == (403, 2001)
    own = f"/v1/users/{stranger.id}/event-listeners/{made['id']}"
    assert (await stage.client.call("DELETE", own, key=stranger.key)).status == 404
    assert len(await stage.by(owner, "GET", path)) == 1
