"""Broker connections, their topics and who may use them; credentials never come back."""

import json
from typing import Any

import pytest
from servicekit.logs import redact

from tests.support.certificates import certified
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


def by_certificate(name: str) -> dict[str, Any]:
    pair = certified("flows")
    return {
        "name": name, "broker_url": "kafka.example.com:9093", "connection_type": "kafka_ssl",
        "client_certificate": pair.certificate, "client_key": pair.key, "group_prefix": "acme.",
    }  # fmt: skip


async def test_a_client_key_goes_in_and_never_comes_out(stage: Stage) -> None:
    body = by_certificate(stage.name("broker"))
    made = await stage.admin("POST", PATH, body, status=201)
    assert (made["connection_type"], made["has_credentials"]) == ("kafka_ssl", True)
    assert made["client_certificate"].strip() == body["client_certificate"].strip()
    assert made["client_certificate_subject"] == "CN=flows"
    assert made["client_certificate_expires_at"] == "2026-01-02T00:00:00.000Z"
    assert made["group_prefix"] == "acme."
    shown = await stage.admin("GET", f"{PATH}/{made['id']}")
    assert shown == made
    events = await stage.admin("GET", f"/v1/admin/log?id={made['id']}")
    told = json.dumps([made, shown, events])
    key_lines = body["client_key"].splitlines()[1:3]  # what follows is the public half
    assert not any(line in told for line in key_lines)
    assert body["client_key"] not in redact(f"a log line with {body['client_key']}")
    assert key_lines[0] not in redact(f"a log line with {key_lines[0]}")


async def test_a_client_key_is_kept_until_its_certificate_is_another(stage: Stage) -> None:
    body = by_certificate(stage.name("broker"))
    made = await stage.admin("POST", PATH, body, status=201)
    path, without_key = f"{PATH}/{made['id']}", {**body, "client_key": None}
    kept = await stage.admin("PUT", path, {**without_key, "group_prefix": "other."})
    assert (kept["fingerprint"], kept["group_prefix"]) == (made["fingerprint"], "other.")
    other = certified("others")
    changed = {**without_key, "client_certificate": other.certificate}
    answer = await stage.client.call("PUT", path, changed, key=stage.admin_key)
    assert answer.status == 400
    assert answer.error["message"].startswith("client_key is needed for a new client_certificate")
    replaced = await stage.admin("PUT", path, {**changed, "client_key": other.key})
    assert replaced["client_certificate_subject"] == "CN=others"
    assert replaced["fingerprint"] != made["fingerprint"]


async def test_passwords_and_certificates_go_with_their_types(stage: Stage) -> None:
    made = certified("flows")
    pair = {"client_certificate": made.certificate, "client_key": made.key}
    sasl = secured(stage.name("broker"))
    for change, mechanism in (
        (pair, "SCRAM-SHA-512"),
        ({"connection_type": "kafka_sasl_plaintext", "sasl_mechanism": "PLAIN"}, "PLAIN"),
        ({"connection_type": "kafka_sasl_plaintext", "sasl_mechanism": None}, "SCRAM-SHA-256"),
    ):
        body = {**sasl, "name": stage.name("broker"), **change}
        made = await stage.admin("POST", PATH, body, status=201)
        assert (made["sasl_mechanism"], made["has_credentials"]) == (mechanism, True)
    tls = {
        "name": stage.name("broker"), "broker_url": "kafka:1", "connection_type": "kafka_ssl"
    }  # fmt: skip
    assert (await stage.admin("POST", PATH, tls, status=201))["has_credentials"] is False


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"client_key": None}, "client_key is needed: client_certificate and client_key belong"),
        ({"client_certificate": None}, "client_certificate is needed: client_certificate and"),
        ({"client_key": certified("others").key}, "client_key is not the key of client_cert"),
        ({"client_key": "x" * 20_000}, "client_key must have at most"),
        ({"broker_username": "u"}, "broker_username would not be used by connection_type kafka_ss"),
        ({"sasl_mechanism": "PLAIN"}, "sasl_mechanism would not be used by connection_type kafka"),
        ({"connection_type": "kafka_unauthenticated_plaintext"}, "client_certificate would not be"),
        ({"group_prefix": "a b"}, "group_prefix "),
    ],
)
async def test_what_does_not_go_with_a_client_certificate_is_named(
    stage: Stage, change: dict[str, Any], sentence: str
) -> None:
    body = {**by_certificate(stage.name("broker")), **change}
    answer = await stage.client.call("POST", PATH, body, key=stage.admin_key)
    assert answer.status == 400, answer.content
    assert answer.error["message"].startswith(sentence)
    for line in (body["client_key"] or "").splitlines()[1:3]:
        assert line not in answer.content.decode()


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
