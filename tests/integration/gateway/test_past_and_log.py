"""The past and the log over REST, on processes with a real database."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from devstack.rest import Rest, RestRefused

from tests.integration.gateway.cluster import Cluster, Owner

WAIT_S = 30.0
PASSWORD = "correct-horse-battery-staple"
CONNECTIONS, LOG = "/v1/admin/broker-connections", "/v1/admin/log"


def secured(name: str, **changes: str) -> dict[str, str]:
    body = {
        "name": name, "broker_url": "kafka.example.com:9093",
        "connection_type": "kafka_sasl_ssl", "broker_username": "u", "broker_password": PASSWORD,
    }  # fmt: skip
    return body | changes


async def position(cluster: Cluster) -> int:
    head = await cluster.admin.get(f"{LOG}/head")
    return int(head["position"])


async def test_a_connection_is_shown_as_it_was_at_every_position(
    cluster: Cluster, owner: Owner
) -> None:
    name = f"past-{owner.name}"
    made = await cluster.admin.post(CONNECTIONS, secured(name))
    one = f"{CONNECTIONS}/{made['id']}"
    shown, positions = [made], [await position(cluster)]
    for url in ("a.example.com:1", "b.example.com:2"):
        body = secured(name, broker_url=url)
        del body["broker_username"], body["broker_password"]
        shown.append(await cluster.admin.put(one, body))
        positions.append(await position(cluster))
    await cluster.admin.call("DELETE", one)
    for expected, at in zip(shown, positions, strict=True):
        assert await cluster.admin.get(f"{one}?as_of={at}") == expected
    with pytest.raises(RestRefused) as refused:
        await cluster.admin.get(f"{one}?as_of={positions[0] - 1}")
    assert refused.value.status == 404
    assert "did not exist as of position" in refused.value.body["error"]["message"]


async def test_the_same_question_has_one_answer_after_a_restart_of_everything(
    cluster: Cluster, owner: Owner
) -> None:
    at = await position(cluster)
    before, moment = await with_moment(cluster, f"/v1/users?limit=500&as_of={at}")
    await cluster.owner()
    await cluster.registry.stop()
    cluster.rest.kill()
    await cluster.registry.start()
    await cluster.rest.start()
    assert await with_moment(cluster, f"/v1/users?limit=500&as_of={at}") == (before, moment)
    by_time, again = await with_moment(cluster, f"/v1/users?limit=500&as_of={moment[1]}")
    assert (by_time, again) == (before, moment)


async def with_moment(cluster: Cluster, path: str) -> tuple[Any, tuple[str, str]]:
    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    headers = {"Authorization": cluster.admin_key}
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
        session.get(cluster.rest_url + path) as answer,
    ):
        assert answer.status == 200, await answer.text()
        names = ("X-Eventflows-As-Of-Position", "X-Eventflows-As-Of-Time")
        at, time = (answer.headers[name] for name in names)
        return await answer.json(), (at, time)


async def test_many_who_ask_for_the_past_at_once_get_it_or_are_told_to_come_again(
    cluster: Cluster, owner: Owner
) -> None:
    head = await position(cluster)
    paths = [f"/v1/users?as_of={at}" for at in range(max(0, head - 20), head)] * 2
    answers = await asyncio.gather(*(cluster.admin.answer("GET", path) for path in paths))
    assert {status for status, _ in answers} <= {200, 429}
    assert sum(status == 200 for status, _ in answers) >= 2
    assert (await cluster.admin.answer("GET", f"/v1/users?as_of={head}"))[0] == 200


async def test_the_log_names_the_key_that_made_a_change(cluster: Cluster, owner: Owner) -> None:
    made = await cluster.admin.post(
        f"/v1/users/{owner.name}/keys", {"key_type": "AlgorithmKey", "key_label": "second"}
    )
    async with Rest(cluster.rest_url, made["api_key"]) as rest:
        body = {"name": "Logged", "source": {"git_url": "https://git.example.com/r"}}
        await rest.post(f"/v1/algorithms/{owner.name}", body)
    page = await cluster.admin.get(f"{LOG}?actor={owner.name}&kind=algorithm")
    (event,) = page["results"]
    assert event["event"] == "algorithm.created.v1"
    assert (event["origin"]["key_id"], event["origin"]["key_label"]) == (made["id"], "second")


async def test_a_diff_and_a_revert_undo_a_mistake(cluster: Cluster, owner: Owner) -> None:
    name = f"mistake-{owner.name}"
    made = await cluster.admin.post(CONNECTIONS, secured(name))
    one, good = f"{CONNECTIONS}/{made['id']}", await position(cluster)
    await cluster.admin.put(one, secured(name, broker_url="wrong.example.com:1"))
    diff = await cluster.admin.get(f"{LOG}/diff?from={good}&id={made['id']}")
    assert diff["from"]["position"] == good
    text = str(diff["changes"])
    assert "wrong.example.com:1" in text
    assert PASSWORD not in text
    assert {change["origin"]["actor_name"] for change in diff["changes"]} != {None}
    body = {"kind": "connection", "id": made["id"], "to_version": 1}
    answer = await cluster.admin.post(f"{LOG}/revert", body)
    assert (answer["changed"], answer["version"]) == (True, 3)
    assert (await cluster.admin.get(one))["broker_url"] == made["broker_url"]


async def test_shredded_credentials_do_not_come_back(cluster: Cluster, owner: Owner) -> None:
    made = await cluster.admin.post(CONNECTIONS, secured(f"shredded-{owner.name}"))
    one = f"{CONNECTIONS}/{made['id']}"
    await cluster.admin.call("DELETE", f"{one}/credentials")
    assert (await cluster.admin.get(one))["has_credentials"] is False
    body = {"kind": "connection", "id": made["id"], "to_version": 1}
    status, refused = await cluster.admin.answer("POST", f"{LOG}/revert", body)
    assert (status, refused["error"]["code"]) == (409, 9006), refused
    assert (await cluster.admin.get(one))["has_credentials"] is False
