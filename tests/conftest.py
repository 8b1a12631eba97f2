"""Real servers, one of each kind for the whole run, started when the first test asks for them.

Tests that kill or stop a server start their own. The data is shared too: make a database with
`create_database`, and topics with names of your own.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from devstack import Kafka, Postgres

_ROOT = Path(__file__).parent
_LONGEST_FIRST = (
    "e2e",
    "integration/router_control",
    "integration/registry",
    "integration/cli",
    "integration/chaos",
    "integration/runner",
    "integration/relay",
    "integration/gateway",
    "integration",
    "ports",
    "property",
    "fault",
)
"""Folders in the order of their start, when several processes share the run (`make test`): the
longest first, so that none is left alone at the end. What is not named comes after them."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each folder's tests in one process, because they share servers, and sort the folders."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=_rank)


def _folder(item: pytest.Item) -> str:
    return item.path.parent.relative_to(_ROOT).as_posix()


def _group(item: pytest.Item) -> str:
    """`e2e`, `ports/target`, `unit/cli`: two levels."""
    return "/".join(_folder(item).split("/")[:2])


def _rank(item: pytest.Item) -> tuple[int, str]:
    folder = _folder(item)
    for number, name in enumerate(_LONGEST_FIRST):
        if f"{folder}/".startswith(f"{name}/"):
            return number, _group(item)
    return len(_LONGEST_FIRST), _group(item)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres() -> AsyncIterator[Postgres]:
    """PostgreSQL: ours, or the one that EVENTFLOWS_DEVSTACK_POSTGRES_DSN names."""
    server = Postgres.from_environment()
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka() -> AsyncIterator[Kafka]:
    """Our internal Kafka: PLAINTEXT, records of 24 MiB."""
    server = Kafka(name="kafka")
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def customer_kafka() -> AsyncIterator[Kafka]:
    """A customer's Kafka: SCRAM-SHA-512 over TLS, Kafka's own limits."""
    server = Kafka(name="customer-kafka", security="SASL_SSL")
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
