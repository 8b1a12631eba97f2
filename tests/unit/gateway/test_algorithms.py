"""Algorithms: create, build, publish, list, and who may see what."""

from typing import Any
from uuid import UUID

import pytest
from gateway.application import builds

from tests.unit.gateway.memory_peers import COMMIT
from tests.unit.gateway.stage import PUBLIC_URL, Owner, Stage

GIT = {"git_url": "https://git.example.com/repository"}


async def test_the_body_of_the_official_client_creates_an_algorithm(
    stage: Stage, owner: Owner
) -> None:
    body: dict[str, Any] = {
        "name": "Hello",
        "details": {"label": "Hello", "summary": None, "tagline": "says hello"},
        "settings": {
            "source_visibility": "closed",
            "license": "apl",
            "network_access": "full",
            "pipeline_enabled": True,
            "package_set": "python37",
            "royalty_microcredits": 0,
        },
        "version_info": {"sample_input": "x"},
        "source": GIT,
        "scmsCredentials": {},
    }
    made = await stage.by(owner, "POST", f"/v1/algorithms/{owner.name}", body, status=201)
    assert UUID(made["id"])
    assert made["settings"]["algorithm_callability"] == "private"
    assert made["self_link"] == f"{PUBLIC_URL}/v1/algorithms/{owner.name}/Hello"
    assert not {"version_info", "build", "compilation"} & made.keys()
    assert await stage.by(owner, "GET", f"/v1/algorithms/{owner.name}/Hello") == made
    assert await stage.by(owner, "GET", f"/v1/algorithms/{made['id']}") == made


@pytest.mark.parametrize("source", [{}, {**GIT, "endpoint_url": "http://model:8000"}])
async def test_a_source_is_a_repository_or_an_endpoint(
    stage: Stage, owner: Owner, source: dict[str, str]
) -> None:
    body = {"name": "Hello", "source": source}
    path = f"/v1/algorithms/{owner.name}"
    answer = await stage.client.call("POST", path, body, key=owner.key)
    assert answer.status == 400
    assert "git_url" in answer.error["message"]
    assert "endpoint_url" in answer.error["message"]


async def test_an_unknown_algorithm_is_a_string_in_the_envelope(stage: Stage, owner: Owner) -> None:
    for path in ("hello/errors", f"{owner.name}/Nothing", owner.id, f"{owner.id}/versions"):
        answer = await stage.client.call("GET", f"/v1/algorithms/{path}", key=owner.key)
        assert (answer.status, answer.json) == (404, {"error": "No such algorithm"})


async def test_compile_builds_and_the_build_is_listed(stage: Stage, owner: Owner) -> None:
    path = f"/v1/algorithms/{owner.name}/{await stage.bare_algorithm(owner)}"
    built = await stage.by(owner, "POST", f"{path}/compile")
    assert built["version_info"] == {"git_hash": COMMIT}
    assert built["compilation"]["successful"] is True
    assert "Beginning container customization" in built["compilation"]["output"]
    assert built["build"]["status"] == "succeeded"
    assert built["build"]["started_at"] == "2026-11-23T10:00:00.000Z"
    page = await stage.by(owner, "GET", f"{path}/builds?limit=56")
    assert page == {"marker": None, "next_link": None, "results": [built["build"]]}
    build_id = built["build"]["build_id"]
    assert await stage.by(owner, "GET", f"{path}/builds/{build_id}") == built["build"]
    logs = await stage.by(owner, "GET", f"{path}/builds/{build_id}/logs")
    assert logs == {"logs": built["compilation"]["output"]}
    assert (await stage.by(owner, "GET", f"{path}/versions/{COMMIT}"))["build"] == built["build"]


async def test_a_failed_build_is_an_answer_and_cannot_be_published(
    stage: Stage, owner: Owner
) -> None:
    stage.runner.builds_succeed = False
    path = f"/v1/algorithms/{owner.name}/{await stage.bare_algorithm(owner)}"
    built = await stage.by(owner, "POST", f"{path}/compile", {})
    assert built["compilation"]["successful"] is False
    assert built["build"]["status"] == "failed"
    answer = await stage.client.call("POST", f"{path}/versions", {}, key=owner.key)
    assert answer.status == 409
    assert "build" in answer.error["message"]


async def test_a_build_that_never_found_its_commit_is_noted_too(stage: Stage, owner: Owner) -> None:
    stage.runner.builds_succeed, stage.runner.commit = False, ""
    path = f"/v1/algorithms/{owner.name}/{await stage.bare_algorithm(owner)}"
    built = await stage.by(owner, "POST", f"{path}/compile", {})
    assert built["build"]["commit_sha"] == ""
    assert (await stage.by(owner, "GET", f"{path}/builds"))["results"] == [built["build"]]


async def test_a_runner_whose_catalog_is_a_moment_behind_is_asked_again(
    stage: Stage, owner: Owner
) -> None:
    stage.runner.behind_for = 2
    path = f"/v1/algorithms/{owner.name}/{await stage.bare_algorithm(owner)}"
    built = await stage.by(owner, "POST", f"{path}/compile", {})
    assert built["compilation"]["successful"] is True
    assert len(stage.runner.builds) == 3


async def test_a_runner_that_never_learns_of_the_algorithm_is_given_up(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, owner: Owner
) -> None:
    monkeypatch.setattr(builds, "RUNNER_LAG_MAX_S", 0.0)
    stage.runner.behind_for = 1_000
    path = f"/v1/algorithms/{owner.name}/{await stage.bare_algorithm(owner)}"
    answer = await stage.client.call("POST", f"{path}/compile", {}, key=owner.key)
    assert answer.status == 404


async def test_a_repeated_compile_runs_one_build(stage: Stage, owner: Owner) -> None:
    path = f"/v1/algorithms/{owner.name}/{await stage.bare_algorithm(owner)}"
    answers = [
        await stage.client.call(
            "POST", f"{path}/compile", {}, key=owner.key, headers={"Idempotency-Key": "k"}
        )
        for _ in range(2)
    ]
    assert answers[0].content == answers[1].content
    assert len(stage.runner.builds) == 1


async def test_a_runner_that_is_away_is_unavailable(stage: Stage, owner: Owner) -> None:
    stage.runner.reachable = False
    path = f"/v1/algorithms/{owner.name}/{await stage.bare_algorithm(owner)}"
    answer = await stage.client.call("POST", f"{path}/compile", {}, key=owner.key)
    assert answer.status == 503
    assert (await stage.by(owner, "GET", f"{path}/builds"))["results"] == []


async def test_versions_count_up_as_asked_and_are_listed_newest_first(
    stage: Stage, owner: Owner
) -> None:
    name = await stage.algorithm(owner)
    path = f"/v1/algorithms/{owner.name}/{name}"
    steps = (
        ("revision", "versions"),
        ("patch", "version"),
        ("minor", "versions"),
        ("major", "version"),
    )
    for bump, word in steps:
        await stage.by(owner, "POST", f"{path}/compile", {})
        body = {"version_info": {"version_type": bump, "release_notes": bump}, "details": {}}
        await stage.by(owner, "POST", f"{path}/{word}", body)
    seen: list[str] = []
    link = f"{path}/versions?limit=2"
    while link:
        page = await stage.by(owner, "GET", link)
        seen += [one["version_info"]["semantic_version"] for one in page["results"]]
        link = (page["next_link"] or "").removeprefix(PUBLIC_URL)
    assert seen == ["1.0.0", "0.2.0", "0.1.2", "0.1.1", "0.1.0"]
    shown = await stage.by(owner, "GET", path)
    assert shown["version_info"]["semantic_version"] == "1.0.0"
    assert shown["version_info"]["release_notes"] == "major"


async def test_publishing_the_same_build_twice_is_refused_with_its_code(
    stage: Stage, owner: Owner
) -> None:
    name = await stage.algorithm(owner)
    path = f"/v1/algorithms/{owner.name}/{name}/versions"
    answer = await stage.client.call("POST", path, {}, key=owner.key)
    assert (answer.status, answer.error["code"]) == (409, 1007)


async def test_a_repeated_publication_answers_with_its_own_version(
    stage: Stage, owner: Owner
) -> None:
    name = await stage.algorithm(owner)
    path = f"/v1/algorithms/{owner.name}/{name}"
    await stage.by(owner, "POST", f"{path}/compile", {})
    headers = {"Idempotency-Key": "publish"}
    first = await stage.client.call("POST", f"{path}/versions", {}, key=owner.key, headers=headers)
    await stage.by(owner, "POST", f"{path}/compile", {})
    await stage.by(owner, "POST", f"{path}/versions", {})
    again = await stage.client.call("POST", f"{path}/versions", {}, key=owner.key, headers=headers)
    assert first.json["version_info"]["semantic_version"] == "0.2.0"
    assert again.json["version_info"] == first.json["version_info"]


async def test_publishing_refuses_what_it_would_not_change(stage: Stage, owner: Owner) -> None:
    name = await stage.algorithm(owner)
    path = f"/v1/algorithms/{owner.name}/{name}"
    await stage.by(owner, "POST", f"{path}/compile", {})
    body = {"details": {"label": "another label"}}
    answer = await stage.client.call("POST", f"{path}/versions", body, key=owner.key)
    assert answer.status == 400
    assert "details.label" in answer.error["message"]


async def test_strangers_see_public_versions_only(stage: Stage, owner: Owner) -> None:
    stranger = await stage.owner()
    private = await stage.algorithm(owner)
    path = f"/v1/algorithms/{owner.name}/{private}"
    for what in ("", "/versions", f"/versions/{COMMIT}"):
        answer = await stage.client.call("GET", f"{path}{what}", key=stranger.key)
        assert (answer.status, answer.error["code"]) == (403, 2001)
    public = await stage.algorithm(owner, callability="public")
    path = f"/v1/algorithms/{owner.name}/{public}"
    await stage.by(owner, "POST", f"{path}/compile", {})
    body = {"settings": {"algorithm_callability": "private"}}
    await stage.by(owner, "POST", f"{path}/versions", body)
    page = await stage.by(stranger, "GET", f"{path}/versions")
    assert [one["version_info"]["semantic_version"] for one in page["results"]] == ["0.1.0"]
    shown = await stage.by(stranger, "GET", path)
    assert shown["version_info"]["semantic_version"] == "0.1.0"
    answer = await stage.client.call("GET", f"{path}/builds", key=stranger.key)
    assert answer.status == 403


async def test_nobody_changes_what_another_owns(stage: Stage, owner: Owner) -> None:
    stranger = await stage.owner()
    name = await stage.algorithm(owner, callability="public")
    path = f"/v1/algorithms/{owner.name}"
    for word, body in (
        (path, {"name": "Mine", "source": GIT}),
        (f"{path}/{name}/compile", {}),
        (f"{path}/{name}/versions", {}),
    ):
        answer = await stage.client.call("POST", word, body, key=stranger.key)
        assert (answer.status, answer.error["code"]) == (403, 2001)


async def test_a_taken_name_has_its_code(stage: Stage, owner: Owner) -> None:
    name = await stage.algorithm(owner)
    body = {"name": name, "source": GIT}
    path = f"/v1/algorithms/{owner.name}"
    answer = await stage.client.call("POST", path, body, key=owner.key)
    assert (answer.status, answer.error["code"]) == (409, 1002)
