"""Event flows: enabled by the owner, explained always, listed for admins across the cluster."""

from typing import Any

from eventflows.router.v1 import router_pb2

from tests.unit.gateway.stage import PUBLIC_URL, Owner, Stage


async def granted(stage: Stage, owner: Owner, *kinds: str) -> tuple[str, str]:
    """An algorithm with grants on `images`, one a kind: (connection id, path of its flows)."""
    connection, name = await stage.connection(), await stage.algorithm(owner)
    await stage.grant(connection, "images", *((f"{owner.name}/{name}", kind) for kind in kinds))
    return connection, f"/v1/algorithms/{owner.name}/{name}/event-flows"


async def test_a_granted_flow_is_disabled_until_its_owner_enables_it(
    stage: Stage, owner: Owner
) -> None:
    connection, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    assert (flow["state"], flow["enabled"], flow["live"]) == ("disabled", False, None)
    assert "enable it" in flow["reason"]
    assert (flow["topic"], flow["api_type"], flow["broker"]) == ("images", "subscriber", "kafka")
    assert flow["connection_id"] == connection
    body = {"enabled": True, "algorithm_version": "0.1.0", "dead_letter_topic": None}
    put = await stage.by(owner, "PUT", f"{path}/{flow['id']}", body)
    assert (put["state"], put["reason"], put["algorithm_version"]) == ("enabled", "", "0.1.0")
    assert await stage.by(owner, "GET", f"{path}/{flow['id']}") == put
    assert await stage.by(owner, "GET", path) == [put]


async def test_the_state_is_the_routers_word_when_it_says_one(stage: Stage, owner: Owner) -> None:
    _, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    await stage.by(owner, "PUT", f"{path}/{flow['id']}", {"enabled": True})
    status = router_pb2.FlowStatus(
        flow_id=flow["id"],
        state=router_pb2.FLOW_STATE_BACKING_OFF,
        reason="the runner is overloaded",
        worker="router-0",
        lag_records=-1,
        in_flight=2,
        settled_total=40,
        partitions=3,
        lag_s=-1,
        oldest_unsettled_s=2.5,
        settled_per_s=12.5,
        error_ratio=0.25,
        repeats_total=4,
        expired_total=7,
        halted_keys=1,
        bytes_held=5000,
        healthy=True,
        instances=2,
    )
    status.since.FromJsonString("2026-11-23T10:00:00.123Z")
    stage.router.statuses[flow["id"]] = status
    shown = await stage.by(owner, "GET", f"{path}/{flow['id']}")
    assert (shown["state"], shown["reason"]) == ("backing_off", "the runner is overloaded")
    assert shown["live"] == {
        "worker": "router-0",
        "since": "2026-11-23T10:00:00.123Z",
        "last_progress": None,
        "lag_records": None,
        "in_flight": 2,
        "settled_total": 40,
        "dead_lettered_total": 0,
        "retries_total": 0,
        "partitions": 3,
        "lag_s": None,
        "oldest_unsettled_s": 2.5,
        "settled_per_s": 12.5,
        "error_ratio": 0.25,
        "repeats_total": 4,
        "expired_total": 7,
        "halted_keys": 1,
        "bytes_held": 5000,
        "healthy": True,
        "instances": 2,
    }
    status.lag_records = 0
    assert (await stage.by(owner, "GET", path))[0]["live"]["lag_records"] == 0


async def test_without_a_router_the_catalog_still_answers(stage: Stage, owner: Owner) -> None:
    _, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    stage.router.reachable = False
    put = await stage.by(owner, "PUT", f"{path}/{flow['id']}", {"enabled": True})
    assert (put["state"], put["live"]) == ("enabled", None)


async def test_a_grant_that_is_taken_away_blocks_the_flow_and_says_so(
    stage: Stage, owner: Owner
) -> None:
    connection, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    await stage.by(owner, "PUT", f"{path}/{flow['id']}", {"enabled": True})
    stage.router.statuses[flow["id"]] = router_pb2.FlowStatus(
        flow_id=flow["id"], state=router_pb2.FLOW_STATE_RUNNING
    )
    await stage.grant(connection, "images")
    shown = await stage.by(owner, "GET", f"{path}/{flow['id']}")
    assert (shown["state"], shown["live"]) == ("blocked", None), "the router is behind"
    assert "images" in shown["reason"]
    await stage.admin("DELETE", f"/v1/admin/broker-connections/{connection}", status=204)
    shown = await stage.by(owner, "GET", f"{path}/{flow['id']}")
    assert "deleted" in shown["reason"]
    assert shown["connection"], "the name of a deleted connection is still shown"


async def test_a_disabled_flow_keeps_its_settings(stage: Stage, owner: Owner) -> None:
    _, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    where = f"{path}/{flow['id']}"
    settings: dict[str, Any] = {
        "algorithm_version": "0.1.0",
        "concurrency_max": 7,
        "timeout_s": 60,
        "allow_cycle": True,
    }
    enabled = await stage.by(owner, "PUT", where, {"enabled": True, **settings})
    disabled = await stage.by(owner, "PUT", where, {"enabled": False})
    assert {name: disabled[name] for name in settings} == settings
    assert (disabled["state"], enabled["state"]) == ("disabled", "enabled")
    same = await stage.by(owner, "PUT", where, {"enabled": False, **settings})
    assert same == disabled
    other = {"enabled": False, **settings, "timeout_s": 61}
    answer = await stage.client.call("PUT", where, other, key=owner.key)
    assert answer.status == 400
    assert "enabled" in answer.error["message"]


async def test_latest_means_the_newest_version(stage: Stage, owner: Owner) -> None:
    _, path = await granted(stage, owner, "publisher")
    (flow,) = await stage.by(owner, "GET", path)
    body = {"enabled": True, "algorithm_version": "latest"}
    put = await stage.by(owner, "PUT", f"{path}/{flow['id']}", body)
    assert put["algorithm_version"] is None


async def test_an_unknown_version_is_refused(stage: Stage, owner: Owner) -> None:
    _, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    body = {"enabled": True, "algorithm_version": "3.0.0"}
    answer = await stage.client.call("PUT", f"{path}/{flow['id']}", body, key=owner.key)
    assert (answer.status, answer.error["code"]) == (404, 1014)
    assert "algorithm_version" in answer.error["message"]


async def test_a_dead_letter_topic_must_be_granted_to_the_algorithm(
    stage: Stage, owner: Owner
) -> None:
    connection, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    where = f"{path}/{flow['id']}"
    body = {"enabled": True, "dead_letter_topic": "broken"}
    answer = await stage.client.call("PUT", where, body, key=owner.key)
    assert (answer.status, answer.error["code"]) == (403, 2001)
    assert "broken" in answer.error["message"]
    algorithm = f"{owner.name}/{path.split('/')[4]}"
    for kind in ("publisher", "dead_letter"):
        await stage.grant(connection, "broken", (algorithm, kind))
        put = await stage.by(owner, "PUT", where, body)
        assert (put["dead_letter_topic"], put["state"]) == ("broken", "enabled")


async def test_dead_letters_are_for_subscribers(stage: Stage, owner: Owner) -> None:
    _, path = await granted(stage, owner, "publisher")
    (flow,) = await stage.by(owner, "GET", path)
    body = {"enabled": True, "dead_letter_topic": "broken"}
    answer = await stage.client.call("PUT", f"{path}/{flow['id']}", body, key=owner.key)
    assert answer.status == 400
    assert "subscriber" in answer.error["message"]


async def test_a_stale_writer_of_a_flow_is_refused(stage: Stage, owner: Owner) -> None:
    _, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    where = f"{path}/{flow['id']}"
    read = await stage.client.call("GET", where, key=owner.key)
    assert read.headers["etag"] == '"0"'
    headers = {"If-Match": read.headers["etag"]}
    first = await stage.client.call("PUT", where, {"enabled": True}, key=owner.key, headers=headers)
    assert first.status == 200
    second = await stage.client.call(
        "PUT", where, {"enabled": False}, key=owner.key, headers=headers
    )
    assert (second.status, second.error["code"]) == (412, 9012)
    headers = {"If-Match": first.headers["etag"]}
    third = await stage.client.call(
        "PUT", where, {"enabled": False}, key=owner.key, headers=headers
    )
    assert third.status == 200


async def test_a_bad_if_match_is_refused(stage: Stage, owner: Owner) -> None:
    _, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    answer = await stage.client.call(
        "PUT", f"{path}/{flow['id']}", {"enabled": True}, key=owner.key, headers={"If-Match": "x"}
    )
    assert answer.status == 400
    assert "If-Match" in answer.error["message"]


async def test_a_flow_that_closes_a_cycle_is_blocked_until_it_may(
    stage: Stage, owner: Owner
) -> None:
    _, path = await granted(stage, owner, "subscriber", "publisher")
    first, second = await stage.by(owner, "GET", path)
    await stage.by(owner, "PUT", f"{path}/{first['id']}", {"enabled": True})
    put = await stage.by(owner, "PUT", f"{path}/{second['id']}", {"enabled": True})
    assert put["state"] == "blocked"
    assert "cycle" in put["reason"]
    body = {"enabled": True, "allow_cycle": True}
    put = await stage.by(owner, "PUT", f"{path}/{second['id']}", body)
    assert (put["state"], put["allow_cycle"]) == ("enabled", True)


async def test_flows_are_for_the_owner_of_the_algorithm_alone(stage: Stage, owner: Owner) -> None:
    stranger = await stage.owner()
    _, path = await granted(stage, owner, "subscriber")
    (flow,) = await stage.by(owner, "GET", path)
    for method, where, body in (
        ("GET", path, None),
        ("GET", f"{path}/{flow['id']}", None),
        ("PUT", f"{path}/{flow['id']}", {"enabled": True}),
    ):
        answer = await stage.client.call(method, where, body, key=stranger.key)
        assert (answer.status, answer.error["code"]) == (403, 2001)


async def test_an_admin_lists_the_flows_of_the_whole_cluster(stage: Stage, owner: Owner) -> None:
    _, path = await granted(stage, owner, "subscriber", "publisher")
    algorithm = f"{owner.name}/{path.split('/')[4]}"
    flows = await stage.by(owner, "GET", path)
    await stage.by(owner, "PUT", f"{path}/{flows[0]['id']}", {"enabled": True})
    link = f"/v1/admin/event-flows?limit=1&algorithm={algorithm}"
    seen: list[dict[str, Any]] = []
    while link:
        page = await stage.admin("GET", link)
        seen += page["results"]
        link = (page["next_link"] or "").removeprefix(PUBLIC_URL)
    assert {flow["id"] for flow in seen} == {flow["id"] for flow in flows}
    assert all((flow["owner"], flow["algorithm"]) == (owner.name, algorithm) for flow in seen)
    page = await stage.admin("GET", f"/v1/admin/event-flows?algorithm={algorithm}&state=enabled")
    assert [flow["id"] for flow in page["results"]] == [flows[0]["id"]]
    everything = await stage.all_pages("/v1/admin/event-flows?limit=500")
    assert {flow["id"] for flow in flows} <= {flow["id"] for flow in everything}
    answer = await stage.client.call(
        "GET", "/v1/admin/event-flows?state=sleeping", key=stage.admin_key
    )
    assert answer.status == 400
    assert "state" in answer.error["message"]
