"""Says in a sentence why a Kafka cluster cannot be used: address, TLS, SASL or metadata.

aiokafka's clients keep only "unable to bootstrap"; one plain connection keeps the cause.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from kernel.errors import (
    EventflowsError,
    InvalidInput,
    StateForbids,
    Unauthenticated,
    Unavailable,
)
from servicekit.kafka_goodbye import close_admin

from router.adapters.kafka_clients import client_settings
from router.adapters.kafka_errors import describe, kafka_errors
from router.domain.kafka_connection import KafkaConnection

CONNECT_TIMEOUT_S: Final = 8.0
METADATA_TIMEOUT_S: Final = 12.0
CLOSE_TIMEOUT_S: Final = 2.0
CLIENT_ID: Final = "eventflows-probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a probe found. `problem` is empty exactly if `connected`."""

    connected: bool
    problem: str = ""
    brokers: int = 0
    topics: int = 0
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicListing:
    """A topic and how many partitions it has."""

    name: str
    partitions: int


async def probe(connection: KafkaConnection) -> ProbeReport:
    """Connect, authenticate, ask for metadata. A broker that refuses is an answer, not an error."""
    began_s = time.monotonic()
    try:
        problem = await diagnose(connection)
        if problem is not None:
            raise problem
        async with _admin(connection) as admin:
            brokers = len((await admin.describe_cluster())["brokers"])
            topics = len(_outer(await admin.list_topics()))
    except EventflowsError as error:
        duration_s = time.monotonic() - began_s
        return ProbeReport(connected=False, problem=error.message, duration_s=duration_s)
    duration_s = time.monotonic() - began_s
    return ProbeReport(connected=True, brokers=brokers, topics=topics, duration_s=duration_s)


async def list_topics(connection: KafkaConnection) -> tuple[TopicListing, ...]:
    """Topics that the user may describe, by name, without Kafka's own. Raises StateForbids."""
    try:
        problem = await diagnose(connection)
        if problem is not None:
            raise problem
        async with _admin(connection) as admin:
            topics = await admin.describe_topics()
    except EventflowsError as error:
        raise StateForbids(error.message) from error
    return tuple(
        TopicListing(name=topic["topic"], partitions=len(topic["partitions"]))
        for topic in sorted(topics, key=lambda topic: str(topic["topic"]))
        if not topic["is_internal"] and not topic["error_code"]
    )


async def diagnose(connection: KafkaConnection) -> EventflowsError | None:
    """None if one of the servers lets us in; else what is wrong with the first of them."""
    try:
        settings = client_settings(connection, client_id=CLIENT_ID)
    except InvalidInput as error:
        return error
    servers = settings.pop("bootstrap_servers")
    settings["max_idle_ms"] = settings.pop("connections_max_idle_ms")
    settings["request_timeout_ms"] = int(CONNECT_TIMEOUT_S * 1000)
    problems = await asyncio.gather(
        *(_try_server(connection, server, settings) for server in servers)
    )
    return None if None in problems or not problems else problems[0]


async def _try_server(
    connection: KafkaConnection, server: str, settings: dict[str, Any]
) -> EventflowsError | None:
    host, _, port = server.rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await (await create_conn(host.strip("[]"), int(port), **settings)).close()
    except (errors.KafkaError, OSError, TimeoutError, ValueError) as error:
        problem = _explain(error, connection, server)
        problem.__cause__ = error
        return problem
    return None


def _explain(error: Exception, connection: KafkaConnection, server: str) -> EventflowsError:
    """The step that failed, and what to do about it. The most special kinds come first."""
    match error:
        case socket.gaierror():
            return Unavailable(f"{server}: the host name cannot be resolved; check its spelling")
        case ssl.SSLCertVerificationError():
            return Unavailable(
                f"{server}: TLS: the broker's certificate is not trusted "
                f"({error.verify_message}); give the CA certificate that signed it"
            )
        case ssl.SSLError():
            return Unavailable(
                f"{server}: TLS: the handshake failed ({error.reason}); does this port speak TLS?"
            )
        case ConnectionRefusedError():
            return Unavailable(f"{server}: nothing listens there; check address and port")
        case TimeoutError():
            return Unavailable(
                f"{server}: no answer in {CONNECT_TIMEOUT_S:g} s; check the firewall"
            )
        case errors.SaslAuthenticationFailed():
            return Unauthenticated(
                f"{server}: SASL: the broker refused the user name or the password "
                f"({connection.sasl_mechanism})"
            )
        case errors.UnsupportedSaslMechanismError():
            return Unauthenticated(
                f"{server}: SASL: the broker does not offer {connection.sasl_mechanism}"
            )
        case errors.KafkaConnectionError() | ConnectionError():
            hint = "does it expect TLS on this port?"
            if connection.security_protocol.name.endswith("SSL"):
                shown = "another" if connection.client_certificate else "a"
                hint = f"does it speak TLS on this port, or ask for {shown} client certificate?"
            return Unavailable(f"{server}: the connection was closed at once; {hint}")
        case errors.KafkaError():
            return Unavailable(f"{server}: {describe(error)}")
        case OSError():
            return Unavailable(f"{server}: {error.strerror or type(error).__name__}")
        case _:
            return InvalidInput(f"{server}: servers are given as host:port")


@asynccontextmanager
async def _admin(connection: KafkaConnection) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client of the whole cluster: its brokers must be reachable at what they call themselves."""
    settings = client_settings(connection, client_id=CLIENT_ID)
    settings["request_timeout_ms"] = int(CONNECT_TIMEOUT_S * 1000)
    admin = AIOKafkaAdminClient(**settings)
    try:
        with kafka_errors(
            "the cluster lets us in, but a broker does not answer at its own address"
        ):
            async with asyncio.timeout(METADATA_TIMEOUT_S):
                await admin.start()
                yield admin
    finally:
        await close_admin(admin, wait_s=CLOSE_TIMEOUT_S)


def _outer(topics: list[str]) -> list[str]:
    return [topic for topic in topics if not topic.startswith("__")]
