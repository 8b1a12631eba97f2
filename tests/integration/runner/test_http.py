"""Algorithmia's wire: what is refused with which status, and the three modes of output."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from runner.adapters.memory_completions import MemoryCompletions
from runner.domain.limits import INPUT_BYTES_MAX

from tests.integration.runner.conftest import published_probe
from tests.integration.runner.world import World, runner_world
from tests.support.runner_catalog import CALLER, OWNER

WAIT_S = 10.0
CHANGING_HEADERS = ("Date", "Content-Length")


async def test_a_chunked_body_is_read(world: World) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"do"'
        yield b': "chunked"}'

    answer = await world.run("probe", chunks())
    assert answer.json["result"]["did"] == "chunked"


async def test_a_body_above_10_mib_is_413(world: World) -> None:
    answer = await world.run("probe", b"x" * (INPUT_BYTES_MAX + 1), content_type="text/plain")
    assert answer.status == 413
    assert answer.json["error"]["message"] == answer.headers["X-Error-Message"]


async def test_a_chunked_body_above_10_mib_is_413(world: World) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 1024 * 1024

    assert (await world.run("probe", chunks(), content_type="text/plain")).status == 413


async def test_a_body_of_10_mib_runs(world: World) -> None:
    body = b"x" * INPUT_BYTES_MAX
    answer = await world.run("probe", body, content_type="text/plain", query="?output=raw")
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(
    ("content_type", "body", "sentence"),
    [
        ("application/xml", b"<x/>", "Content-Type must be one of"),
        ("application/json", b"{no", "The body is not JSON"),
        ("application/json", b"", "The body is not JSON"),
        ("application/json", b'"\xff"', "The body is not UTF-8"),
        ("application/json", b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        ("text/plain", b"\xff", "The body is not UTF-8"),
    ],
)
async def test_input_that_is_not_what_it_says_is_400(
    world: World, content_type: str, body: bytes, sentence: str
) -> None:
    answer = await world.run("probe", body, content_type=content_type)
    assert answer.status == 400
    assert sentence in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("?timeout=3001", "timeout is a number of seconds"),
        ("?timeout=nan", "timeout is a number of seconds"),
        ("?timeout=0", "timeout is a number of seconds"),
        ("?output=loud", "output is raw, void or absent"),
    ],
)
async def test_a_query_that_makes_no_sense_is_400(world: World, query: str, sentence: str) -> None:
    answer = await world.run("probe", json={}, query=query)
    assert answer.status == 400
    assert sentence in answer.json["error"]["message"]


async def test_unknown_parameters_are_ignored(world: World) -> None:
    assert (await world.run("probe", json={}, query="?stdout=false&colour=red")).status == 200


async def test_a_caller_without_a_token_is_401(world: World) -> None:
    answer = await world.run("probe", json={}, Authorization="")
    assert answer.status == 401
    assert answer.json["error"]["message"] == "authorization required"


async def test_a_service_that_may_not_run_is_403(world: World) -> None:
    token = Path(world.settings.service_token_file).read_text().strip()
    answer = await world.run("probe", json={}, Authorization=f"Bearer {token}")
    assert answer.status == 403


async def test_a_call_without_an_account_is_400(world: World) -> None:
    answer = await world.run("probe", json={}, X_Eventflows_Account="")
    assert answer.status == 400
    assert "X-Eventflows-Account" in answer.json["error"]["message"]


async def test_an_unknown_algorithm_is_404_in_algorithmias_words(world: World) -> None:
    answer = await world.run("unknown", json={})
    assert answer.status == 404
    assert answer.json["error"]["message"] == "algorithm algo://acme/unknown not found"


@pytest.mark.parametrize("version", ["latest", "1.0", "1.*", ""])
async def test_version_words_are_understood(world: World, version: str) -> None:
    assert (await world.run("probe", json={"do": "x"}, version=version)).status == 200


async def test_an_unpublished_build_runs_for_its_owner_only(world: World) -> None:
    algorithm = world.registry.catalog.algorithm_named("acme", "probe")
    assert algorithm is not None
    commit_sha = algorithm.builds[0].commit_sha
    mine = await world.run("probe", json={}, version=commit_sha, X_Eventflows_Account=OWNER)
    others = await world.run("probe", json={}, version=commit_sha)
    assert (mine.status, others.status) == (200, 404)


async def test_raw_output_is_the_bare_result(world: World) -> None:
    answer = await world.run("probe", b"text", content_type="text/plain", query="?output=raw")
    assert (answer.status, answer.body) == (200, b"text")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_raw_output_of_an_algorithm_error_is_400(world: World) -> None:
    answer = await world.run("probe", json={"do": "raise"}, query="?output=raw")
    assert answer.status == 400
    assert answer.json["error"]["message"] == "no such file"
    assert answer.headers["X-Error-Message"] == "no such file"


async def test_void_output_answers_at_once_and_the_run_takes_place(
    world: World, tmp_path: Path
) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    order = {"do": "wait for", "path": str(gate), "started": str(started)}
    answer = await world.run("probe", json=order, query="?output=void")
    assert answer.status == 200
    assert answer.json == {"async": "void", "request_id": answer.headers["X-Eventflows-Request-Id"]}
    assert world.parts.sessions.of_account(CALLER) == 1
    gate.touch()
    async with asyncio.timeout(WAIT_S):
        while world.parts.sessions.of_account(CALLER):
            await asyncio.sleep(0.01)
    assert started.read_text() == "x"


async def test_an_answer_names_the_request_id_that_was_given_out(world: World) -> None:
    answer = await world.run("probe", json={})
    assert answer.headers["X-Eventflows-Request-Id"] == answer.json["metadata"]["request_id"]


async def test_answers_to_runs_that_their_caller_named_begin_alike(world: World) -> None:
    """The router does not parse such a head again."""
    answers = [
        await world.run("probe", json={}, X_Eventflows_Request_Id=name) for name in ("one", "two")
    ]
    assert [answer.json["metadata"]["request_id"] for answer in answers] == ["one", "two"]
    heads = [
        {name: value for name, value in answer.headers.items() if name not in CHANGING_HEADERS}
        for answer in answers
    ]
    assert heads[0] == heads[1]


async def test_more_sessions_than_an_account_may_have_are_429(
    environments: Path, probe_url: str, tmp_path: Path
) -> None:
    async with runner_world(
        tmp_path, MemoryCompletions(), environments=environments, sessions_per_account_max=1
    ) as world:
        await published_probe(world, probe_url)
        gate, started = tmp_path / "gate", tmp_path / "started"
        order = {"do": "wait for", "path": str(gate), "started": str(started)}
        first = asyncio.create_task(world.run("probe", json=order))
        async with asyncio.timeout(WAIT_S):
            while not started.exists():
                await asyncio.sleep(0.01)
        second = await world.run("probe", json={})
        other_account = await world.run("probe", json={}, X_Eventflows_Account=OWNER)
        gate.touch()
        assert (await first).status == 200
        assert second.status == 429
        assert second.headers["Retry-After"] == "1"
        assert other_account.status == 200
        assert (await world.run("probe", json={})).status == 200


async def test_a_stale_catalog_refuses_runs_with_503(world: World) -> None:
    world.registry.age_s = 301.0
    try:
        answer = await world.run("probe", json={})
        health = await world.health()
    finally:
        world.registry.age_s = 0.0
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "1"
    assert health == 503
    assert await world.health() == 200


async def test_a_caller_that_goes_away_does_not_stop_its_run(world: World, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    order = {"do": "wait for", "path": str(gate), "started": str(started)}
    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    async with aiohttp.ClientSession(timeout=timeout) as caller:
        call = asyncio.create_task(
            caller.post(
                f"http://{world.address}/v1/algo/acme/probe/1.0.0",
                json=order,
                headers={
                    "Authorization": f"Bearer {world.token}",
                    "X-Eventflows-Account": CALLER,
                    "X-Eventflows-Request-Id": "gone-away",
                },
            )
        )
        async with asyncio.timeout(WAIT_S):
            while not started.exists():
                await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait([call])
    gate.touch()
    answer = await world.run("probe", json=order, X_Eventflows_Request_Id="gone-away")
    assert answer.status == 200
    assert started.read_text() == "x", "one run, whose answer the second call got"
