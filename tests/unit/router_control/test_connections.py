"""From a connection's id to what a client needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from catalog.errors import SECRET_GONE
from catalog.events import ConnectionUpdated, SecretRef, SecurityProtocol
from kernel.errors import EventflowsError, NotFound
from router.adapters import kafka_probe
from router.application import connections as module
from router.application.connections import Connections
from router.control_ports import BrokerLogin
from router.domain.errors import CredentialsMissing
from router.domain.flow_spec import INTERNAL_CONNECTION
from router.domain.kafka_connection import KafkaConnection

from tests.support.event_log import EventLog, id_of

INTERNAL = KafkaConnection(connection_id=INTERNAL_CONNECTION, bootstrap_servers=("kafka:9092",))


class LateFeed:
    """A catalog that has read nothing until `tell`."""

    def __init__(self, log: EventLog) -> None:
        self.catalog = EventLog().catalog()
        self._log = log
        self._told = asyncio.Event()
        self.awaited = asyncio.Event()

    def tell(self) -> None:
        for recorded in self._log.recorded[self.catalog.position :]:
            self.catalog.apply(recorded)
        self._told.set()

    async def changes(self) -> AsyncIterator[int]:
        self.awaited.set()
        await self._told.wait()
        yield self.catalog.position
        await asyncio.Event().wait()


class Vault:
    """Knows one login."""

    def __init__(self) -> None:
        self.read_ids: list[tuple[str, str]] = []
        self.refusal: EventflowsError | None = None

    async def read(self, *, stream_id: str, secret: SecretRef) -> BrokerLogin:
        self.read_ids.append((stream_id, secret.secret_id))
        if self.refusal is not None:
            raise self.refusal
        return BrokerLogin(username="user", password="secret word", client_key="secret key")


def connections_of(feed: LateFeed, vault: Vault) -> Connections:
    return Connections(feed=feed, credentials=vault, internal=INTERNAL, probe=kafka_probe)


async def test_our_own_kafka_needs_neither_catalog_nor_vault() -> None:
    vault = Vault()
    resolved = await connections_of(LateFeed(EventLog()), vault).resolve(INTERNAL_CONNECTION)
    assert resolved is INTERNAL
    assert vault.read_ids == []


async def test_a_secured_connection_comes_with_its_login_and_hides_it() -> None:
    log = EventLog()
    log.connection("cluster", secured=True)
    feed, vault = LateFeed(log), Vault()
    feed.tell()
    resolved = await connections_of(feed, vault).resolve(id_of("cluster"))
    assert (resolved.username, resolved.password) == ("user", "secret word")
    assert resolved.sasl_mechanism == "SCRAM-SHA-512"
    assert vault.read_ids == [(id_of("cluster"), id_of("cluster secret"))]
    assert "secret word" not in repr(resolved)
    assert "secret word" not in repr(BrokerLogin(username="user", password="secret word"))


async def test_a_client_certificate_comes_with_its_key_and_none_without() -> None:
    log = EventLog()
    log.connection("cluster", secured=True)
    known = log.catalog().connection(id_of("cluster"))
    assert known is not None
    feed, vault = LateFeed(log), Vault()
    feed.tell()
    assert (await connections_of(feed, vault).resolve(id_of("cluster"))).client_key == ""
    log.add(
        id_of("cluster"),
        ConnectionUpdated(
            connection_id=id_of("cluster"),
            name="cluster",
            bootstrap_servers=known.bootstrap_servers,
            security_protocol=SecurityProtocol.SSL,
            client_certificate="a certificate",
            credentials=known.credentials,
        ),
    )
    feed.tell()
    resolved = await connections_of(feed, vault).resolve(id_of("cluster"))
    assert (resolved.client_certificate, resolved.client_key) == ("a certificate", "secret key")
    assert resolved.security_protocol is SecurityProtocol.SSL
    assert "secret key" not in repr(resolved)


async def test_a_plain_connection_asks_the_vault_for_nothing() -> None:
    log = EventLog()
    log.connection("cluster")
    feed, vault = LateFeed(log), Vault()
    feed.tell()
    assert (await connections_of(feed, vault).resolve(id_of("cluster"))).password == ""
    assert vault.read_ids == []


async def test_a_connection_that_the_log_tells_of_a_moment_later_is_waited_for() -> None:
    log = EventLog()
    log.connection("cluster")
    feed = LateFeed(log)
    asked = asyncio.ensure_future(connections_of(feed, Vault()).resolve(id_of("cluster")))
    await feed.awaited.wait()
    feed.tell()
    assert (await asked).connection_id == id_of("cluster")


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_connection_that_nobody_knows_is_not_found(
    monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    monkeypatch.setattr(module, "FOLLOW_WAIT_S", 0.01)
    log = EventLog()
    feed = LateFeed(log)
    if deleted:
        log.connection("cluster")
        log.delete_connection("cluster")
        feed.tell()
    with pytest.raises(NotFound, match=id_of("cluster")):
        await connections_of(feed, Vault()).resolve(id_of("cluster"))


async def test_a_secret_that_the_vault_lost_is_told_with_what_to_do() -> None:
    log = EventLog()
    log.connection("cluster", secured=True)
    feed, vault = LateFeed(log), Vault()
    feed.tell()
    vault.refusal = NotFound("the vault does not hold this secret", code=SECRET_GONE)
    with pytest.raises(CredentialsMissing, match="cluster has no credentials: let an admin enter"):
        await connections_of(feed, vault).resolve(id_of("cluster"))


async def test_a_secret_that_was_just_replaced_is_no_reason_to_be_blocked() -> None:
    log = EventLog()
    log.connection("cluster", secured=True)
    feed, vault = LateFeed(log), Vault()
    feed.tell()
    vault.refusal = NotFound("no connection or listener has this secret: read the catalog again")
    with pytest.raises(NotFound) as caught:
        await connections_of(feed, vault).resolve(id_of("cluster"))
    assert not isinstance(caught.value, CredentialsMissing)
