"""Reads as of a moment: what is shown is of then, who may see it is decided now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from catalog.catalog import Catalog
from gateway.application.moments import READ_AT_ONCE_MAX, Moments
from gateway.domain.moment import AsOf, Moment
from gateway.entrypoints.rest.app import OPERATIONS, rest_app
from gateway.entrypoints.rest.operation import Operation
from gateway.ports import Past
from kernel.errors import InvalidInput, Overloaded, Unavailable

from tests.unit.gateway.asgi_client import Answer, AsgiClient
from tests.unit.gateway.stage import PUBLIC_URL, Owner, Stage
from tests.unit.gateway.world import World, world

POSITION = "x-eventflows-as-of-position"
TIME = "x-eventflows-as-of-time"
PAST = [one for one in OPERATIONS if one.as_of]
WAIT_S = 10.0


async def change_everything(stage: Stage, there: World) -> None:
    """After this every read of `there` that can change has changed."""
    owner, places = there.owner, there.places
    algorithm = f"/v1/algorithms/{owner.name}/{places['name']}"
    await stage.by(owner, "DELETE", f"/v1/users/{owner.id}/event-listeners/{places['listener']}")
    await stage.by(
        owner, "PUT", f"{algorithm}/event-flows/{places['flow']}", {"enabled": True, "timeout_s": 9}
    )
    await stage.by(owner, "POST", f"{algorithm}/compile", {})
    await stage.admin("POST", f"/v1/admin/dead-letters/tasks/{places['task']}/cancel", {})
    await stage.grant(places["connection"], "images")
    await stage.admin("DELETE", f"/v1/admin/broker-connections/{places['connection']}", status=204)
    await stage.owner()


async def ask(stage: Stage, there: World, operation: Operation, query: str = "") -> Answer:
    path = there.path(operation)
    return await stage.client.call("GET", path + query, key=there.key(stage, operation))


@pytest.mark.parametrize("operation", PAST, ids=lambda one: one.path)
async def test_every_read_answers_as_it_answered_then(stage: Stage, operation: Operation) -> None:
    there = await world(stage)
    before = await ask(stage, there, operation)
    assert before.status == 200, before.content
    assert POSITION not in before.headers
    await change_everything(stage, there)
    then = await ask(stage, there, operation, f"?as_of={there.position}")
    assert then.status == 200, then.content
    assert without_links(then.json) == without_links(before.json)
    assert then.headers.get("etag") == before.headers.get("etag")
    assert then.headers[POSITION] == str(there.position)
    by_time = await ask(stage, there, operation, f"?as_of={then.headers[TIME]}")
    assert by_time.content == then.content
    assert by_time.headers[POSITION] == then.headers[POSITION]


def without_links(body: Any) -> Any:
    """A page of then has a marker that keeps its moment."""
    if isinstance(body, dict) and "next_link" in body:
        return body["results"]
    return body


SINGLE = [one for one in PAST if "{" in one.path]


@pytest.mark.parametrize("operation", SINGLE, ids=lambda one: one.path)
async def test_what_did_not_exist_then_is_told_so(stage: Stage, operation: Operation) -> None:
    before = stage.follower.catalog.position
    there = await world(stage)
    answer = await ask(stage, there, operation, f"?as_of={before}")
    assert answer.status == 404, answer.content
    message = answer.error if isinstance(answer.error, str) else answer.error["message"]
    assert message.startswith(f"it did not exist as of position {before} (")


async def test_a_key_that_is_revoked_now_sees_no_past(stage: Stage, owner: Owner) -> None:
    position = stage.follower.catalog.position
    keys = f"/v1/users/{owner.name}/keys"
    (key,) = await stage.admin("GET", keys)
    await stage.admin("DELETE", f"{keys}/{key['id']}", status=204)
    answer = await stage.client.call(
        "GET", f"/v1/users/{owner.id}/event-listeners?as_of={position}", key=owner.key
    )
    assert answer.status == 401
    (shown,) = await stage.admin("GET", f"{keys}?as_of={position}")
    assert shown == key


async def test_a_key_of_now_sees_a_past_in_which_it_was_not_there(stage: Stage) -> None:
    there = await world(stage)
    keys = f"/v1/users/{there.owner.name}/keys"
    made = await stage.admin("POST", keys, {"key_type": "AlgorithmKey"})
    answer = await stage.client.call(
        "GET",
        f"/v1/users/{there.owner.id}/event-listeners?as_of={there.position}",
        key=made["api_key"],
    )
    assert [one["id"] for one in answer.json] == [there.places["listener"]]


async def test_pages_stay_at_the_moment_of_the_first(stage: Stage) -> None:
    names = {(await stage.owner()).name for _ in range(3)}
    position = stage.follower.catalog.position
    seen: list[str] = []
    link = f"/v1/users?limit=2&as_of={position}"
    while link:
        answer = await stage.client.call("GET", link, key=stage.admin_key)
        assert answer.headers[POSITION] == str(position)
        seen += [user["username"] for user in answer.json["results"]]
        if answer.json["marker"] is not None:
            again = f"/v1/users?limit=2&as_of={position}&marker={answer.json['marker']}"
            assert (await stage.client.call("GET", again, key=stage.admin_key)).status == 200
        link = (answer.json["next_link"] or "").removeprefix(PUBLIC_URL)
        names.discard((await stage.owner()).name)  # comes after the moment
    assert names <= set(seen)
    assert len(seen) == len(set(seen))
    assert len(seen) < len(stage.follower.catalog.accounts())


async def test_a_marker_of_another_moment_is_refused(stage: Stage) -> None:
    await stage.owner()
    position = stage.follower.catalog.position
    page = await stage.admin("GET", f"/v1/users?limit=1&as_of={position}")
    now = await stage.admin("GET", "/v1/users?limit=1")
    for query in (
        f"as_of={position - 1}&marker={page['marker']}",
        f"as_of={position}&marker={now['marker']}",
        f"marker=x.{now['marker']}",
        f"marker=.{now['marker']}",
    ):
        answer = await stage.client.call("GET", f"/v1/users?{query}", key=stage.admin_key)
        assert (answer.status, answer.error["code"]) == (400, 5002), query


@pytest.mark.parametrize(
    "word",
    ["", "yesterday", "-1", "1.5", "٣", "9" * 19, "9" * 30, "2026-11-24", "2026-11-24T10:00:00",
     "2026-13-24T10:00:00Z", "2026-11-24T10:00:00 01:00", "2026-11-24 10:00:00Z",
     "20261124T100000Z",
     "0001-01-01T00:00:00%2B14:00", "2026-11-24T10:00:00.Z", "1970-01-01T00:00:00Z",
     "9999-12-31T23:59:59Z"],
)  # fmt: skip
async def test_a_moment_that_is_none_is_refused_with_what_to_do(stage: Stage, word: str) -> None:
    answer = await stage.client.call("GET", f"/v1/users?as_of={word}", key=stage.admin_key)
    assert (answer.status, answer.error["code"]) == (400, 6001), answer.content


async def test_a_position_beyond_the_end_is_refused_with_the_registrys_sentence(
    stage: Stage,
) -> None:
    head = stage.follower.catalog.position
    answer = await stage.client.call("GET", f"/v1/users?as_of={head + 100}", key=stage.admin_key)
    assert answer.status == 400
    assert f"the log ends at {head}" in answer.error["message"]


async def test_the_beginning_of_the_log_is_a_moment_too(stage: Stage) -> None:
    answer = await stage.client.call("GET", "/v1/users?as_of=0", key=stage.admin_key)
    assert (answer.status, answer.json["results"]) == (200, [])
    assert answer.headers[TIME] == "1970-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("form", ["{0}Z", "{0}z", "{0}%2B00:00", "{0}-00:00", "{0}000Z"])
async def test_a_time_may_be_written_in_every_way_of_rfc_3339(stage: Stage, form: str) -> None:
    there = await stage.client.call(
        "GET", f"/v1/users?as_of={stage.follower.catalog.position}", key=stage.admin_key
    )
    word = form.format(there.headers[TIME].removesuffix("Z"))
    answer = await stage.client.call("GET", f"/v1/users?as_of={word}", key=stage.admin_key)
    assert answer.headers[POSITION] == there.headers[POSITION], answer.content


NOT_PAST = [one for one in OPERATIONS if not one.as_of and one.name != "run"]


@pytest.mark.parametrize("operation", NOT_PAST, ids=lambda one: f"{one.method} {one.path}")
async def test_what_has_no_past_says_so(stage: Stage, owner: Owner, operation: Operation) -> None:
    there = World(owner=owner, places={}, position=0)
    path = operation.path.replace("{algorithm_id}", owner.id).replace("{position}", "1")
    answer = await stage.client.call(
        operation.method, f"{path}?as_of=1", {}, key=there.key(stage, operation)
    )
    assert answer.status == 400
    assert answer.error["message"].startswith("as_of is for reads of the configuration")


async def test_a_flow_of_then_has_no_live_words(stage: Stage) -> None:
    there = await world(stage)
    admin = "/v1/admin/event-flows"
    stage.router.reachable = False  # whoever asked it would be told so
    mine = f"algorithm={there.owner.name}/{there.places['name']}"
    page = await stage.admin("GET", f"{admin}?as_of={there.position}&state=disabled&{mine}")
    assert there.places["flow"] in {one["id"] for one in page["results"]}
    assert {one["live"] for one in page["results"]} == {None}
    answer = await stage.client.call(
        "GET", f"{admin}?as_of={there.position}&state=running", key=stage.admin_key
    )
    assert answer.status == 400
    assert "disabled, blocked, paused, enabled" in answer.error["message"]


# ---- what is kept, and how much at a time ------------------------------------------------------


@dataclass
class CountedPast:
    """Port `Past` in memory: position n at n seconds after 1970. `gate` holds up every reading."""

    asked: list[AsOf] = field(default_factory=list)
    restored: list[int] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    problem: Exception | None = None

    @asynccontextmanager
    async def at(self, as_of: AsOf) -> AsyncIterator[CountedRead]:
        self.asked.append(as_of)
        self.arrived.release()
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        position = as_of if isinstance(as_of, int) else int(as_of.timestamp())
        yield CountedRead(self, position)


class CountedRead:
    """Port `PastRead`."""

    def __init__(self, past: CountedPast, position: int) -> None:
        self.moment = Moment(position=position, time=at_second(position))
        self._past = past

    async def restored(self) -> Catalog:
        self._past.restored.append(self.moment.position)
        return Catalog()


def at_second(second: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def counted() -> tuple[CountedPast, Moments]:
    past = CountedPast()
    port: Past = past
    past.gate.set()
    return past, Moments(port)


async def test_the_last_two_moments_are_kept() -> None:
    past, moments = counted()
    for position in (1, 2, 1, 2, 1, 3, 1, 2):
        assert (await moments.at(position)).moment.position == position
    assert past.asked == [1, 2, 3, 2]


async def test_a_time_and_its_position_share_what_is_kept() -> None:
    past, moments = counted()
    by_position = await moments.at(7)
    assert await moments.at(at_second(7)) is by_position
    assert await moments.at(at_second(7)) is by_position
    assert (past.asked, past.restored) == ([7, at_second(7)], [7])


async def test_equal_questions_at_once_are_read_once() -> None:
    past, moments = counted()
    past.gate.clear()
    asking = [asyncio.create_task(moments.at(5)) for _ in range(20)]
    async with asyncio.timeout(WAIT_S):
        await past.arrived.acquire()
        past.gate.set()
        found = await asyncio.gather(*asking)
    assert len(set(map(id, found))) == 1
    assert past.restored == [5]


async def test_a_third_moment_at_once_is_told_to_come_again(stage: Stage) -> None:
    past, moments = counted()
    past.gate.clear()
    asking = [asyncio.create_task(moments.at(one)) for one in range(READ_AT_ONCE_MAX)]
    async with asyncio.timeout(WAIT_S):
        for _ in asking:
            await past.arrived.acquire()
        with pytest.raises(Overloaded):
            await moments.at(99)
        client = AsgiClient(rest_app(replace(stage.gateway, moments=moments)))
        answer = await client.call("GET", "/v1/users?as_of=98", key=stage.admin_key)
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) >= 1
        past.gate.set()
        await asyncio.gather(*asking)
    assert (await moments.at(99)).moment.position == 99


async def test_who_gives_up_waiting_leaves_the_others_their_answer() -> None:
    past, moments = counted()
    past.gate.clear()
    leader, follower = (asyncio.create_task(moments.at(5)) for _ in range(2))
    async with asyncio.timeout(WAIT_S):
        await past.arrived.acquire()
        leader.cancel()
        await past.arrived.acquire()  # the next one asks in its place
        past.gate.set()
        assert (await follower).moment.position == 5
    with pytest.raises(asyncio.CancelledError):
        await leader


async def test_what_failed_is_not_kept_and_takes_no_place() -> None:
    past, moments = counted()
    for problem in (InvalidInput("not there"), Unavailable("away"), Unavailable("away")):
        past.problem = problem
        with pytest.raises(type(problem)):
            await moments.at(5)
    past.problem = None
    assert (await moments.at(5)).moment.position == 5


async def test_without_the_registry_the_past_is_unavailable(stage: Stage) -> None:
    past, moments = counted()
    past.problem = Unavailable("the past cannot be read while the registry is away: try again")
    client = AsgiClient(rest_app(replace(stage.gateway, moments=moments)))
    answer = await client.call("GET", "/v1/users?as_of=1", key=stage.admin_key)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
