"""Commands over the memory adapters: old knowledge costs a second look, never a wrong answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from catalog.events import AccountKind, KeyType, SecretRef, SecurityProtocol, SourceKind
from kernel.errors import AlreadyExists, NotFound, StateForbids, Unavailable, VersionConflict
from prometheus_client import CollectorRegistry
from registry.adapters.envelope import Envelope
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.memory_vault import MemoryVault
from registry.application import checks
from registry.application.commands import CommandContext, Request
from registry.application.vault_steps import NewSecret
from registry.bootstrap import Registry
from registry.domain import aggregates
from registry.domain.account import CreateAccount, CreateApiKey, RevokeApiKey
from registry.domain.aggregates import Aggregate
from registry.domain.algorithm import CreateAlgorithm
from registry.domain.connection import CreateConnection, DeleteConnection
from registry.ports.event_store import Append, Outcome

from tests.support.event_log import id_of

TIMEOUT_S = 10.0
ACCOUNT = id_of("acme")


@asynccontextmanager
async def _process(store: MemoryEventStore, vault: MemoryVault) -> AsyncIterator[Registry]:
    """One registry process; several may share a store."""
    registry = Registry.over(store, vault, collector=CollectorRegistry())
    async with asyncio.timeout(TIMEOUT_S), registry.running():
        yield registry


@pytest.fixture
def store() -> MemoryEventStore:
    return MemoryEventStore()


@pytest.fixture
def vault() -> MemoryVault:
    return MemoryVault(Envelope(bytes(32)))


def _context(**fields: Any) -> CommandContext:
    given = {"command_id": str(uuid4()), "request_hash": bytes(32), "actor": "service:operator"}
    return CommandContext(**{**given, **fields})


def _request(aggregate: Aggregate, stream_id: str, command: Any, **fields: Any) -> Request:
    given = {"context": _context(), **fields}
    return Request(aggregate=aggregate, stream_id=stream_id, command=command, **given)


def _account(**fields: Any) -> Request:
    command = CreateAccount(
        account_id=ACCOUNT, kind=AccountKind.USER, username="acme", email="a@example.test"
    )
    return _request(aggregates.ACCOUNT, ACCOUNT, command, **fields)


def _key(name: str, **fields: Any) -> Request:
    command = CreateApiKey(
        account_id=ACCOUNT,
        key_id=id_of(name),
        label=name,
        key_type=KeyType.STANDARD,
        key_sha256=sha256(name.encode()).digest(),
        mask="sim",
    )
    return _request(aggregates.ACCOUNT, ACCOUNT, command, **fields)


def _connection(vault: MemoryVault, password: bytes) -> tuple[Request, NewSecret]:
    connection_id = id_of("connection")
    secret = NewSecret(secret_id=str(uuid4()), field="credentials", plain=password)
    fingerprint = vault.fingerprint(stream_id=connection_id, field="credentials", secret=password)
    command = CreateConnection(
        connection_id=connection_id,
        name="cluster",
        bootstrap_servers=("kafka:9093",),
        security_protocol=SecurityProtocol.SASL_SSL,
        sasl_mechanism="PLAIN",
        credentials=SecretRef(secret_id=secret.secret_id, fingerprint=fingerprint),
    )
    return _request(aggregates.CONNECTION, connection_id, command, secret=secret), secret


async def test_many_commands_on_one_stream_all_happen(
    store: MemoryEventStore, vault: MemoryVault
) -> None:
    async with _process(store, vault) as one, _process(store, vault) as other:
        await one.commands.execute(_account())
        requests = [_key(f"key {number}") for number in range(8)]
        results = await asyncio.gather(
            *(
                process.commands.execute(request)
                for process, request in zip([one, other] * 4, requests, strict=True)
            )
        )
    assert sorted(result.version for result in results) == list(range(2, 10))


async def test_what_another_process_did_is_seen(
    store: MemoryEventStore, vault: MemoryVault
) -> None:
    async with _process(store, vault) as one, _process(store, vault) as other:
        with pytest.raises(NotFound):
            await other.commands.execute(_key("early"))
        await one.commands.execute(_account())
        assert (await other.commands.execute(_key("key"))).version == 2
        revoke = RevokeApiKey(account_id=ACCOUNT, key_id=id_of("key"))
        await one.commands.execute(_request(aggregates.ACCOUNT, ACCOUNT, revoke))
        again = await other.commands.execute(_request(aggregates.ACCOUNT, ACCOUNT, revoke))
        assert (again.changed, again.version) == (False, 3)
        algorithm = CreateAlgorithm(
            algorithm_id=id_of("echo"),
            owner_id=ACCOUNT,
            owner_name="",
            name="Echo",
            source_kind=SourceKind.GIT,
            source_url="file:///srv/echo",
        )
        request = _request(aggregates.ALGORITHM, id_of("echo"), checks.create_algorithm(algorithm))
        assert (await other.commands.execute(request)).changed
        await other.projection.reach_head()
        assert other.projection.catalog.algorithm_named("acme", "Echo") is not None


async def test_a_command_without_effect_is_remembered_too(
    store: MemoryEventStore, vault: MemoryVault
) -> None:
    revoke = RevokeApiKey(account_id=ACCOUNT, key_id=id_of("key"))
    async with _process(store, vault) as process:
        await process.commands.execute(_account())
        await process.commands.execute(_key("key"))
        await process.commands.execute(_request(aggregates.ACCOUNT, ACCOUNT, revoke))
        nothing = _request(aggregates.ACCOUNT, ACCOUNT, revoke)
        first = await process.commands.execute(nothing)
        again = await process.commands.execute(nothing)
    assert (first.changed, first.replayed) == (False, False)
    assert (again.changed, again.replayed) == (False, True)
    assert again.position == first.position >= 3


async def test_the_callers_expected_version_is_not_tried_again(
    store: MemoryEventStore, vault: MemoryVault
) -> None:
    async with _process(store, vault) as one, _process(store, vault) as other:
        await one.commands.execute(_account())
        await other.commands.execute(_key("a"))
        with pytest.raises(VersionConflict, match="at version 2, not 1"):
            await one.commands.execute(_key("b", context=_context(expected_version=1)))
        assert (
            await one.commands.execute(_key("b", context=_context(expected_version=2)))
        ).version == 3


async def test_a_repeat_is_answered_even_when_its_expected_version_is_past(
    store: MemoryEventStore, vault: MemoryVault
) -> None:
    async with _process(store, vault) as process:
        await process.commands.execute(_account())
        key = _key("a", context=_context(expected_version=1))
        first = await process.commands.execute(key)
        again = await process.commands.execute(key)
    assert (again.replayed, again.version, again.position) == (True, first.version, first.position)


async def test_a_used_command_id_is_refused_for_another_request(
    store: MemoryEventStore, vault: MemoryVault
) -> None:
    context = _context()
    async with _process(store, vault) as process:
        await process.commands.execute(_account(context=context))
        reused = _context(command_id=context.command_id, request_hash=b"\x01" * 32)
        with pytest.raises(StateForbids) as caught:
            await process.commands.execute(_key("a", context=reused))
    assert caught.value.code == 9011


async def test_a_refused_command_leaves_no_secret(
    store: MemoryEventStore, vault: MemoryVault
) -> None:
    async with _process(store, vault) as process:
        first, secret = _connection(vault, b"password")
        await process.commands.execute(first)
        again, same_secret = _connection(vault, b"password")
        assert not (await process.commands.execute(again)).changed
        other, other_secret = _connection(vault, b"another")
        with pytest.raises(AlreadyExists):
            await process.commands.execute(other)
        replayed = await process.commands.execute(first)
        assert replayed.replayed
        entries = await vault.older(than_s=-1.0, after="", limit=10)
    assert [(entry.secret_id, entry.used) for entry in entries] == [(secret.secret_id, True)]
    assert same_secret.secret_id != other_secret.secret_id


async def test_a_vault_that_cannot_be_reached_stops_the_command_before_the_log(
    store: MemoryEventStore, vault: MemoryVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(**_: object) -> None:
        raise Unavailable("the vault is away")

    monkeypatch.setattr(vault, "put", away)
    async with _process(store, vault) as process:
        request, _ = _connection(vault, b"password")
        with pytest.raises(Unavailable):
            await process.commands.execute(request)
    assert (await store.head()).position == 0


async def test_a_vault_that_fails_after_the_log_does_not_undo_the_command(
    store: MemoryEventStore, vault: MemoryVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_secret_id: str) -> None:
        raise Unavailable("the vault is away")

    with monkeypatch.context() as patch:
        patch.setattr(vault, "mark_used", away)
        async with _process(store, vault) as process:
            request, secret = _connection(vault, b"password")
            assert (await process.commands.execute(request)).changed
    registry = Registry.over(store, vault, collector=CollectorRegistry(), pending_max_s=-1.0)
    await registry.upkeep.sweep()
    (entry,) = await vault.older(than_s=-1.0, after="", limit=10)
    assert (entry.secret_id, entry.used) == (secret.secret_id, True)
    read = await registry.credentials.read(stream_id=request.stream_id, secret_id=secret.secret_id)
    assert read == b"password"


async def test_the_sweep_shreds_what_a_deletion_left(
    store: MemoryEventStore, vault: MemoryVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_stream_id: str) -> None:
        raise Unavailable("the vault is away")

    async with _process(store, vault) as process:
        request, secret = _connection(vault, b"password")
        await process.commands.execute(request)
        with monkeypatch.context() as patch:
            patch.setattr(vault, "shred", away)
            delete = DeleteConnection(connection_id=request.stream_id)
            await process.commands.execute(
                _request(aggregates.CONNECTION, request.stream_id, delete)
            )
        with pytest.raises(NotFound):
            await process.credentials.read(stream_id=request.stream_id, secret_id=secret.secret_id)
    sweeper = Registry.over(store, vault, collector=CollectorRegistry(), pending_max_s=-1.0)
    await sweeper.upkeep.sweep()
    assert await vault.older(than_s=-1.0, after="", limit=10) == []


async def test_a_used_secret_that_the_log_does_not_know_is_kept(
    store: MemoryEventStore, vault: MemoryVault
) -> None:
    """An older backup of the log was put in place: its connections may come back."""
    secret_id = str(uuid4())
    await vault.put(secret_id=secret_id, stream_id=id_of("gone"), field="credentials", secret=b"x")
    await vault.mark_used(secret_id)
    sweeper = Registry.over(store, vault, collector=CollectorRegistry(), pending_max_s=-1.0)
    await sweeper.upkeep.sweep()
    assert len(await vault.older(than_s=-1.0, after="", limit=10)) == 1


async def test_a_secret_does_not_show_itself() -> None:
    secret = NewSecret(secret_id="id", field="credentials", plain=b"hunter22")
    assert "hunter22" not in repr(secret)
    request = _account(secret=secret)
    assert "hunter22" not in repr(request)


async def test_a_secret_survives_that_the_answer_of_its_own_append_was_lost(
    store: MemoryEventStore, vault: MemoryVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = store.append
    lost: list[Sequence[Append]] = []

    async def answer_lost_once(batch: Sequence[Append]) -> Sequence[Outcome]:
        outcomes = await honest(batch)
        if not lost:
            lost.append(batch)
            raise Unavailable("the connection broke after the commit")
        return outcomes

    monkeypatch.setattr(store, "append", answer_lost_once)
    async with _process(store, vault) as process:
        request, secret = _connection(vault, b"password")
        assert (await process.commands.execute(request)).replayed
        read = await process.credentials.read(
            stream_id=request.stream_id, secret_id=secret.secret_id
        )
    assert read == b"password"
    (entry,) = await vault.older(than_s=-1.0, after="", limit=10)
    assert entry.used


async def test_a_secret_that_nobody_can_judge_does_not_keep_the_sweep_from_the_others(
    store: MemoryEventStore, vault: MemoryVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable, readable = sorted([str(uuid4()), str(uuid4())])
    for stream_id in (unreadable, readable):
        await vault.put(
            secret_id=stream_id, stream_id=stream_id, field="credentials", secret=b"pending"
        )
    honest = store.read_stream

    async def refusing(stream_id: str, **fields: Any) -> Sequence[Any]:
        if stream_id == unreadable:
            raise StateForbids("an event is of a newer build")
        return await honest(stream_id, **fields)

    monkeypatch.setattr(store, "read_stream", refusing)
    sweeper = Registry.over(store, vault, collector=CollectorRegistry(), pending_max_s=-1.0)
    await sweeper.upkeep.sweep()
    left = await vault.older(than_s=-1.0, after="", limit=10)
    assert [entry.secret_id for entry in left] == [unreadable]
