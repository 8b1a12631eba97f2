"""The verbs on flows and dead letters, as an owner has them in REST and an operator on the command
line: pause and resume, look into what was given up, send it again, forget it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from examples.demo import steps, traffic
from tests.e2e.conftest import OWNER, Landscape
from tests.integration.cli.command import Command
from tests.support.numbered import numbered_records

PAUSED_WITHIN_S = 1.0
WAIT_S = 60.0
PAUSE_S = 0.02


@dataclass
class Model:
    """An algorithm that is an HTTP service: remembers what it got, refuses while it is broken."""

    url: str = ""
    broken: bool = False
    got: list[int] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.broken:
            return web.Response(status=422, text="the model is broken")
        self.got.append(body["id"])
        return web.json_response(body)


@pytest_asyncio.fixture(loop_scope="session")
async def model() -> AsyncIterator[Model]:
    model = Model()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", model.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    model.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield model
    await runner.cleanup()


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A flow from a topic to the model; `path` is its own in REST."""

    landscape: Landscape
    algorithm: str
    id: str
    topic: str

    @property
    def path(self) -> str:
        return f"/v1/algorithms/{self.algorithm}/event-flows/{self.id}"

    @property
    def letters(self) -> str:
        return f"{self.path}/dead-letters"

    async def produce(self, count: int, *, first: int) -> None:
        records = numbered_records(count, keys=5, first=first)
        async with traffic.producer(self.landscape.cluster.customer_kafka) as client:
            await traffic.produce(client, self.topic, records)

    async def until(self, path: str, wanted: Callable[[Any], bool]) -> Any:
        """What the owner is shown there, once it is as wanted."""
        shown: Any = None
        try:
            async with asyncio.timeout(WAIT_S):
                while not wanted(shown := await self.landscape.owner.get(path)):
                    await asyncio.sleep(PAUSE_S)
        except TimeoutError:
            pytest.fail(f"{path} is still {json.dumps(shown)}")
        return shown

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        return await self.landscape.owner.post(path, body)


@pytest_asyncio.fixture(loop_scope="session")
async def wire(landscape: Landscape, model: Model) -> Wire:
    topic = await landscape.topic("verbs", partitions=2)
    name = topic.replace("-", "_")
    version = await steps.publish_algorithm(
        landscape.owner, owner=OWNER, name=name, source={"endpoint_url": model.url}
    )
    algorithm = f"{OWNER}/{name}"
    flow = await landscape.wire(algorithm, version, topic, "subscriber")
    await landscape.running(algorithm, flow)
    return Wire(landscape=landscape, algorithm=algorithm, id=flow, topic=topic)


def stands_still(flow: dict[str, Any]) -> bool:
    return flow["state"] == "paused" and flow["live"] is not None and flow["live"]["in_flight"] == 0


async def test_a_flow_that_is_paused_stands_still_within_a_second_and_goes_on_when_resumed(
    wire: Wire, model: Model
) -> None:
    await wire.produce(20, first=0)
    await wire.until(wire.path, lambda flow: flow["live"]["settled_total"] == 20)
    paused = await wire.post(f"{wire.path}/pause", {"reason": "the model is replaced"})
    assert paused["paused"]["reason"] == "the model is replaced"
    async with asyncio.timeout(PAUSED_WITHIN_S):
        await wire.until(wire.path, stands_still)
    await wire.produce(20, first=20)
    held = await wire.until(wire.path, lambda flow: flow["live"]["lag_records"] == 20)
    assert (held["state"], len(model.got)) == ("paused", 20), "it still measures, and runs nothing"
    resumed = await wire.post(f"{wire.path}/resume", {})
    assert resumed["paused"] is None
    await wire.until(wire.path, lambda flow: flow["live"]["lag_records"] == 0)
    assert sorted(model.got) == list(range(40)), "each record ran, and once"


async def test_dead_letters_are_looked_into_sent_again_and_forgotten(
    wire: Wire, model: Model, folder: Path
) -> None:
    model.broken = True
    await wire.produce(3, first=0)
    page = await wire.until(wire.letters, lambda page: len(page["results"]) == 3)
    letter = page["results"][0]
    assert (letter["reason"], letter["topic"]) == ("algorithm_error", wire.topic)
    whole = await wire.landscape.owner.get(f"{wire.letters}/{letter['id']}")
    assert json.loads(whole["value"])["id"] in range(3)
    assert "the model is broken" in whole["history"][-1]["error"]
    everywhere = await wire.landscape.admin.get(
        f"/v1/admin/dead-letters?algorithm={wire.algorithm}"
    )
    assert everywhere["results"] == page["results"]

    model.broken = False
    name = wire.algorithm.partition("/")[2]
    repaired = await steps.publish_version(wire.landscape.owner, owner=OWNER, name=name)
    one = {"selection": {"letters": [letter["id"]]}, "algorithm_version": repaired}
    counted = await wire.post(f"{wire.letters}/redrive", {**one, "dry_run": True})
    assert counted == {"letters": 1, "truncated": False}
    task = await wire.post(f"{wire.letters}/redrive", {**one, "rate_per_s": 100})
    done = await wire.until(
        f"{wire.letters}/tasks/{task['id']}", lambda task: task["state"] == "finished"
    )
    assert (done["succeeded"], done["failed"], done["algorithm_version"]) == (1, 0, repaired)
    assert model.got == [json.loads(whole["value"])["id"]]
    again = await wire.until(f"{wire.letters}?state=redriven", lambda page: bool(page["results"]))
    assert [each["id"] for each in again["results"]] == [letter["id"]]

    wire.landscape.cluster.write_profile(folder / "eventflows.toml")
    command = Command(environ={"EVENTFLOWS_CONFIG": str(folder / "eventflows.toml")})
    (flow,) = (
        await command.done("flow", "list", "--algorithm", wire.algorithm, "-o", "jsonl")
    ).lines
    assert (flow["id"], flow["live"]["dead_lettered_total"]) == (wire.id, 3)
    told = (await command.done("flow", "status", wire.algorithm)).out
    assert "dead_lettered_total  3" in told
    left = (await command.done("dlq", "list", wire.algorithm, "-o", "jsonl")).lines
    assert letter["id"] not in [each["letter_id"] for each in left]
    shown = await command.done("dlq", "show", left[0]["letter_id"])
    assert "the model is broken" in shown.out
    counted = await command.done("dlq", "purge", wire.algorithm, "--dry-run", "-o", "json")
    assert counted.json["letters"] == len(left) == 2
    await command.done("dlq", "purge", wire.algorithm, "--yes")
    await wire.until(wire.letters, lambda page: page["results"] == [])
    (purge, _) = (await command.done("dlq", "tasks", wire.algorithm, "-o", "jsonl")).lines
    assert (purge["kind"], purge["succeeded"]) == ("purge", 2)
    log = await wire.landscape.admin.get("/v1/admin/log?kind=dead_letter_task&limit=4")
    assert {event["origin"]["actor"] for event in log["results"]} >= {"service:operator"}
