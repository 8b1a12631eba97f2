"""Builds: from a git URL at a commit, whole or not at all; on demand where they are missing."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
from pathlib import Path

import pytest
from runner.adapters.git_builder import GitBuilder
from runner.adapters.memory_completions import MemoryCompletions
from runner.domain.limits import BUILD_LOG_BYTES_MAX

from tests.integration.runner.algorithms import LEGACY, PROBE, REQUIREMENTS, commit, git, repository
from tests.integration.runner.world import World, runner_world

PACKAGE = {
    "requirements.txt": "./tool\n",
    "tool/pyproject.toml": """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
""",
    "tool/backend.py": """
import json, os, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with open("{seen}", "w") as file:
        json.dump(dict(os.environ), file)
    name = "tool-1.0-py3-none-any.whl"
    told = "tool-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("tool.py", "")
        wheel.writestr(told + "/METADATA", "Metadata-Version: 2.1\\nName: tool\\nVersion: 1.0\\n")
        wheel.writestr(told + "/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\n"
                       "Root-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(told + "/RECORD", "tool.py,,\\n")
    return name
""",
}
"""A requirement whose build script writes down the environment that it finds, in `{seen}`."""
SSH = """#!/bin/sh
env > "{seen}"
exit 255
"""
"""In the place of ssh: writes down the environment, and reaches no host."""
SECRETS = {
    "UV_PUBLISH_TOKEN": "secret-1",
    "UV_PUBLISH_PASSWORD": "secret-2",
    "UV_INDEX_INTERNAL_PASSWORD": "secret-3",
    "UV_KEYRING_PROVIDER": "disabled",
    "EVENTFLOWS_RUNNER_SERVICE_TOKEN_FILE": "secret-4",
    "AWS_SECRET_ACCESS_KEY": "secret-5",
}


async def test_an_empty_commit_means_the_head_of_the_default_branch(
    world: World, tmp_path: Path
) -> None:
    url = repository(tmp_path / "head", "head", LEGACY)
    newest = commit(tmp_path / "head", {"note.txt": "new"})
    report = await world.build(world.registry.add_algorithm("head", url))
    assert report.succeeded, report.log_tail
    assert report.commit_sha == newest
    assert report.started_at <= report.finished_at


async def test_an_older_commit_is_built_as_it_was(world: World, tmp_path: Path) -> None:
    url = repository(tmp_path / "older", "older", LEGACY)
    first = git(tmp_path / "older", "rev-parse", "HEAD")
    commit(tmp_path / "older", {"src/older.py": "raise SystemExit('newer')"})
    algorithm_id = world.registry.add_algorithm("older", url)
    report = await world.build(algorithm_id, first)
    assert (report.succeeded, report.commit_sha) == (True, first)
    world.registry.publish(algorithm_id, first)
    assert (await world.run("older", json="ran")).json["result"] == "ran"


async def test_a_build_again_is_answered_at_once(world: World, tmp_path: Path) -> None:
    algorithm_id = world.registry.add_algorithm(
        "again", repository(tmp_path / "again", "again", LEGACY)
    )
    first = await world.build(algorithm_id)
    shutil.rmtree(tmp_path / "again")
    second = await world.build(algorithm_id, first.commit_sha)
    assert second.succeeded
    assert "built already" in second.log_tail


async def test_two_builds_of_one_commit_at_the_same_time_are_one(
    world: World, tmp_path: Path
) -> None:
    algorithm_id = world.registry.add_algorithm(
        "twice", repository(tmp_path / "twice", "twice", LEGACY)
    )
    first, second = await asyncio.gather(world.build(algorithm_id), world.build(algorithm_id))
    assert first is second
    assert first.succeeded


async def test_the_same_requirements_share_an_environment(world: World, tmp_path: Path) -> None:
    url = repository(tmp_path / "share", "share", PROBE, REQUIREMENTS)
    report = await world.build(world.registry.add_algorithm("share", url))
    assert report.succeeded, report.log_tail
    assert "The environment of the same requirements.txt is used." in report.log_tail


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"algorithmia.conf": "no"}, "algorithmia.conf is wrong"),
        ({"algorithmia.conf": '{"algoname": "../x"}'}, "is not a module name"),
        ({"algorithmia.conf": '{"algoname": "other"}'}, "src/other.py is missing"),
        ({"src/faulty.py": "import not_there"}, "No module named 'not_there'"),
        ({"src/faulty.py": "x = 1"}, "neither calls ADK"),
        ({"requirements.txt": "not a requirement!"}, "uv pip failed with exit code"),
        ({"requirements.txt": "algorithmia-adk==1.2.4"}, "add `algorithmia` to requirements.txt"),
    ],
)
async def test_a_faulty_source_is_a_failed_build_that_says_why(
    world: World, tmp_path: Path, files: dict[str, str], sentence: str
) -> None:
    url = repository(tmp_path / "faulty", "faulty", LEGACY)
    commit(tmp_path / "faulty", files)
    report = await world.build(world.registry.add_algorithm(tmp_path.name, url))
    assert not report.succeeded
    assert sentence in report.log_tail
    assert len(report.log_tail.encode()) <= BUILD_LOG_BYTES_MAX


@pytest.mark.parametrize("url", ["ext::sh -c touch% /tmp/x", "http://example.org/x", "/etc", "-x"])
async def test_a_source_that_is_no_https_ssh_or_file_url_is_not_given_to_git(
    world: World, url: str
) -> None:
    report = await world.build(world.registry.add_algorithm(f"evil{len(url)}", url))
    assert not report.succeeded
    assert "The source must be a URL" in report.log_tail


async def test_a_password_in_the_url_is_not_in_the_log(world: World, tmp_path: Path) -> None:
    url = f"file://user:hunter2secret@{tmp_path}/nothing"
    report = await world.build(world.registry.add_algorithm("password", url))
    assert not report.succeeded
    assert "hunter2secret" not in report.log_tail


async def test_a_commit_that_is_not_there_is_a_failed_build(world: World, tmp_path: Path) -> None:
    url = repository(tmp_path / "gone", "gone", LEGACY)
    report = await world.build(world.registry.add_algorithm("gone", url), "0" * 40)
    assert not report.succeeded
    assert "git" in report.log_tail


async def test_a_failed_build_leaves_nothing(world: World, tmp_path: Path) -> None:
    url = repository(tmp_path / "nothing", "nothing", "raise SystemExit(1)")
    algorithm_id = world.registry.add_algorithm("nothing", url)
    assert not (await world.build(algorithm_id)).succeeded
    assert list((world.settings.data_dir / "builds" / algorithm_id).iterdir()) == []


async def test_a_build_above_its_time_limit_fails_and_ends_its_programs(
    environments: Path, tmp_path: Path
) -> None:
    code = LEGACY + "\nimport time\ntime.sleep(600)\n"
    async with runner_world(
        tmp_path, MemoryCompletions(), environments=environments, build_timeout_s=3.0
    ) as world:
        url = repository(tmp_path / "slow", "slow", code)
        report = await world.build(world.registry.add_algorithm("slow", url))
        assert not report.succeeded
        assert "took longer than 3 seconds" in report.log_tail
        assert list((world.settings.data_dir / "homes").iterdir()) == []


async def test_a_build_script_sees_no_secret_of_the_runner(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**SECRETS, "SSH_AUTH_SOCK": "agent", "UV_HTTP_TIMEOUT": "77"}.items():
        monkeypatch.setenv(name, value)
    seen = tmp_path / "seen.json"
    url = repository(tmp_path / "scripted", "scripted", LEGACY)
    commit(
        tmp_path / "scripted",
        {path: text.replace("{seen}", str(seen)) for path, text in PACKAGE.items()},
    )
    report = await world.build(world.registry.add_algorithm("scripted", url))
    assert report.succeeded, report.log_tail
    found = json.loads(seen.read_text())
    assert found["UV_HTTP_TIMEOUT"] == "77", "what uv needs reaches it"
    assert not (set(SECRETS) | {"SSH_AUTH_SOCK"}) & set(found)
    assert not {name for name in found if name.startswith("EVENTFLOWS_")}
    assert not set(SECRETS.values()) & set(found.values())


async def test_git_has_the_ssh_agent_and_nothing_of_uv(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, ssh = tmp_path / "seen", tmp_path / "ssh"
    ssh.write_text(SSH.replace("{seen}", str(seen)))
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in {**SECRETS, "SSH_AUTH_SOCK": "agent", "UV_HTTP_TIMEOUT": "77"}.items():
        monkeypatch.setenv(name, value)
    algorithm_id = world.registry.add_algorithm("by-ssh", "ssh://git@example.org/by-ssh")
    assert not (await world.build(algorithm_id)).succeeded
    found = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert found["SSH_AUTH_SOCK"] == "agent"
    assert not {name for name in found if name.startswith(("UV_", "EVENTFLOWS_", "AWS_"))}


async def test_the_locks_of_environments_are_not_kept(environments: Path, tmp_path: Path) -> None:
    url = repository(tmp_path / "locks", "locks", LEGACY)
    async with runner_world(tmp_path, MemoryCompletions(), environments=environments) as world:
        report = await world.build(world.registry.add_algorithm("locks", url))
        assert report.succeeded, report.log_tail
        gc.collect()
        builders = [one for one in gc.get_objects() if isinstance(one, GitBuilder)]
        assert builders
        assert all(len(one._environment_locks) == 0 for one in builders)


async def test_a_version_that_this_host_has_not_built_is_built_on_demand(
    world: World, tmp_path: Path
) -> None:
    url = repository(tmp_path / "demand", "demand", LEGACY)
    algorithm_id = world.registry.add_algorithm("demand", url)
    world.registry.publish(algorithm_id, git(tmp_path / "demand", "rev-parse", "HEAD"))
    assert (await world.run("demand", json="ran")).json["result"] == "ran"


async def test_a_version_that_cannot_be_built_here_is_503(world: World, tmp_path: Path) -> None:
    algorithm_id = world.registry.add_algorithm("lost", (tmp_path / "lost").as_uri())
    world.registry.publish(algorithm_id, "1" * 40)
    answer = await world.run("lost", json={})
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "1"
    assert "could not be built" in answer.json["error"]["message"]


async def test_a_restarted_runner_finds_its_builds_and_removes_unfinished_ones(
    environments: Path, tmp_path: Path
) -> None:
    url = repository(tmp_path / "kept", "kept", LEGACY)
    async with runner_world(tmp_path, MemoryCompletions(), environments=environments) as world:
        algorithm_id = world.registry.add_algorithm("kept", url)
        report = await world.build(algorithm_id)
    shutil.rmtree(tmp_path / "kept")
    left = tmp_path / "data" / "builds" / algorithm_id / ".unfinished-x"
    left.mkdir()
    async with runner_world(tmp_path, MemoryCompletions(), environments=environments) as world:
        again = world.registry.add_algorithm("kept", url)
        (tmp_path / "data" / "builds" / algorithm_id).rename(tmp_path / "data" / "builds" / again)
        world.registry.publish(again, report.commit_sha)
        assert (await world.run("kept", json="ran")).json["result"] == "ran"
    assert not left.exists()
