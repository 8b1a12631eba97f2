"""Algorithms behind a URL: what the endpoint answers, and what the caller learns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
import pytest_asyncio
from aiohttp import web
from catalog.events import SourceKind
from runner.adapters import endpoint_executor

from tests.integration.runner.world import World


class ModelServer:
    """A real HTTP server whose next answers the test chooses."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[web.BaseRequest, bytes]] = []
        self.answer = web.Response
        self.options: dict[str, object] = {}
        self.hold = asyncio.Event()
        self.hold.set()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.requests.append((request, await request.read()))
        await self.hold.wait()
        return web.Response(**self.options)  # type: ignore[arg-type]

    def answers(self, **options: object) -> None:
        self.requests.clear()
        self.options = options


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def model(world: World) -> AsyncIterator[ModelServer]:
    server = ModelServer()
    runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/predict"
    algorithm_id = world.registry.add_algorithm("model", server.url, SourceKind.ENDPOINT)
    report = await world.build(algorithm_id)
    assert report.succeeded
    world.registry.publish(algorithm_id, report.commit_sha)
    yield server
    await runner.cleanup()


async def test_the_input_is_posted_with_its_type_and_ids(world: World, model: ModelServer) -> None:
    model.answers(text='{"score": 0.50}', content_type="application/json")
    answer = await world.run(
        "model",
        b'{ "a": 1.0 }',
        X_Eventflows_Request_Id="run-7",
        X_Eventflows_Flow="flow-1",
        X_Eventflows_Attempt="2",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert answer.json["result"] == {"score": 0.5}
    assert b'"score":0.50' in answer.body, "numbers keep their digits"
    request, body = model.requests[0]
    assert body == b'{"a":1.0}'
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-Eventflows-Request-Id"] == "run-7"
    assert request.headers["X-Eventflows-Flow"] == "flow-1"
    assert request.headers["X-Eventflows-Attempt"] == "2"
    assert request.headers["traceparent"].startswith("00-0af7")
    assert "Authorization" not in request.headers


async def test_text_bytes_and_nothing_are_results(world: World, model: ModelServer) -> None:
    model.answers(
        body="grün".encode("latin-1"), headers={"Content-Type": "text/plain; charset=latin-1"}
    )
    assert (await world.run("model", json={})).json["result"] == "grün"
    model.answers(body=b"\x00\xff", content_type="image/png")
    assert (await world.run("model", json={})).json["metadata"]["content_type"] == "binary"
    model.answers(status=204)
    assert (await world.run("model", json={})).json["result"] is None


async def test_429_of_the_endpoint_is_429_with_its_retry_after(
    world: World, model: ModelServer
) -> None:
    model.answers(status=429, headers={"Retry-After": "7"})
    answer = await world.run("model", json={})
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")


async def test_5xx_of_the_endpoint_is_503(world: World, model: ModelServer) -> None:
    model.answers(status=502, text="no backend")
    answer = await world.run("model", json={})
    assert answer.status == 503
    assert "answered 502" in answer.json["error"]["message"]


async def test_an_endpoint_that_failed_itself_is_told_from_one_that_is_away(
    world: World, model: ModelServer
) -> None:
    told = []
    for status in (500, 501, 502, 503, 504):
        model.answers(status=status)
        answer = await world.run("model", json={})
        told.append((answer.status, answer.json["error"].get("error_type")))
    assert told == [(503, "EndpointError")] * 2 + [(503, None)] * 3


async def test_4xx_of_the_endpoint_is_an_algorithm_error(world: World, model: ModelServer) -> None:
    model.answers(status=422, text="pixels are missing")
    answer = await world.run("model", json={})
    assert answer.status == 200
    assert answer.json["error"]["error_type"] == "AlgorithmError"
    assert "pixels are missing" in answer.json["error"]["message"]


async def test_a_redirect_is_not_followed(world: World, model: ModelServer) -> None:
    model.answers(status=302, headers={"Location": model.url})
    answer = await world.run("model", json={})
    assert "answered 302" in answer.json["error"]["message"]
    assert len(model.requests) == 1


async def test_json_that_is_none_is_a_parsing_error(world: World, model: ModelServer) -> None:
    model.answers(text="NaN", content_type="application/json")
    answer = await world.run("model", json={})
    assert answer.json["error"]["error_type"] == "ParsingError"


async def test_no_answer_in_time_is_a_timeout_error(world: World, model: ModelServer) -> None:
    model.answers(text="late")
    model.hold.clear()
    try:
        answer = await world.run("model", json={}, query="?timeout=0.3")
    finally:
        model.hold.set()
    assert answer.status == 200
    assert answer.json["error"]["error_type"] == "TimeoutError"
    assert answer.headers["X-Eventflows-Outcome"] == "timed_out"


async def test_a_clock_that_lags_makes_no_endpoint_that_is_away_of_a_timeout(
    world: World, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop's clock is that of its last turn: its timers may end a little early."""
    monkeypatch.setattr(endpoint_executor, "time", SimpleNamespace(monotonic=lambda: 0.0))
    await test_no_answer_in_time_is_a_timeout_error(world, model)


async def test_an_endpoint_that_is_away_is_503(world: World) -> None:
    algorithm_id = world.registry.add_algorithm("away", "http://127.0.0.1:9/x", SourceKind.ENDPOINT)
    world.registry.publish(algorithm_id, "2" * 40)
    answer = await world.run("away", json={})
    assert answer.status == 503
    assert "cannot be reached" in answer.json["error"]["message"]


async def test_an_answer_above_15_mb_is_too_large(world: World, model: ModelServer) -> None:
    model.answers(body=b"x" * 16_000_000, content_type="application/octet-stream")
    answer = await world.run("model", json={})
    assert answer.json["error"]["error_type"] == "TooLargeError"
