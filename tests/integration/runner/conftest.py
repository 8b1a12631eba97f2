"""One runner with one built probe algorithm for the whole run: its environment is built once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from runner.adapters.memory_completions import MemoryCompletions

from tests.integration.runner.algorithms import PROBE, REQUIREMENTS, repository
from tests.integration.runner.world import World, runner_world


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the environment of REQUIREMENTS is, once it is built."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="session")
def probe_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The probe's repository."""
    folder = tmp_path_factory.mktemp("authors") / "probe"
    return repository(folder, "probe", PROBE, REQUIREMENTS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(
    tmp_path_factory: pytest.TempPathFactory, environments: Path, probe_url: str
) -> AsyncIterator[World]:
    """A runner with `acme/probe` 1.0.0, two processes at most."""
    async with runner_world(
        tmp_path_factory.mktemp("runner"),
        MemoryCompletions(),
        environments=environments,
        processes_per_version_max=2,
    ) as started:
        await published_probe(started, probe_url)
        yield started


async def published_probe(world: World, url: str, name: str = "probe") -> str:
    """Builds and publishes the probe; gives its algorithm id."""
    algorithm_id = world.registry.add_algorithm(name, url)
    report = await world.build(algorithm_id)
    assert report.succeeded, report.log_tail
    world.registry.publish(algorithm_id, report.commit_sha)
    return algorithm_id
