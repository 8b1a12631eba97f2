"""The served specification equals the routes; health needs no key and knows what is stale."""

import math
import re
from dataclasses import replace

import pytest
from gateway.entrypoints.rest.app import OPERATIONS, rest_app
from starlette.routing import Route

from tests.unit.gateway.asgi_client import AsgiClient
from tests.unit.gateway.stage import PUBLIC_URL, Owner, Stage


async def test_the_specification_and_the_routes_are_the_same(stage: Stage) -> None:
    document = (await stage.client.call("GET", "/v1/openapispec")).json
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": PUBLIC_URL}]
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    routed = {
        (method, re.sub(r":\w+\}", "}", route.path))
        for route in rest_app(stage.gateway).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert described == routed
    assert len(described) == len(OPERATIONS) + 3


async def test_the_specification_is_whole(stage: Stage) -> None:
    document = (await stage.client.call("GET", "/v1/openapispec")).json
    text = str(document)
    components = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/([\w.]+)", text):
        assert name in components
    ids = [item["operationId"] for path in document["paths"].values() for item in path.values()]
    assert len(ids) == len(set(ids))
    for path, item in document["paths"].items():
        for operation in item.values():
            places = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
            assert places == re.findall(r"\{(\w+)\}", path)
    listener = components["EventListener"]
    assert list(listener["properties"]) == listener["required"]
    assert len(listener["properties"]) == 7
    assert components["UserCreate"]["additionalProperties"] is False


async def test_the_specification_tells_of_the_past_of_tags_and_of_repeats(stage: Stage) -> None:
    document = (await stage.client.call("GET", "/v1/openapispec")).json
    for operation in OPERATIONS:
        described = document["paths"][operation.path][operation.method.lower()]
        parameters = {one["name"]: one for one in described["parameters"]}
        headers = described["responses"][str(operation.status)]["headers"]
        assert ("as_of" in parameters) == operation.as_of
        assert ("X-Eventflows-As-Of-Position" in headers) == operation.as_of
        assert ("ETag" in headers) == operation.entity_tag
        changes = operation.method != "GET" and operation.name != "try_broker_connection"
        assert ("Idempotency-Key" in parameters) == changes
        assert ("If-Match" in parameters) == (changes and operation.name != "run")
    required = [
        one["name"]
        for one in document["paths"]["/v1/admin/log/diff"]["get"]["parameters"]
        if one["required"]
    ]
    assert required == ["from"]


async def test_head_is_answered_like_get(stage: Stage, owner: Owner) -> None:
    answer = await stage.client.call("HEAD", f"/v1/users/{owner.id}/event-listeners", key=owner.key)
    assert answer.status == 200


class StaleView:
    """A follower that has not heard the registry for a while."""

    def __init__(self, stage: Stage, *, age_s: float) -> None:
        self.catalog = stage.follower.catalog
        self.caught_up = stage.follower.caught_up
        self._age_s = age_s

    def staleness_s(self) -> float:
        return self._age_s

    async def wait_for(self, position: int, *, timeout_s: float) -> None:
        raise AssertionError("nothing is changed here")


def with_age(stage: Stage, age_s: float) -> AsgiClient:
    return AsgiClient(rest_app(replace(stage.gateway, view=StaleView(stage, age_s=age_s))))


@pytest.mark.parametrize(("age_s", "shown"), [(0.9, None), (2.0, None), (12.34, "12.3")])
async def test_an_old_catalog_says_its_age(
    stage: Stage, owner: Owner, age_s: float, shown: str | None
) -> None:
    client = with_age(stage, age_s)
    for path in (f"/v1/users/{owner.id}/event-listeners", "/v1/algorithms/a/B"):
        answer = await client.call("GET", path, key=owner.key)
        assert answer.status in (200, 404)
        assert answer.headers.get("x-eventflows-catalog-age-seconds") == shown


async def test_a_stale_catalog_decides_nothing_but_health_still_answers(
    stage: Stage, owner: Owner
) -> None:
    client = with_age(stage, 300.5)
    answer = await client.call("GET", f"/v1/users/{owner.id}/event-listeners", key=owner.key)
    assert (answer.status, answer.error["code"]) == (503, 9003)
    assert answer.headers["x-eventflows-catalog-age-seconds"] == "300.5"
    assert int(answer.headers["retry-after"]) >= 1
    assert (await client.call("POST", "/v1/algo/a/B", key=owner.key)).status == 503
    assert (await client.call("GET", "/healthz")).status == 200
    ready = await client.call("GET", "/readyz")
    assert (ready.status, int(ready.headers["retry-after"]) >= 1) == (503, True)
    assert (await client.call("GET", "/v1/openapispec")).status == 200
    fresh = with_age(stage, 299.0)
    assert (await fresh.call("GET", "/readyz")).status == 200


async def test_a_gateway_that_never_heard_the_registry_is_not_ready(stage: Stage) -> None:
    client = with_age(stage, math.inf)
    answer = await client.call("GET", "/readyz")
    assert answer.status == 503
    answer = await client.call("GET", "/v1/users", key=stage.admin_key)
    assert answer.status == 503
    assert "x-eventflows-catalog-age-seconds" not in answer.headers
