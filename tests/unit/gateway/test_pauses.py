"""A flow is paused and resumed by its owner, or by an admin, and says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eventflows.router.v1 import router_pb2
from gateway.entrypoints.rest.app import rest_app

from tests.unit.gateway.asgi_client import AsgiClient
from tests.unit.gateway.stage import Owner, Stage
from tests.unit.gateway.test_event_flows import granted
from tests.unit.gateway.test_lagging_catalog import FrozenView

UPKEEP = {"drain": True, "reason": "upkeep of the cluster"}


async def enabled(stage: Stage, owner: Owner) -> str:
    """The path of an enabled flow of the owner."""
    _, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    await stage.by(owner, "PUT", f"{path}/{flow['id']}", {"enabled": True})
    return f"{path}/{flow['id']}"


async def test_an_owner_pauses_and_resumes_a_flow(stage: Stage, owner: Owner) -> None:
    flow = await enabled(stage, owner)
    paused = await stage.by(owner, "POST", f"{flow}/pause", UPKEEP)
    assert (paused["state"], paused["enabled"]) == ("paused", True)
    assert paused["reason"] == "upkeep of the cluster"
    since = paused["paused"].pop("since")
    assert since.endswith("Z")
    assert paused["paused"] == UPKEEP
    assert await stage.by(owner, "GET", flow) == {
        **paused, "paused": {**UPKEEP, "since": since},
    }  # fmt: skip
    resumed = await stage.by(owner, "POST", f"{flow}/resume", {})
    assert (resumed["state"], resumed["reason"], resumed["paused"]) == ("enabled", "", None)


async def test_an_admin_shows_pauses_and_resumes_any_flow(stage: Stage, owner: Owner) -> None:
    flow = await enabled(stage, owner)
    one = f"/v1/admin/event-flows/{flow.rpartition('/')[2]}"
    paused = await stage.admin("POST", f"{one}/pause")
    assert paused["state"] == "paused"
    assert await stage.admin("GET", one) == await stage.by(owner, "GET", flow) == paused
    page = await stage.admin(
        "GET", f"/v1/admin/event-flows?state=paused&algorithm={paused['algorithm']}"
    )
    assert [each["id"] for each in page["results"]] == [paused["id"]]
    assert (await stage.admin("POST", f"{one}/resume"))["paused"] is None
    (event, before) = (await stage.admin("GET", "/v1/admin/log?limit=2"))["results"]
    assert [before["event"], event["event"]] == ["flow.paused.v1", "flow.resumed.v1"]
    assert event["origin"]["actor"] == stage.admin_id


async def test_the_state_is_what_the_flow_does_and_paused_what_was_asked(
    stage: Stage, owner: Owner
) -> None:
    flow = await enabled(stage, owner)
    flow_id = flow.rpartition("/")[2]
    status = router_pb2.FlowStatus(flow_id=flow_id, state=router_pb2.FLOW_STATE_RUNNING)
    stage.router.statuses[flow_id] = status
    paused = await stage.by(owner, "POST", f"{flow}/pause", UPKEEP)
    assert (paused["state"], paused["paused"]["drain"]) == ("running", True)
    for state, word in (
        (router_pb2.FLOW_STATE_DRAINING, "draining"),
        (router_pb2.FLOW_STATE_PAUSED, "paused"),
        (router_pb2.FLOW_STATE_HALTED, "halted"),
    ):
        status.state, status.reason = state, f"it is {word}"
        shown = await stage.by(owner, "GET", flow)
        assert (shown["state"], shown["reason"]) == (word, f"it is {word}")


async def test_a_pause_outlives_a_disabled_flow(stage: Stage, owner: Owner) -> None:
    flow = await enabled(stage, owner)
    await stage.by(owner, "POST", f"{flow}/pause", UPKEEP)
    disabled = await stage.by(owner, "PUT", flow, {"enabled": False})
    assert (disabled["state"], disabled["paused"]["drain"]) == ("disabled", True)
    again = await stage.by(owner, "PUT", flow, {"enabled": True})
    assert (again["state"], again["paused"]["reason"]) == ("paused", UPKEEP["reason"])


async def test_a_flow_that_is_not_enabled_cannot_be_paused(stage: Stage, owner: Owner) -> None:
    _, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    answer = await stage.client.call("POST", f"{path}/{flow['id']}/pause", {}, key=owner.key)
    assert answer.status in (404, 409), answer.content
    assert "enable" in answer.error["message"]


async def test_nobody_else_pauses_a_flow(stage: Stage, owner: Owner) -> None:
    flow, stranger = await enabled(stage, owner), await stage.owner()
    for verb in ("pause", "resume"):
        answer = await stage.client.call("POST", f"{flow}/{verb}", {}, key=stranger.key)
        assert (answer.status, answer.error["code"]) == (403, 2001)
        admin = f"/v1/admin/event-flows/{flow.rpartition('/')[2]}/{verb}"
        assert (await stage.client.call("POST", admin, {}, key=owner.key)).status == 403


async def test_a_pause_is_answered_though_the_catalog_lags(stage: Stage, owner: Owner) -> None:
    flow = await enabled(stage, owner)
    frozen = AsgiClient(rest_app(replace(stage.gateway, view=FrozenView(stage.follower))))
    made = await frozen.call("POST", f"{flow}/pause", UPKEEP, key=owner.key)
    shown = await stage.client.call("GET", flow, key=owner.key)
    assert made.headers["etag"] == shown.headers["etag"]
    since = shown.json["paused"]["since"]
    assert made.json == {**shown.json, "paused": {**UPKEEP, "since": None}}
    assert since is not None


SETTINGS: dict[str, Any] = {
    "order": "partition",
    "parallelism": 4,
    "start": "latest",
    "read_committed": True,
    "retries": [
        {"failure": "timed_out", "attempts_max": 3, "factor": 1.5, "give_up": "halt_flow"},
        {"error_type": "NoDigit", "age_max_s": 60, "delay_first_ms": 100, "delay_longest_ms": 900},
    ],
}
RULE = {
    "failure": None, "error_type": None, "attempts_max": None, "age_max_s": None,
    "delay_first_ms": None, "delay_longest_ms": None, "factor": None, "give_up": "dead_letter",
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "order": "key", "parallelism": 1, "start": "earliest", "read_committed": False, "retries": [],
}  # fmt: skip


def delivery_of(flow: dict[str, Any]) -> dict[str, Any]:
    return {name: flow[name] for name in SETTINGS}


async def test_settings_of_delivery_are_kept_and_shown(stage: Stage, owner: Owner) -> None:
    flow = await enabled(stage, owner)
    assert delivery_of(await stage.by(owner, "GET", flow)) == DEFAULTS
    put = await stage.by(owner, "PUT", flow, {"enabled": True, **SETTINGS})
    rules = [{**RULE, **rule} for rule in SETTINGS["retries"]]
    assert delivery_of(put) == {**SETTINGS, "retries": rules}
    again = {"enabled": True, **delivery_of(put)}
    tag = (await stage.client.call("GET", flow, key=owner.key)).headers["etag"]
    same = await stage.client.call("PUT", flow, again, key=owner.key)
    assert same.headers["etag"] == tag, "what was shown, sent back, changes nothing"


async def test_what_a_put_leaves_out_has_its_default(stage: Stage, owner: Owner) -> None:
    flow = await enabled(stage, owner)
    await stage.by(owner, "PUT", flow, {"enabled": True, "timeout_s": 9, **SETTINGS})
    put = await stage.by(owner, "PUT", flow, {"enabled": True})
    assert (delivery_of(put), put["timeout_s"]) == (DEFAULTS, None)


async def test_words_for_defaults_are_the_default(stage: Stage, owner: Owner) -> None:
    flow = await enabled(stage, owner)
    tag = (await stage.client.call("GET", flow, key=owner.key)).headers["etag"]
    put = await stage.client.call("PUT", flow, {"enabled": True, **DEFAULTS}, key=owner.key)
    assert put.headers["etag"] == tag


async def test_disabling_keeps_the_settings_of_delivery(stage: Stage, owner: Owner) -> None:
    flow = await enabled(stage, owner)
    await stage.by(owner, "PUT", flow, {"enabled": True, **SETTINGS})
    disabled = await stage.by(owner, "PUT", flow, {"enabled": False})
    assert delivery_of(disabled)["parallelism"] == 4
    body = {"enabled": False, **SETTINGS, "order": "none"}
    answer = await stage.client.call("PUT", flow, body, key=owner.key)
    assert answer.status == 400
    assert "enabled" in answer.error["message"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"order": "random"}, "order must be one of key, partition, none"),
        ({"start": "middle"}, "start must be one of earliest, latest"),
        ({"parallelism": 65}, "parallelism must be"),
        ({"retries": [{}, {"failure": "bad_luck"}]}, "retries[1].failure must be one of"),
        ({"retries": [{"give_up": "never"}]}, "retries[0].give_up must be one of dead_letter"),
        ({"retries": [{"delay_first_ms": 1}]}, "retries.delay_first_ms must be"),
        ({"retries": [{"factor": 0.5}]}, "retries.factor must be"),
        ({"retries": [{"attempts": 3}]}, "the body has an unknown field attempts in retries[0]"),
    ],
)
async def test_a_wrong_setting_of_delivery_is_named_as_it_was_sent(
    stage: Stage, owner: Owner, settings: dict[str, Any], sentence: str
) -> None:
    flow = await enabled(stage, owner)
    answer = await stage.client.call("PUT", flow, {"enabled": True, **settings}, key=owner.key)
    assert answer.status == 400, answer.content
    assert answer.error["message"].startswith(sentence)
