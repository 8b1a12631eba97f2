"""Dead letters: owner and admins list, look into, redrive and purge them; nobody else does."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from catalog.events import DeadLetterSelection
from eventflows.events.v1 import events_pb2
from eventflows.router.v1 import router_pb2
from gateway.application.dead_letter_requests import RedriveWish, checked_redrive
from gateway.application.dead_letters import QUESTIONS_MAX
from gateway.entrypoints.rest.app import rest_app
from google.protobuf.json_format import ParseDict
from kernel.errors import InvalidInput, NotFound, StateForbids

from tests.support.event_log import EventLog
from tests.unit.gateway.asgi_client import AsgiClient
from tests.unit.gateway.memory_peers import MemoryRouter
from tests.unit.gateway.stage import PUBLIC_URL, Owner, Stage
from tests.unit.gateway.test_event_flows import granted
from tests.unit.gateway.test_lagging_catalog import FrozenView
from tests.unit.gateway.world import World, letter, world

ALL = "/v1/admin/dead-letters"


def of_flow(there: World) -> str:
    """The path of the dead letters of the world's flow, which has two."""
    path = "/v1/algorithms/{owner}/{name}/event-flows/{flow}/dead-letters"
    return path.format(**there.places)


async def test_an_owner_lists_the_dead_letters_of_a_flow(stage: Stage) -> None:
    there = await world(stage)
    stage.router.letters.append(letter("another-flow", offset=9))
    page = await stage.by(there.owner, "GET", of_flow(there))
    assert [one["id"] for one in page["results"]] == ["0-0", "0-1"]
    assert (page["marker"], page["next_link"], page["truncated"]) == (None, None, False)
    assert page["results"][0] == {
        "id": "0-0", "letter_topic": "dead-letters", "flow": there.places["flow"],
        "algorithm": "acme/Digits", "algorithm_version": "0.1.0", "topic": "images",
        "partition": 3, "offset": 40, "record_time": "2026-11-23T09:00:00.000Z", "key": "kéy",
        "key_base64": base64.b64encode("kéy".encode()).decode(), "value_bytes": 3,
        "reason": "algorithm_error", "error_type": "ValueError", "error": "no digit",
        "attempts": 2, "first_time": None, "given_up_time": "2026-11-23T10:00:00.250Z",
        "request_id": "r-1", "generation": 1, "state": "open", "state_time": None, "task": None,
        "resource_type": "dead_letter",
    }  # fmt: skip


async def test_a_dead_letter_is_shown_whole_and_no_cache_keeps_it(stage: Stage) -> None:
    there = await world(stage)
    stage.router.letters[1].value = b"\xff"
    stage.router.letters[1].truncated = True
    for path, key in ((of_flow(there), there.owner.key), (ALL, stage.admin_key)):
        listed = await stage.client.call("GET", path, key=key)
        shown = await stage.client.call("GET", f"{path}/0-0", key=key)
        assert listed.headers["cache-control"] == shown.headers["cache-control"] == "no-store"
        assert "etag" not in shown.headers
        summary = listed.json["results"][0]
        assert shown.json == {
            **summary, "value": '"7"', "value_base64": base64.b64encode(b'"7"').decode(),
            "headers": [{"name": "trace", "value": None, "value_base64": "/wA="}],
            "history": [
                {
                    "attempt": 1, "at": "2026-11-23T09:59:00.000Z", "outcome": "timed_out",
                    "error": "slow",
                }
            ],
            "truncated": False,
        }  # fmt: skip
        binary = await stage.client.call("GET", f"{path}/0-1", key=key)
        assert (binary.json["value"], binary.json["value_base64"]) == (None, "/w==")
        assert binary.json["truncated"] is True


async def test_a_tombstone_has_no_value(stage: Stage) -> None:
    there = await world(stage)
    stage.router.letters[0].has_value = False
    shown = await stage.by(there.owner, "GET", f"{of_flow(there)}/0-0")
    assert (shown["value"], shown["value_base64"]) == (None, None)


async def test_nobody_sees_the_dead_letters_of_others(stage: Stage) -> None:
    there, other = await world(stage), await world(stage)
    stage.router.letters = [letter(there.places["flow"], offset=5)]
    for path in ("", "/0-5", "/tasks", f"/tasks/{there.places['task']}"):
        answer = await stage.client.call("GET", f"{of_flow(there)}{path}", key=other.owner.key)
        assert (answer.status, answer.error["code"]) == (403, 2001)
    for verb in ("redrive", "purge", f"tasks/{there.places['task']}/cancel"):
        where = f"{of_flow(there)}/{verb}"
        assert (await stage.client.call("POST", where, {}, key=other.owner.key)).status == 403
    # Ids of others, asked for below a flow of one's own, are unknown.
    for path in ("/0-5", f"/tasks/{there.places['task']}"):
        answer = await stage.client.call("GET", f"{of_flow(other)}{path}", key=other.owner.key)
        assert answer.status == 404
    cancel = f"{of_flow(other)}/tasks/{there.places['task']}/cancel"
    assert (await stage.client.call("POST", cancel, {}, key=other.owner.key)).status == 404


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("since=2026-11-23T10:00:00Z", {"since": "2026-11-23T10:00:00Z"}),
        ("until=2026-11-23T11:00:00%2B01:00", {"until": "2026-11-23T10:00:00Z"}),
        ("failure=timed_out", {"failure": "FAILURE_CLASS_TIMED_OUT"}),
        ("error_type=Oops&topic=images", {"errorType": "Oops", "topic": "images"}),
        ("key=abc", {"recordKey": "YWJj"}),
        ("key_base64=/wA=", {"recordKey": "/wA="}),
        ("partition=3,1,3", {"partitions": [3, 1]}),
        ("offset_first=5", {"offsetFirst": "5", "offsetLast": str(2**63 - 1)}),
        ("offset_last=9", {"offsetLast": "9"}),
        ("offset_first=5&offset_last=9", {"offsetFirst": "5", "offsetLast": "9"}),
        ("", {}),
    ],
)
async def test_a_list_is_narrowed_down(stage: Stage, query: str, expected: dict[str, Any]) -> None:
    await stage.admin("GET", f"{ALL}?{query}")
    (asked,) = stage.router.selections
    wanted = events_pb2.DeadLetterSelection()
    assert asked == ParseDict(expected, wanted)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("since=yesterday", "since must be a time as RFC 3339 has it"),
        ("since=42", "since must be a time as RFC 3339 has it"),
        ("failure=bad_luck", "failure must be one of algorithm_error"),
        ("key=a&key_base64=YQ==", "key and key_base64 name the same thing"),
        ("key_base64=%25", "key_base64 must be base64"),
        ("partition=one", "partition must be a whole number"),
        ("partition=9999999999", "partitions must be numbers"),
        ("offset_first=9&offset_last=5", "offset_first must be a number from 0 on, and not above"),
        ("offset_last=0", "offset_last must be at least 1"),
        ("offset_first=9999999999999999999", "offset_first must be a whole number"),
        (f"offset_first={'0' * 5_000}", "offset_first must be a whole number"),
        ("topic=a%20b", "topic must be a Kafka topic"),
        ("state=lost", "state must be one of open, redriven, purged"),
        ("own_topic=yes", "own_topic must be true or false"),
        ("own_topic=true", "flow is needed with own_topic"),
        ("flow=mine", "flow must be the id of an event flow"),
        ("algorithm=mine", "algorithm must be owner/name"),
    ],
)
async def test_a_wrong_filter_is_named(stage: Stage, query: str, sentence: str) -> None:
    answer = await stage.client.call("GET", f"{ALL}?{query}", key=stage.admin_key)
    assert answer.status == 400, answer.content
    assert answer.error["message"].startswith(sentence)


async def pages(stage: Stage, link: str) -> list[str]:
    found: list[str] = []
    while link:
        page = await stage.admin("GET", link)
        found += [one["id"] for one in page["results"]]
        link = (page["next_link"] or "").removeprefix(PUBLIC_URL)
    return found


async def test_an_admin_lists_all_those_of_an_algorithm_and_those_of_a_flow(
    stage: Stage, owner: Owner
) -> None:
    _, path = await granted(stage, owner, "subscriber")
    (first,) = await stage.by(owner, "GET", path)
    algorithm = first["algorithm"]
    await stage.grant(first["connection_id"], "more-images", (algorithm, "subscriber"))
    flows = sorted(one["id"] for one in await stage.by(owner, "GET", path))
    assert len(flows) == 2
    ids: dict[str, list[str]] = {one: [] for one in [*flows, "gone"]}
    for offset in range(12):
        flow_id = [*flows, "gone"][offset % 3]
        stage.router.letters.append(letter(flow_id, offset=offset))
        ids[flow_id].append(f"0-{offset}")
    stage.router.page_size_max = 2
    assert len(await pages(stage, ALL)) == 12
    of_algorithm = await pages(stage, f"{ALL}?algorithm={algorithm}&limit=3")
    assert of_algorithm == ids[flows[0]] + ids[flows[1]]
    assert await pages(stage, f"{ALL}?flow={flows[1]}&limit=1") == ids[flows[1]]


async def test_a_page_ends_after_a_bound_of_questions(stage: Stage) -> None:
    stage.router.letters = [letter("f", offset=offset) for offset in range(QUESTIONS_MAX + 5)]
    stage.router.page_size_max = 1
    page = await stage.admin("GET", f"{ALL}?limit=500")
    assert len(page["results"]) == QUESTIONS_MAX
    assert len(await pages(stage, f"{ALL}?limit=500")) == QUESTIONS_MAX + 5


async def test_the_flows_own_topic_is_scanned_up_to_a_limit(stage: Stage) -> None:
    there = await world(stage)
    page = await stage.by(there.owner, "GET", f"{of_flow(there)}?own_topic=true")
    assert page["truncated"] is True
    page = await stage.admin("GET", f"{ALL}?flow={there.places['flow']}&own_topic=true")
    assert page["truncated"] is True


async def test_a_dry_run_says_how_many_and_changes_nothing(stage: Stage) -> None:
    there = await world(stage)
    stage.router.letters[1].letter.error_type = "Other"
    before = (await stage.gateway.log.head()).position
    for verb in ("redrive", "purge"):
        body: dict[str, Any] = {"dry_run": True}
        counted = await stage.by(there.owner, "POST", f"{of_flow(there)}/{verb}", body)
        assert counted == {"letters": 2, "truncated": False}
        body |= {"flow": there.places["flow"], "selection": {"error_type": "Other"}}
        counted = await stage.admin("POST", f"{ALL}/{verb}", body)
        assert counted == {"letters": 1, "truncated": False}
    assert (await stage.gateway.log.head()).position == before


async def own_topic_flow(stage: Stage) -> tuple[World, str]:
    """The world whose flow has a dead letter topic of its own, and the path of its letters."""
    there = await world(stage)
    who = f"{there.places['owner']}/{there.places['name']}"
    await stage.grant(there.places["connection"], "rejects", (who, "dead_letter"))
    settings = {"enabled": True, "dead_letter_topic": "rejects"}
    path = of_flow(there)
    await stage.by(there.owner, "PUT", path.removesuffix("/dead-letters"), settings)
    return there, path


async def test_a_redrive_of_the_flows_own_topic_is_asked_for_and_shown(stage: Stage) -> None:
    there, path = await own_topic_flow(stage)
    body: dict[str, Any] = {"own_topic": True}
    counted = await stage.by(there.owner, "POST", f"{path}/redrive", body | {"dry_run": True})
    assert counted == {"letters": 2, "truncated": True}
    task = await stage.by(there.owner, "POST", f"{path}/redrive", body, status=202)
    assert (task["kind"], task["own_topic"]) == ("redrive", True)
    assert await stage.by(there.owner, "GET", f"{path}/tasks/{task['id']}") == task
    known = stage.follower.catalog.dead_letter_task(task["id"])
    assert known is not None
    assert known.own_topic


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_redrive_of_an_own_topic_that_the_flow_has_not_is_refused(
    stage: Stage, dry_run: bool
) -> None:
    there = await world(stage)
    body = {"own_topic": True, "dry_run": dry_run}
    path = f"{of_flow(there)}/redrive"
    answer = await stage.client.call("POST", path, body, key=there.owner.key)
    assert answer.status == 409
    assert "no dead letter topic of its own" in answer.error["message"]


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_purge_of_a_flows_own_topic_is_its_owners_business(
    stage: Stage, dry_run: bool
) -> None:
    there, path = await own_topic_flow(stage)
    body = {"own_topic": True, "dry_run": dry_run}
    answer = await stage.client.call("POST", f"{path}/purge", body, key=there.owner.key)
    assert answer.status == 400
    assert "yours to set, by its retention" in answer.error["message"]


SELECTION: dict[str, Any] = {
    "since": "2026-11-23T10:00:00.000Z", "failure": "timed_out", "key": "kéy",
    "partitions": [1, 2], "offset_first": 5, "letters": ["0-1"],
}  # fmt: skip


async def test_a_redrive_is_asked_for_in_the_log_and_shown_as_a_task(stage: Stage) -> None:
    there = await world(stage)
    body = {"selection": SELECTION, "algorithm_version": "0.1.0", "rate_per_s": 2.5}
    task = await stage.by(there.owner, "POST", f"{of_flow(there)}/redrive", body, status=202)
    assert (task["kind"], task["state"], task["rate_per_s"]) == ("redrive", "requested", 2.5)
    assert (task["flow"], task["algorithm_version"]) == (there.places["flow"], "0.1.0")
    given = {name: value for name, value in task["selection"].items() if value not in (None, [])}
    assert given == {**SELECTION, "key_base64": base64.b64encode("kéy".encode()).decode()}
    (event,) = (await stage.admin("GET", "/v1/admin/log?limit=1&kind=dead_letter_task"))["results"]
    assert (event["event"], event["id"]) == ("dead_letter_task.redrive_requested.v1", task["id"])
    assert event["origin"]["actor"] == there.owner.id
    tasks = await stage.by(there.owner, "GET", f"{of_flow(there)}/tasks")
    assert [one["id"] for one in tasks["results"]] == [task["id"], there.places["task"]]
    assert tasks["results"][0] == task
    assert await stage.admin("GET", f"{ALL}/tasks/{task['id']}") == task


async def test_a_purge_is_asked_for_by_an_admin(stage: Stage) -> None:
    there = await world(stage)
    body = {"flow": there.places["flow"], "selection": {"letters": ["0-0"]}}
    task = await stage.admin("POST", f"{ALL}/purge", body, status=202)
    assert (task["kind"], task["rate_per_s"]) == ("purge", None)
    assert task["selection"]["letters"] == ["0-0"]
    listed = await stage.admin("GET", f"{ALL}/tasks?flow={there.places['flow']}")
    assert listed["results"][0] == task
    everything = await stage.all_pages(f"{ALL}/tasks?limit=2")
    assert {task["id"], there.places["task"]} <= {one["id"] for one in everything}


async def test_the_router_tells_how_far_a_task_is(stage: Stage) -> None:
    there = await world(stage)
    path, task_id = f"{of_flow(there)}/tasks/{there.places['task']}", there.places["task"]
    stage.router.tasks[task_id] = router_pb2.DeadLetterTaskProgress(
        dead_letter_task_id=task_id, state="working", succeeded=7, failed=1, left=-1, worker="r-0"
    )
    shown = await stage.by(there.owner, "GET", path)
    assert (shown["state"], shown["succeeded"], shown["failed"]) == ("working", 7, 1)
    assert (shown["left"], shown["worker"]) == (None, "r-0")
    stage.router.reachable = False
    assert (await stage.by(there.owner, "GET", path))["state"] == "requested"


async def test_a_task_is_cancelled_once(stage: Stage) -> None:
    there = await world(stage)
    path = f"{of_flow(there)}/tasks/{there.places['task']}"
    cancelled = await stage.by(there.owner, "POST", f"{path}/cancel")
    assert (cancelled["state"], cancelled["left"]) == ("cancelled", 0)
    assert cancelled["ended_at"].endswith("Z")
    assert await stage.by(there.owner, "GET", path) == cancelled


@pytest.mark.parametrize("dry_run", [False, True])
async def test_an_unknown_version_is_refused_also_of_a_dry_run(stage: Stage, dry_run: bool) -> None:
    there = await world(stage)
    body = {"algorithm_version": "9.0.0", "dry_run": dry_run}
    path = f"{of_flow(there)}/redrive"
    answer = await stage.client.call("POST", path, body, key=there.owner.key)
    assert (answer.status, answer.error["code"]) == (404, 1014)


def test_the_version_of_a_redrive_is_one_of_the_algorithm_that_the_flow_runs() -> None:
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/First", "1.0.0")
    log.algorithm("acme/Second", "2.0.0")
    log.connection("plant")
    subscriber = log.subscribe("plant", "images", "acme/First")
    publisher = log.publish_to("plant", "labels", "acme/First")
    chain = log.chain("acme/First", "acme/Second")
    catalog = log.catalog()

    def check(flow_id: str, version: str) -> str:
        flow = catalog.flow(flow_id)
        assert flow is not None
        wish = RedriveWish(flow=flow_id, chosen=DeadLetterSelection(), algorithm_version=version)
        return checked_redrive(catalog, flow, wish).algorithm_version

    assert check(subscriber, "latest") == "1.0.0"
    assert check(chain, "latest") == "2.0.0"
    for flow_id, version in ((subscriber, "1.0.0"), (chain, "2.0.0"), (publisher, "")):
        check(flow_id, version)
    for flow_id, version in ((subscriber, "2.0.0"), (chain, "1.0.0")):
        with pytest.raises(NotFound, match="no such published version"):
            check(flow_id, version)
    with pytest.raises(InvalidInput, match="runs no algorithm"):
        check(publisher, "1.0.0")


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        ({"letters": ["first"]}, "letters must be ids of dead letters"),
        ({"letters": ["9999999999-0"]}, "letters must be ids of dead letters"),
        ({"letters": ["0-9999999999999999999"]}, "letters must be ids of dead letters"),
        ({"key": "a", "key_base64": "YQ=="}, "key and key_base64 name the same thing"),
        (
            {"since": "2026-11-24T10:00:00Z", "until": "2026-11-24T09:00:00Z"},
            "since must be before until",
        ),
        ({"partitions": [-1]}, "partitions[0] must be a whole number >= 0"),
        ({"surprise": 1}, "the body has an unknown field surprise in selection"),
    ],
)
async def test_a_wrong_selection_is_named(
    stage: Stage, selection: dict[str, Any], sentence: str
) -> None:
    there = await world(stage)
    for verb in ("redrive", "purge"):
        answer = await stage.client.call(
            "POST", f"{of_flow(there)}/{verb}", {"selection": selection}, key=there.owner.key
        )
        assert answer.status == 400
        assert sentence in answer.error["message"]


async def test_what_is_asked_is_answered_though_the_catalog_lags(stage: Stage) -> None:
    there = await world(stage)
    frozen = AsgiClient(rest_app(replace(stage.gateway, view=FrozenView(stage.follower))))
    for verb in ("redrive", "purge"):
        made = await frozen.call(
            "POST", f"{of_flow(there)}/{verb}", {"selection": SELECTION}, key=there.owner.key
        )
        assert made.status == 202, made.content
        shown = await stage.admin("GET", f"{ALL}/tasks/{made.json['id']}")
        later = {"requested_at": None, "rate_per_s": None}
        assert made.json == {**shown, **later}
    cancel = f"{ALL}/tasks/{there.places['task']}/cancel"
    cancelled = await frozen.call("POST", cancel, key=stage.admin_key)
    assert cancelled.json["state"] == "cancelled"


async def test_without_an_index_it_is_told_what_to_set(stage: Stage) -> None:
    sentence = (
        "the router keeps no index of dead letters: set EVENTFLOWS_ROUTER_DEAD_LETTER_DSN_FILE"
    )

    class WithoutIndex(MemoryRouter):
        def _check(self) -> None:
            raise StateForbids(sentence)

    client = AsgiClient(rest_app(replace(stage.gateway, router=WithoutIndex())))
    answer = await client.call("GET", ALL, key=stage.admin_key)
    assert (answer.status, answer.error["message"]) == (409, sentence)
