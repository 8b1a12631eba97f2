"""A catalog that lags: what happened has happened, so the answer is success."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from catalog.catalog import Catalog
from catalog.follow import CatalogFollower
from gateway.entrypoints.rest.app import rest_app
from kernel.errors import TimedOut

from tests.unit.gateway.asgi_client import AsgiClient
from tests.unit.gateway.stage import Owner, Stage
from tests.unit.gateway.test_event_listeners import service_bus, sqs


class FrozenView:
    """A follower that got stuck: its catalog stays what it was, while `follower` goes on."""

    def __init__(self, follower: CatalogFollower) -> None:
        self._follower = follower
        self.catalog = Catalog.of(follower.catalog.image())
        self.caught_up = asyncio.Event()
        self.caught_up.set()

    def staleness_s(self) -> float:
        return 0.0

    async def wait_for(self, position: int, *, timeout_s: float) -> None:
        await self._follower.wait_for(position, timeout_s=timeout_s)
        raise TimedOut(f"the catalog did not reach {position}")


@pytest.fixture
def frozen(stage: Stage, owner: Owner) -> AsgiClient:
    """A gateway that knows the owner and nothing that happens from here on."""
    view = FrozenView(stage.follower)
    return AsgiClient(rest_app(replace(stage.gateway, view=view)))


async def test_what_is_created_is_answered_as_it_will_be_shown(
    stage: Stage, owner: Owner, frozen: AsgiClient
) -> None:
    name = stage.name()
    body = {"username": name, "email": f"{name}@x.io", "fullname": "F"}
    made = await frozen.call("POST", "/v1/users", body, key=stage.admin_key)
    assert made.json == await stage.admin("GET", f"/v1/users/{name}")
    new = {"name": "Hello", "source": {"endpoint_url": "http://model.example.com"}}
    path = f"/v1/algorithms/{owner.name}"
    made = await frozen.call("POST", path, new, key=owner.key)
    assert made.status == 201
    assert made.json == await stage.by(owner, "GET", f"{path}/Hello")


async def test_a_new_key_is_shown_though_the_catalog_lags(
    stage: Stage, owner: Owner, frozen: AsgiClient
) -> None:
    path = f"/v1/users/{owner.name}/keys"
    made = await frozen.call("POST", path, {"key_type": "AlgorithmKey"}, key=stage.admin_key)
    assert made.status == 200
    assert made.json["created_at"] is None
    answer = await stage.client.call(
        "GET", f"/v1/users/{owner.id}/event-listeners", key=made.json["api_key"]
    )
    assert answer.status == 200


async def test_a_new_connection_has_no_fingerprint_yet(stage: Stage, frozen: AsgiClient) -> None:
    body = {
        "name": stage.name("broker"),
        "broker_url": "kafka.example.com:9093",
        "connection_type": "kafka_sasl_ssl",
        "broker_username": "u",
        "broker_password": "correct-horse-battery",
    }
    path = "/v1/admin/broker-connections"
    made = await frozen.call("POST", path, body, key=stage.admin_key)
    shown = await stage.admin("GET", f"{path}/{made.json['id']}")
    assert made.json == {**shown, "fingerprint": None, "created_at": None}
    assert shown["sasl_mechanism"] == "SCRAM-SHA-256"


async def test_a_build_is_answered_and_a_version_later(stage: Stage, owner: Owner) -> None:
    name = await stage.bare_algorithm(owner)
    view = FrozenView(stage.follower)
    frozen = AsgiClient(rest_app(replace(stage.gateway, view=view)))
    path = f"/v1/algorithms/{owner.name}/{name}"
    built = await frozen.call("POST", f"{path}/compile", {}, key=owner.key)
    assert built.json["build"]["status"] == "succeeded"
    published = await frozen.call("POST", f"{path}/versions", {}, key=owner.key)
    assert published.status == 200
    assert "version_info" not in published.json
    shown = await stage.by(owner, "GET", path)
    assert shown["version_info"]["semantic_version"] == "0.1.0"


async def test_listeners_and_flows_are_answered_as_asked(stage: Stage, owner: Owner) -> None:
    name = await stage.algorithm(owner)
    await stage.grant(await stage.connection(), "images", (f"{owner.name}/{name}", "subscriber"))
    frozen = AsgiClient(rest_app(replace(stage.gateway, view=FrozenView(stage.follower))))
    path = f"/v1/users/{owner.id}/event-listeners"
    made = await frozen.call("POST", path, sqs(owner, name), key=owner.key)
    assert made.json == await stage.by(owner, "GET", f"{path}/{made.json['id']}")
    made = await frozen.call("POST", path, service_bus(owner, name), key=owner.key)
    assert made.json["credentials"] == "sha256:"
    flows = f"/v1/algorithms/{owner.name}/{name}/event-flows"
    flow = (await frozen.call("GET", flows, key=owner.key)).json[0]
    body = {"enabled": True, "algorithm_version": "0.1.0", "timeout_s": 9}
    put = await frozen.call("PUT", f"{flows}/{flow['id']}", body, key=owner.key)
    shown = await stage.client.call("GET", f"{flows}/{flow['id']}", key=owner.key)
    assert put.headers["etag"] == shown.headers["etag"]
    assert (put.json["enabled"], put.json["timeout_s"]) == (True, 9)
