"""Real servers, one of each kind for the whole run, started when the first test asks for them.

Tests that kill or stop a server start their own. The data is shared too: make a database with
`create_database`, and topics with names of your own.
"""

from collections.abc import AsyncIterator

import pytest_asyncio
from devstack import Kafka, Postgres


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
