"""A registry to talk to: its database, its secrets, and the service in this process."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import grpc
import grpc.aio
import pytest
from devstack import Postgres
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from prometheus_client import CollectorRegistry
from registry import bootstrap
from registry.adapters.migrations import Login, migrate
from registry.ports.event_store import Append, NewEvent
from registry.settings import RegistrySettings
from servicekit.identity import ROLES, Role, ServiceToken, create_identities
from servicekit.rpc import RpcServer, rpc_channel
from servicekit.settings import HostPort

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub

TEMPLATE = "registry_template"
START_TIMEOUT_S = 30.0
LOG_LOGIN = ("registry_tests_log", "log-password-of-tests")
VAULT_LOGIN = ("registry_tests_vault", "vault-password-of-tests")
OPS_LOGIN = ("registry_tests_ops", "ops-password-of-tests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Addresses of one migrated database."""

    owner_dsn: str
    log_dsn: str
    vault_dsn: str
    ops_dsn: str


_migrated: set[str] = set()


async def migrated_template(postgres: Postgres) -> str:
    """A migrated, empty database to copy from; its name. Made once a server."""
    if postgres.dsn not in _migrated:
        database = database_at(await postgres.create_database(TEMPLATE))
        await migrate(database.owner_dsn, logins(database))
        _migrated.add(postgres.dsn)
    return TEMPLATE


async def fresh_database(postgres: Postgres) -> Database:
    """A migrated, empty database of its own."""
    template = await migrated_template(postgres)
    name = f"registry_{uuid4().hex[:12]}"
    return database_at(await postgres.create_database(name, template=template))


def logins(database: Database) -> Sequence[Login]:
    """Who logs in to it."""
    return [
        Login(role="log_app", dsn=database.log_dsn),
        Login(role="vault_app", dsn=database.vault_dsn),
        Login(role="log_ops", dsn=database.ops_dsn),
    ]


def database_at(owner_dsn: str) -> Database:
    """Addresses of a database, migrated or not, for the logins of tests."""
    parts = urlsplit(owner_dsn)

    def as_(user: str, password: str) -> str:
        return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))

    return Database(
        owner_dsn=owner_dsn,
        log_dsn=as_(*LOG_LOGIN),
        vault_dsn=as_(*VAULT_LOGIN),
        ops_dsn=as_(*OPS_LOGIN),
    )


def environment(database: Database, folder: Path) -> dict[str, str]:
    """Files and variables that start a registry on this database."""
    identities = create_identities(folder)
    files = {
        "DATABASE_DSN_FILE": database.log_dsn,
        "VAULT_DSN_FILE": database.vault_dsn,
        "OWNER_DSN_FILE": database.owner_dsn,
        "OPS_DSN_FILE": database.ops_dsn,
        "MASTER_KEY_FILE": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    variables = {
        "LISTEN": "127.0.0.1:0",
        "METRICS_LISTEN": "127.0.0.1:0",
        "SERVICE_TOKEN_FILE": str(identities.tokens["registry"]),
        "IDENTITIES_FILE": str(identities.identities),
    }
    for name, text in files.items():
        path = folder / name.lower()
        if not path.exists():
            path.write_text(text)
        variables[name] = str(path)
    return {f"EVENTFLOWS_REGISTRY_{name}": value for name, value in variables.items()}


def settings_of(variables: dict[str, str]) -> RegistrySettings:
    """The settings that these variables give."""
    prefix = "EVENTFLOWS_REGISTRY_"
    return RegistrySettings.model_validate(
        {name.removeprefix(prefix).lower(): value for name, value in variables.items()}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A registry that answers, and who may ask it."""

    address: HostPort
    folder: Path
    collector: CollectorRegistry
    stop: asyncio.Event

    def token(self, role: Role) -> str:
        return (self.folder / f"{role}.token").read_text().strip()

    def tokens(self) -> dict[Role, str]:
        return {role: self.token(role) for role in ROLES}

    @asynccontextmanager
    async def client(self, role: Role = "gateway") -> AsyncIterator[RegistryAsyncStub]:
        token = ServiceToken.load(self.folder / f"{role}.token")
        async with rpc_channel(self.address, token) as channel:
            yield RegistryStub(channel)


@asynccontextmanager
async def served(
    database: Database, folder: Path, *, variables: dict[str, str] | None = None
) -> AsyncIterator[Served]:
    """The real service in this process, on a real port; `variables` in place of `environment`."""
    stop = asyncio.Event()
    ready: asyncio.Future[RpcServer] = asyncio.get_running_loop().create_future()
    collector = CollectorRegistry()
    settings = settings_of(variables or environment(database, folder))
    serving = asyncio.create_task(
        bootstrap.serve(settings, stop, started=ready.set_result, collector=collector)
    )
    try:
        either: set[asyncio.Future[Any]] = {serving, ready}
        await asyncio.wait(either, timeout=START_TIMEOUT_S, return_when="FIRST_COMPLETED")
        if serving.done():
            await serving
        yield Served(address=(await ready).address, folder=folder, collector=collector, stop=stop)
    finally:
        stop.set()
        await serving


async def verified(client: RegistryAsyncStub) -> pb.VerifyLogProgress:
    """What a verification of the whole log ends with."""
    *_, last = [progress async for progress in client.VerifyLog(pb.VerifyLogRequest())]
    return last


def context(**fields: object) -> pb.CommandContext:
    """A fresh command by the operator."""
    given = {"command_id": str(uuid4()), "actor": "service:operator", **fields}
    return pb.CommandContext(**given)  # type: ignore[arg-type]


def account_request(name: str, **fields: object) -> pb.CreateAccountRequest:
    """A user of this name."""
    given = {
        "context": context(),
        "account_id": str(uuid4()),
        "kind": events_pb2.ACCOUNT_KIND_USER,
        "username": name,
        "email": f"{name}@example.test",
        **fields,
    }
    return pb.CreateAccountRequest(**given)  # type: ignore[arg-type]


def connection_request(**fields: object) -> pb.CreateConnectionRequest:
    """A connection with SASL over TLS."""
    given = {
        "context": context(),
        "connection_id": str(uuid4()),
        "name": f"kafka {uuid4()}",
        "bootstrap_servers": ["kafka1:9093", "kafka2:9093"],
        "security_protocol": events_pb2.SECURITY_PROTOCOL_SASL_SSL,
        "sasl_mechanism": "SCRAM-SHA-512",
        "credentials": pb.Credential(username="admin", password="correct horse battery"),
        **fields,
    }
    return pb.CreateConnectionRequest(**given)  # type: ignore[arg-type]


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """Status and numeric code of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailing: Iterable[tuple[str, object]] = caught.value.trailing_metadata() or ()  # type: ignore[assignment]
    return caught.value.code(), str(dict(trailing).get("ef-code"))


def append_of(
    events: int = 1, *, data: bytes = b"data", expected_version: int = 0, **fields: object
) -> Append:
    """A command for a fresh stream with a number of events, as the store sees it."""
    given = {
        "command_id": str(uuid4()),
        "request_hash": sha256(json.dumps([events, data.hex()]).encode()).digest(),
        "stream_id": str(uuid4()),
        "category": "account",
        "metadata": b"metadata",
        **fields,
    }
    return Append(
        events=tuple(NewEvent(name="account.created.v1", data=data) for _ in range(events)),
        expected_version=expected_version,
        **given,  # type: ignore[arg-type]
    )
