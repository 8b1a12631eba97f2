"""The log over REST: who changed what, with which key and by which request; compare, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eventflows.registry.v1 import registry_pb2
from gateway.entrypoints.rest.app import rest_app
from gateway.ports import Log
from kernel.errors import StateForbids

from tests.unit.gateway.asgi_client import AsgiClient
from tests.unit.gateway.stage import ADMIN, PUBLIC_URL, Owner, Stage
from tests.unit.gateway.world import world

LOG = "/v1/admin/log"
SECRET = "correct-horse-battery-staple"


async def newest(stage: Stage, query: str = "") -> dict[str, Any]:
    page = await stage.admin("GET", f"{LOG}?limit=1{query}")
    event: dict[str, Any] = page["results"][0]
    return event


async def test_a_change_is_in_the_log_with_actor_key_and_request(stage: Stage) -> None:
    (key,) = await stage.admin("GET", f"/v1/users/{ADMIN}/keys")
    name = stage.name()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await stage.client.call(
        "POST", "/v1/users", {"username": name, "email": f"{name}@x.io"}, key=stage.admin_key,
        headers={"traceparent": trace},
    )  # fmt: skip
    event = await newest(stage)
    assert event["origin"] == {
        "actor": stage.admin_id,
        "actor_name": ADMIN,
        "key_id": key["id"],
        "key_label": key["key_label"],
        "command_id": event["origin"]["command_id"],
        "request_id": answer.headers["x-eventflows-request-id"],
        "traceparent": event["origin"]["traceparent"],
    }
    assert event["origin"]["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert (event["kind"], event["event"], event["version"]) == ("account", "account.created.v1", 1)
    assert event["id"] == answer.json["id"]
    assert event["data"]["username"] == name
    assert event["position"] == stage.follower.catalog.position


async def test_two_keys_of_one_account_are_told_apart(stage: Stage, owner: Owner) -> None:
    made = await stage.admin("POST", f"/v1/users/{owner.name}/keys", {"key_type": "AlgorithmKey"})
    keys = []
    for key in (owner.key, made["api_key"]):
        body = {"name": stage.name("Algo"), "source": {"git_url": "https://git.example.com/r"}}
        answer = await stage.client.call("POST", f"/v1/algorithms/{owner.name}", body, key=key)
        assert answer.status == 201
        keys.append((await newest(stage))["origin"]["key_id"])
    assert keys[1] == made["id"] != keys[0]


async def test_events_come_in_pages_newest_first_without_gap(stage: Stage) -> None:
    head = stage.follower.catalog.position
    seen: list[int] = []
    link = f"{LOG}?limit=7"
    while link:
        page = await stage.admin("GET", link)
        seen += [event["position"] for event in page["results"]]
        assert len(page["results"]) <= 7
        link = (page["next_link"] or "").removeprefix(PUBLIC_URL)
    assert seen == list(range(head, 0, -1))


@pytest.mark.parametrize("filtered", ["kind", "id", "actor", "actor name", "all"])
async def test_filters_find_everything_and_nothing_else(stage: Stage, filtered: str) -> None:
    there = await world(stage)
    algorithm, actor = there.places["algorithm_id"], there.owner.id
    query, place, wanted = {
        "kind": ("kind=algorithm", ("kind",), "algorithm"),
        "id": (f"id={algorithm.upper()}", ("id",), algorithm),
        "actor": (f"actor={actor}", ("origin", "actor"), actor),
        "actor name": (f"actor={there.owner.name}", ("origin", "actor"), actor),
        "all": (f"kind=algorithm&id={algorithm}&actor={actor}", ("id",), algorithm),
    }[filtered]
    everything = await stage.all_pages(f"{LOG}?limit=500")
    found = await stage.all_pages(f"{LOG}?limit=2&{query}")
    assert found == [one for one in everything if at(one, place) == wanted]
    assert found


def at(event: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        event = event[name]
    return event


class CutLog:
    """Port `Log` whose events up to `archived` are in files; it covers 3 positions at a time."""

    def __init__(self, log: Log, *, archived: int) -> None:
        self._log = log
        self._archived = archived

    async def head(self) -> registry_pb2.Head:
        return await self._log.head()

    async def diff(self, request: registry_pb2.DiffRequest) -> registry_pb2.DiffResponse:
        return await self._log.diff(request)

    async def read(self, request: registry_pb2.ReadLogRequest) -> registry_pb2.ReadLogResponse:
        to = request.to_position or (await self.head()).position
        if to <= self._archived:
            raise StateForbids(f"the events up to {self._archived} were archived: begin after them")
        asked = registry_pb2.ReadLogRequest()
        asked.CopyFrom(request)
        asked.after_position = max(request.after_position, self._archived, to - 3)
        return await self._log.read(asked)


@pytest.mark.parametrize("query", ["", "&kind=account", f"&actor={ADMIN}"])
async def test_the_list_ends_where_the_archive_begins(stage: Stage, query: str) -> None:
    await world(stage)
    head = stage.follower.catalog.position
    archived = head - 11
    log = CutLog(stage.gateway.log, archived=archived)
    client = AsgiClient(rest_app(replace(stage.gateway, log=log)))
    seen: list[int] = []
    link = f"{LOG}?limit=2{query}"
    while link:
        answer = await client.call("GET", link, key=stage.admin_key)
        assert answer.status == 200, answer.content
        seen += [event["position"] for event in answer.json["results"]]
        link = (answer.json["next_link"] or "").removeprefix(PUBLIC_URL)
    everything = await stage.all_pages(f"{LOG}?limit=500{query}")
    assert seen == [one["position"] for one in everything if one["position"] > archived]
    answer = await client.call("GET", f"{LOG}/{archived}", key=stage.admin_key)
    assert answer.status == 409
    assert "were archived" in answer.error["message"]


async def test_one_event_is_what_the_list_shows(stage: Stage) -> None:
    event = await newest(stage)
    answer = await stage.client.call("GET", f"{LOG}/{event['position']}", key=stage.admin_key)
    assert answer.json == event
    assert answer.headers["etag"] == f'"{event["version"]}"'
    for position in ("0", str(event["position"] + 1), "9" * 30):
        answer = await stage.client.call("GET", f"{LOG}/{position}", key=stage.admin_key)
        assert answer.status == 404, position


async def test_the_head_is_that_of_the_registry(stage: Stage) -> None:
    answer = await stage.client.call("GET", f"{LOG}/head", key=stage.admin_key)
    head = await stage.gateway.log.head()
    assert answer.json["position"] == head.position == stage.follower.catalog.position
    assert bytes.fromhex(answer.json["hash"]) == head.hash
    assert len(head.hash) == 32


async def test_the_log_shows_no_secret_and_no_hash_of_a_key(stage: Stage, owner: Owner) -> None:
    body = {
        "name": stage.name("broker"), "broker_url": "kafka.example.com:9093",
        "connection_type": "kafka_sasl_ssl", "broker_username": "u", "broker_password": SECRET,
    }  # fmt: skip
    made = await stage.admin("POST", "/v1/admin/broker-connections", body, status=201)
    event = await newest(stage)
    assert event["data"]["credentials"]["fingerprint"] == made["fingerprint"]
    everything = str(await stage.all_pages(f"{LOG}?limit=500"))
    assert SECRET not in everything
    assert owner.key not in everything
    assert "sha256" not in everything


async def test_a_name_that_nobody_has_any_more_is_null(stage: Stage, owner: Owner) -> None:
    keys = f"/v1/users/{owner.name}/keys"
    await stage.bare_algorithm(owner)
    (key,) = await stage.admin("GET", keys)
    await stage.admin("DELETE", f"{keys}/{key['id']}", status=204)
    event = await newest(stage, f"&actor={owner.id}")
    assert (event["origin"]["actor_name"], event["origin"]["key_id"]) == (owner.name, key["id"])
    assert event["origin"]["key_label"] is None
    first = await stage.admin("GET", f"{LOG}/1")
    assert (first["origin"]["actor"], first["origin"]["actor_name"]) == ("service:gateway", None)
    assert first["origin"]["key_id"] is None


@pytest.mark.parametrize(
    "query",
    ["kind=flows", "id=nobody", "actor=nobody_at_all", "marker=W10", "marker=WzBd", "marker=1.WzFd",
     "marker=WyJhIl0"],
)  # fmt: skip
async def test_a_filter_that_cannot_be_right_is_refused(stage: Stage, query: str) -> None:
    answer = await stage.client.call("GET", f"{LOG}?{query}", key=stage.admin_key)
    assert answer.status == 400, answer.content


async def test_a_diff_says_what_changed_and_who_did_it(stage: Stage) -> None:
    there = await world(stage)
    flow = there.places["flow"]
    path = f"/v1/algorithms/{there.owner.name}/{there.places['name']}/event-flows/{flow}"
    answer = await stage.client.call(
        "PUT", path, {"enabled": True, "timeout_s": 9}, key=there.owner.key
    )
    enabled = stage.follower.catalog.position
    await stage.by(there.owner, "PUT", path, {"enabled": True, "timeout_s": 11})
    body = await stage.admin("GET", f"{LOG}/diff?from={there.position}&to={enabled}&id={flow}")
    assert (body["from"]["position"], body["to"]["position"]) == (there.position, enabled)
    assert {change["id"] for change in body["changes"]} == {flow}
    assert all(change["kind"] == "flow" for change in body["changes"])
    (timeout,) = [one for one in body["changes"] if "timeout" in (one["field"] or "")]
    assert "9" in timeout["to"]
    assert timeout["origin"]["actor_name"] == there.owner.name
    assert timeout["origin"]["request_id"] == answer.headers["x-eventflows-request-id"]
    now = await stage.admin("GET", f"{LOG}/diff?from={there.position}&kind=flow&id={flow}")
    assert now["to"]["position"] == stage.follower.catalog.position
    assert "11" in str(now["changes"])
    same = await stage.admin("GET", f"{LOG}/diff?from={enabled}&to={enabled}")
    assert same["changes"] == []


@pytest.mark.parametrize(
    "query",
    ["", "from=", "from=yesterday", "from=1&to=never", "from=999999999", "from=1&kind=x",
     "from=1&id=x", "to=1"],
)  # fmt: skip
async def test_a_diff_of_moments_that_are_none_is_refused(stage: Stage, query: str) -> None:
    answer = await stage.client.call("GET", f"{LOG}/diff?{query}", key=stage.admin_key)
    assert answer.status == 400, answer.content


async def test_a_flow_goes_back_to_what_it_was(stage: Stage) -> None:
    there = await world(stage)
    path = f"/v1/algorithms/{there.owner.name}/{there.places['name']}/event-flows"
    path = f"{path}/{there.places['flow']}"
    await stage.by(there.owner, "PUT", path, {"enabled": True, "timeout_s": 9})
    before = await stage.client.call("GET", path, key=there.owner.key)
    await stage.by(there.owner, "PUT", path, {"enabled": True, "timeout_s": 11})
    version = int(before.headers["etag"].strip('"'))
    body = {"kind": "flow", "id": there.places["flow"], "to_version": version}
    answer = await stage.client.call("POST", f"{LOG}/revert", body, key=stage.admin_key)
    assert answer.status == 200, answer.content
    assert answer.json["changed"] is True
    assert answer.json["position"] == stage.follower.catalog.position
    after = await stage.client.call("GET", path, key=there.owner.key)
    assert after.json == before.json
    assert after.headers["etag"] == answer.headers["etag"] == f'"{answer.json["version"]}"'
    assert answer.json["version"] > version + 1
    again = await stage.admin("POST", f"{LOG}/revert", body)
    assert again == {**answer.json, "changed": False, "position": again["position"]}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"to_version": 0}, 400),
        ({"to_version": 999}, 400),
        ({"id": "x"}, 400),
        ({"kind": "event"}, 400),
        ({"kind": "connection"}, 404),
    ],
)
async def test_a_revert_to_what_never_was_is_refused(
    stage: Stage, change: dict[str, object], status: int
) -> None:
    there = await world(stage)
    path = f"/v1/algorithms/{there.owner.name}/{there.places['name']}/event-flows"
    await stage.by(there.owner, "PUT", f"{path}/{there.places['flow']}", {"enabled": True})
    before = stage.follower.catalog.position
    body = {"kind": "flow", "id": there.places["flow"], "to_version": 1, **change}
    answer = await stage.client.call("POST", f"{LOG}/revert", body, key=stage.admin_key)
    assert answer.status == status, answer.content
    assert (await stage.gateway.log.head()).position == before


async def test_a_connection_is_replaced_and_keeps_what_it_is_not_given(stage: Stage) -> None:
    path = "/v1/admin/broker-connections"
    body = {
        "name": stage.name("broker"), "broker_url": "kafka.example.com:9093",
        "connection_type": "kafka_sasl_ssl", "broker_username": "u", "broker_password": SECRET,
    }  # fmt: skip
    made = await stage.admin("POST", path, body, status=201)
    changed = {
        "name": made["name"] + "2", "broker_url": "other.example.com:9093",
        "connection_type": "kafka_sasl_ssl", "sasl_mechanism": "PLAIN",
    }  # fmt: skip
    answer = await stage.client.call("PUT", f"{path}/{made['id']}", changed, key=stage.admin_key)
    assert answer.json == {
        **made, "name": changed["name"], "broker_url": changed["broker_url"],
        "sasl_mechanism": "PLAIN",
    }  # fmt: skip
    shown = await stage.client.call("GET", f"{path}/{made['id']}", key=stage.admin_key)
    assert (shown.json, shown.headers["etag"]) == (answer.json, answer.headers["etag"])
    rotated = {**changed, "broker_username": "u", "broker_password": SECRET + "2"}
    answer = await stage.client.call("PUT", f"{path}/{made['id']}", rotated, key=stage.admin_key)
    assert answer.json["fingerprint"] != made["fingerprint"]
    for half in ({"broker_username": "u"}, {"broker_password": SECRET}):
        answer = await stage.client.call(
            "PUT", f"{path}/{made['id']}", {**changed, **half}, key=stage.admin_key
        )
        assert answer.status == 400, answer.content


async def test_shredded_credentials_are_gone_and_new_ones_may_come(stage: Stage) -> None:
    path = "/v1/admin/broker-connections"
    body = {
        "name": stage.name("broker"), "broker_url": "kafka.example.com:9093",
        "connection_type": "kafka_sasl_ssl", "broker_username": "u", "broker_password": SECRET,
    }  # fmt: skip
    made = await stage.admin("POST", path, body, status=201)
    one = f"{path}/{made['id']}"
    answer = await stage.client.call("DELETE", f"{one}/credentials", key=stage.admin_key)
    assert (answer.status, answer.content) == (204, b"")
    shown = await stage.client.call("GET", one, key=stage.admin_key)
    assert shown.headers["etag"] == answer.headers["etag"]
    assert (shown.json["has_credentials"], shown.json["fingerprint"]) == (False, None)
    answer = await stage.client.call("PUT", one, body, key=stage.admin_key)
    assert answer.status == 200, answer.content
    assert answer.json["has_credentials"] is True
