"""One stage for all unit tests of the gateway; each test makes accounts of its own on it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.unit.gateway.stage import Owner, Stage, StageOwner


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_stage() -> AsyncIterator[Stage]:
    """The stage itself; use `stage`, which forgets what a test told the peers."""
    owner = StageOwner()
    yield await owner.open()
    await owner.close()


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    """A gateway on a registry in memory, with a router and a runner that answer."""
    shared_stage.router.__init__()  # type: ignore[misc]  # back to the defaults
    shared_stage.runner.__init__()  # type: ignore[misc]
    return shared_stage


@pytest_asyncio.fixture(loop_scope="session")
async def owner(stage: Stage) -> Owner:
    """A user with a standard key, of this test alone."""
    return await stage.owner()
