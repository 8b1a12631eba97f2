"""Broker connections, their topics and who may use them; credentials never come back."""

import json
from typing import Any

import pytest
from servicekit.logs import redact

from tests.unit.gateway.stage import Owner, Stage

PATH = "/v1/admin/broker-connections"
PASSWORD = "correct-horse-battery"


def secured(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "broker_url": "kafka1.example.com:9093, kafka2.example.com:9093",
        "connection_type": "kafka_sasl_ssl",
        "broker_username": "event-flows",
        "broker_password": PASSWORD,
        "sasl_mechanism": "SCRAM-SHA-512",
    }


async def test_credentials_go_in_and_never_come_out(stage: Stage) -> None:
    made = await stage.admin("POST", PATH, secured(stage.name("broker")), status=201)
    shown = await stage.admin("GET", f"{PATH}/{made['id']}")
    listed = await stage.all_pages(f"{PATH}?limit=500")
    assert shown == made
    assert made in listed
    assert PASSWORD not in json.dumps([made, shown, listed])
    assert "event-flows" not in json.dumps([made, shown, listed])
    assert PASSWORD not in redact(f"a log line with {PASSWORD}")
    assert made["has_credentials"] is True
    assert len(bytes.fromhex(made["fingerprint"])) == 8
    assert made["broker_url"] == "kafka1.example.com:9093,kafka2.example.com:9093"
    assert made["sasl_mechanism"] == "SCRAM-SHA-512"
    assert made["created_at"].endswith("Z")


async def test_a_plaintext_connection_has_no_credentials(stage: Stage) -> None:
    shown = await stage.admin("GET", f"{PATH}/{await stage.connection()}")
    assert shown["connection_type"] == "kafka_unauthenticated_plaintext"
    assert shown["has_credentials"] is False
    assert shown["fingerprint"] is None
    assert shown["sasl_mechanism"] is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"connection_type": "kafka_plain"}, "connection_type"),
        ({"broker_password": None}, "broker_password"),
        ({"broker_username": "", "broker_password": "x"}, "broker_username"),
        ({"ca_certificate": "not a certificate"}, "ca_certificate"),
        ({"ca_certificate": "ä"}, "ca_certificate"),
        ({"broker_url": "kafka.example.com"}, "broker_url"),
        ({"sasl_mechanism": "GSSAPI"}, "sasl_mechanism"),
        ({"connection_type": "kafka_unauthenticated_plaintext"}, "broker_username"),
        ({"name": ""}, "name"),
    ],
)
async def test_a_bad_field_is_named_and_no_secret_is_repeated(
    stage: Stage, change: dict[str, Any], field: str
) -> None:
    body = {**secured(stage.name("broker")), **change}
    answer = await stage.client.call("POST", PATH, body, key=stage.admin_key)
    assert answer.status == 400, answer.content
    assert field in answer.error["message"]
    assert PASSWORD not in answer.content.decode()


async def test_a_taken_name_is_refused_until_its_connection_is_deleted(stage: Stage) -> None:
    body = secured(stage.name("broker"))
    made = await stage.admin("POST", PATH, body, status=201)
    assert (await stage.client.call("POST", PATH, body, key=stage.admin_key)).status == 409
    answer = await stage.client.call("DELETE", f"{PATH}/{made['id']}", key=stage.admin_key)
    assert (answer.status, answer.content) == (204, b"")
    await stage.admin("GET", f"{PATH}/{made['id']}", status=404)
    await stage.admin("POST", PATH, body, status=201)


async def test_a_test_tells_what_the_broker_said(stage: Stage) -> None:
    connection = await stage.connection()
    stage.router.topics = {"images": 6}
    tested = await stage.admin("POST", f"{PATH}/{connection}/test", {})
    assert tested == {
        "connected": True, "problem": "", "brokers": 3, "topics": 1, "duration_s": 0.25,
    }  # fmt: skip
    stage.router.broker_problem = "authentication failed: check the password"
    tested = await stage.admin("POST", f"{PATH}/{connection}/test")
    assert tested["connected"] is False
    assert tested["problem"] == "authentication failed: check the password"


async def test_topics_come_live_with_the_algorithms_that_have_access(
    stage: Stage, owner: Owner
) -> None:
    connection = await stage.connection()
    name = f"{owner.name}/{await stage.algorithm(owner)}"
    stage.router.topics = {"labels": 3, "images": 6}
    await stage.grant(connection, "images", (name, "subscriber"))
    await stage.grant(connection, "vanished", (name, "publisher"))
    answer = await stage.admin("GET", f"{PATH}/{connection}/topics")
    assert answer == {
        "topics": [
            {
                "name": "images",
                "partitions": 6,
                "algorithms": [{"algorithm": name, "api_type": "subscriber"}],
            },
            {"name": "labels", "partitions": 3, "algorithms": []},
            {
                "name": "vanished",
                "partitions": None,
                "algorithms": [{"algorithm": name, "api_type": "publisher"}],
            },
        ]
    }


async def test_a_broker_that_cannot_be_reached_and_a_router_that_is_away_differ(
    stage: Stage,
) -> None:
    connection = await stage.connection()
    stage.router.broker_problem = (
        "kafka.example.com:9092: nothing listens there, check host and port"
    )
    answer = await stage.client.call("GET", f"{PATH}/{connection}/topics", key=stage.admin_key)
    assert (answer.status, answer.error["message"]) == (409, stage.router.broker_problem)
    stage.router.reachable = False
    answer = await stage.client.call("GET", f"{PATH}/{connection}/topics", key=stage.admin_key)
    assert answer.status == 503
    assert "router" in answer.error["message"]


async def test_topic_access_replaces_everything_at_once(stage: Stage, owner: Owner) -> None:
    connection = await stage.connection()
    path = f"{PATH}/{connection}/topics/images"
    one, two = [f"{owner.name}/{await stage.algorithm(owner)}" for _ in range(2)]
    empty = await stage.client.call("GET", path, key=stage.admin_key)
    assert empty.json == {"topic": "images", "algorithms": []}
    assert empty.headers["etag"] == '"0"'
    rows = [
        {"algorithm": one, "api_type": "subscriber"},
        {"algorithm": two, "api_type": "publisher"},
        {"algorithm": two, "api_type": "dead_letter"},
    ]
    saved = await stage.admin("PUT", path, {"algorithms": rows})
    assert saved == {"topic": "images", "algorithms": rows}
    assert await stage.admin("GET", path) == saved
    await stage.admin("PUT", path, {"algorithms": rows[:1]})
    assert (await stage.admin("GET", path))["algorithms"] == rows[:1]


async def test_a_stale_writer_of_topic_access_is_refused(stage: Stage, owner: Owner) -> None:
    connection = await stage.connection()
    path = f"{PATH}/{connection}/topics/images"
    name = f"{owner.name}/{await stage.algorithm(owner)}"
    read = await stage.client.call("GET", path, key=stage.admin_key)
    body = {"algorithms": [{"algorithm": name, "api_type": "subscriber"}]}
    if_match = {"If-Match": read.headers["etag"]}
    first = await stage.client.call("PUT", path, body, key=stage.admin_key, headers=if_match)
    second = await stage.client.call(
        "PUT", path, {"algorithms": []}, key=stage.admin_key, headers=if_match
    )
    assert (first.status, second.status) == (200, 412)
    assert second.error["code"] == 9012
    assert (await stage.admin("GET", path))["algorithms"] == body["algorithms"]
    again = {"If-Match": first.headers["etag"]}
    third = await stage.client.call(
        "PUT", path, {"algorithms": []}, key=stage.admin_key, headers=again
    )
    assert third.status == 200


@pytest.mark.parametrize(
    ("row", "status", "word"),
    [
        ({"algorithm": "{owner}/{unpublished}", "api_type": "subscriber"}, 409, "publish"),
        ({"algorithm": "{owner}/Nothing", "api_type": "subscriber"}, 400, "Nothing"),
        ({"algorithm": "Nothing", "api_type": "subscriber"}, 400, "owner/name"),
        ({"algorithm": "{owner}/{published}", "api_type": "reader"}, 400, "api_type"),
    ],
)
async def test_only_published_algorithms_get_access(
    stage: Stage, owner: Owner, row: dict[str, str], status: int, word: str
) -> None:
    names = {
        "owner": owner.name,
        "published": await stage.algorithm(owner),
        "unpublished": stage.name("algo"),
    }
    source = {"endpoint_url": "http://model.example.com"}
    body = {"name": names["unpublished"], "source": source}
    await stage.by(owner, "POST", f"/v1/algorithms/{owner.name}", body, status=201)
    path = f"{PATH}/{await stage.connection()}/topics/images"
    given = {"algorithms": [{k: v.format(**names) for k, v in row.items()}]}
    answer = await stage.client.call("PUT", path, given, key=stage.admin_key)
    assert answer.status == status, answer.content
    assert word in answer.error["message"]


async def test_a_topic_that_kafka_would_refuse_is_refused(stage: Stage) -> None:
    path = f"{PATH}/{await stage.connection()}/topics/im%20ages"
    answer = await stage.client.call("PUT", path, {"algorithms": []}, key=stage.admin_key)
    assert answer.status == 400
    assert "topic" in answer.error["message"]
