"""Runs through the gateway: the right version for the right caller, bytes unparsed."""

import pytest
from gateway.application.run import INPUT_BYTES_MAX

from tests.unit.gateway.memory_peers import COMMIT
from tests.unit.gateway.stage import Owner, Stage

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "form",
    [
        "{owner}/{name}/0.1.0",
        "{owner}/{name}/0.1.0/",
        "algo://{owner}/{name}/0.1.0",
        "algo%3A%2F%2F{owner}/{name}/0.1.0",
        "{owner}/{name}/latestPrivate",
        "{id}/0.1.0",
    ],
)
async def test_every_way_to_name_an_algorithm_works(stage: Stage, owner: Owner, form: str) -> None:
    name = await stage.algorithm(owner)
    algorithm = await stage.by(owner, "GET", f"/v1/algorithms/{owner.name}/{name}")
    path = "/v1/algo/" + form.format(owner=owner.name, name=name, id=algorithm["id"])
    answer = await stage.client.call("POST", path, key=owner.key, headers=JSON, chunks=[b'"x"'])
    assert (answer.status, answer.content) == (200, b'{"result":"x"}')
    (run,) = stage.runner.runs
    assert (run.owner, run.name, run.version) == (owner.name, name, "0.1.0")


async def test_the_body_and_the_query_pass_unparsed(stage: Stage, owner: Owner) -> None:
    name = await stage.algorithm(owner)
    body = bytes(range(256)) * 3
    answer = await stage.client.call(
        "POST",
        f"/v1/algo/{owner.name}/{name}/0.1.0?timeout=600&output=raw&mine=%2B",
        key=owner.key,
        headers={
            "content-type": "application/octet-stream",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "x-eventflows-account": "somebody else",
            "x-eventflows-mode": "replay",
        },
        chunks=[body[:100], body[100:]],
    )
    assert answer.status == 200
    (run,) = stage.runner.runs
    assert stage.runner.bodies == [body]
    assert run.query == "timeout=600&output=raw&mine=%2B"
    assert run.timeout_s == 630
    headers = {key.lower(): value for key, value in run.headers.items()}
    assert headers.pop("traceparent").startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert headers.pop("x-eventflows-request-id") == answer.headers["x-eventflows-request-id"]
    assert headers == {
        "content-type": "application/octet-stream",
        "x-eventflows-account": owner.id,
        "x-eventflows-position": str(stage.gateway.catalog.position),
    }


async def test_the_runners_own_errors_pass_through(stage: Stage, owner: Owner) -> None:
    name = await stage.algorithm(owner)
    stage.runner.status = 429
    path = f"/v1/algo/{owner.name}/{name}/0.1.0"
    answer = await stage.client.call("POST", path, key=owner.key, headers=JSON, chunks=[b"1"])
    assert (answer.status, answer.content) == (429, b'{"result":1}')


async def test_a_private_version_exists_for_its_owner_only(stage: Stage, owner: Owner) -> None:
    stranger = await stage.owner()
    private = await stage.algorithm(owner)
    public = await stage.algorithm(owner, callability="public")
    for version in ("", "/0.1.0", "/latestPrivate", f"/{COMMIT}"):
        path = f"/v1/algo/{owner.name}/{private}{version}"
        answer = await stage.client.call("POST", path, key=stranger.key, headers=JSON)
        assert answer.status == 404, path
    for version in ("", "/0.1.0", "/latest", "/0.1", "/0.*"):
        path = f"/v1/algo/{owner.name}/{public}{version}"
        answer = await stage.client.call("POST", path, key=stranger.key, headers=JSON)
        assert answer.status == 200, path
    assert {run.version for run in stage.runner.runs} == {"0.1.0"}


async def test_an_unpublished_build_runs_by_its_hash_for_its_owner(
    stage: Stage, owner: Owner
) -> None:
    name = await stage.bare_algorithm(owner)
    await stage.by(owner, "POST", f"/v1/algorithms/{owner.name}/{name}/compile", {})
    path = f"/v1/algo/{owner.name}/{name}/{COMMIT}"
    answer = await stage.client.call("POST", path, key=owner.key, headers=JSON)
    assert answer.status == 200
    assert stage.runner.runs[0].version == COMMIT


async def test_no_credentials_are_told_in_algorithmias_words(stage: Stage) -> None:
    answer = await stage.client.call("POST", "/v1/algo/demo/Hello", headers=JSON)
    assert answer.status == 401
    assert answer.error["message"] == "authorization required"
    assert answer.headers["x-error-message"] == "authorization required"


@pytest.mark.parametrize("target", ["demo/Nothing", "demo", "a/b/c/d", "demo//0.1.0", "%2F"])
async def test_an_unknown_algorithm_is_not_found(stage: Stage, owner: Owner, target: str) -> None:
    answer = await stage.client.call("POST", f"/v1/algo/{target}", key=owner.key, headers=JSON)
    assert (answer.status, answer.error["code"]) == (404, 1001)
    assert answer.error["message"].endswith("not found")


async def test_a_bad_version_word_is_refused(stage: Stage, owner: Owner) -> None:
    name = await stage.algorithm(owner)
    path = f"/v1/algo/{owner.name}/{name}/newest"
    answer = await stage.client.call("POST", path, key=owner.key, headers=JSON)
    assert answer.status == 400


async def test_an_input_that_says_it_is_too_large_is_refused_unread(
    stage: Stage, owner: Owner
) -> None:
    name = await stage.algorithm(owner)
    headers = {**JSON, "content-length": str(INPUT_BYTES_MAX + 1)}
    path = f"/v1/algo/{owner.name}/{name}/0.1.0"
    answer = await stage.client.call("POST", path, key=owner.key, headers=headers)
    assert (answer.status, answer.error["code"]) == (413, 9013)
    assert stage.runner.runs == []


async def test_an_input_that_grows_too_large_is_refused(stage: Stage, owner: Owner) -> None:
    name = await stage.algorithm(owner)
    mebibyte = b"x" * 1024 * 1024
    path = f"/v1/algo/{owner.name}/{name}/0.1.0"
    answer = await stage.client.call(
        "POST", path, key=owner.key, headers=JSON, chunks=[mebibyte] * 11
    )
    assert answer.status == 413
    answer = await stage.client.call(
        "POST", path, key=owner.key, headers=JSON, chunks=[mebibyte] * 10
    )
    assert answer.status == 200


async def test_a_repeated_run_has_one_request_id(stage: Stage, owner: Owner) -> None:
    name = await stage.algorithm(owner)
    path = f"/v1/algo/{owner.name}/{name}/0.1.0"
    for key in ("one", "one", "two"):
        headers = {**JSON, "Idempotency-Key": key}
        await stage.client.call("POST", path, key=owner.key, headers=headers, chunks=[b"1"])
    ids = [run.headers["X-Eventflows-Request-Id"] for run in stage.runner.runs]
    assert ids[0] == ids[1] != ids[2]
    assert all(one.startswith("req-") for one in ids)


async def test_a_runner_that_is_away_is_unavailable(stage: Stage, owner: Owner) -> None:
    name = await stage.algorithm(owner)
    stage.runner.reachable = False
    path = f"/v1/algo/{owner.name}/{name}/0.1.0"
    answer = await stage.client.call("POST", path, key=owner.key, headers=JSON)
    assert answer.status == 503
