"""One whole cluster for all end-to-end tests: real brokers, our services as processes, two workers.

Tests use the public REST API and ordinary Kafka clients only. Each makes topics and algorithms of
its own. Every answer is kept, so that the last test can search all of them for secrets.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from devstack.cluster import Cluster
from devstack.rest import Rest

from examples.demo import steps

OWNER = "acme"
ECHO = Path(__file__).parent.parent / "support" / "algorithms" / "echo"


class KeepingRest(Rest):
    """Remembers every answer, headers and text."""

    def __init__(self, url: str, key: str | None, kept: list[str]) -> None:
        super().__init__(url, key)
        self._kept = kept

    def seen(self, headers: Mapping[str, str], text: str) -> None:
        self._kept += [*(f"{name}: {value}" for name, value in headers.items()), text]


@dataclass(slots=True, kw_only=True)
class Landscape:
    """A running cluster with an admin, an owner and a connection to the customer's Kafka."""

    cluster: Cluster
    admin: Rest
    owner: Rest
    user_id: str
    connection: str
    keys: list[str]
    answers: list[str]
    _numbers: Any = field(default_factory=count)

    async def algorithm(self, folder: Path) -> tuple[str, str]:
        """A new published copy of `echo`: (owner/name, version). Its environment is built once."""
        name = f"echo{next(self._numbers)}"
        source = folder / "source"
        shutil.copytree(ECHO, source)
        (source / "src" / "echo.py").rename(source / "src" / f"{name}.py")
        conf = source / "algorithmia.conf"
        conf.write_text(conf.read_text().replace('"echo"', f'"{name}"'))
        url = await steps.make_repository(source, folder / name)
        version = await steps.publish_algorithm(
            self.owner, owner=OWNER, name=name, source={"git_url": url}
        )
        return f"{OWNER}/{name}", version

    async def topic(self, name: str, partitions: int = 4) -> str:
        """A new topic of the customer's Kafka, with a number behind its name."""
        topic = f"{name}-{next(self._numbers)}"
        await self.cluster.customer_kafka.create_topic(topic, partitions=partitions)
        return topic

    async def wire(
        self, algorithm: str, version: str, topic: str, api_type: str, **settings: Any
    ) -> str:
        """Grant and enable one flow; returns its id."""
        await steps.grant(
            self.admin, connection=self.connection, topic=topic, algorithms={algorithm: api_type}
        )
        return await steps.enable(
            self.owner, algorithm, topic=topic, api_type=api_type, version=version, **settings
        )

    async def running(self, algorithm: str, *ids: str) -> list[steps.Flow]:
        """Wait until these flows run."""
        return await steps.wait_for_flows(self.owner, algorithm, steps.is_running, ids=ids)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def landscape() -> AsyncIterator[Landscape]:
    """The cluster, ready for tests."""
    async with Cluster(routers=2) as cluster:
        admin_key = await cluster.first_admin()
        answers: list[str] = []
        async with KeepingRest(cluster.rest_url, admin_key, answers) as admin:
            user_id, owner_key = await steps.make_account(admin, OWNER)
            async with KeepingRest(cluster.rest_url, owner_key, answers) as owner:
                connection = await steps.connect_kafka(
                    admin, cluster.customer_kafka, name="customer"
                )
                yield Landscape(
                    cluster=cluster,
                    admin=admin,
                    owner=owner,
                    user_id=user_id,
                    connection=connection,
                    keys=[admin_key, owner_key],
                    answers=answers,
                )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the test's repositories."""
    return tmp_path
