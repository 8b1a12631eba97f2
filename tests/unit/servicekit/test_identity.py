"""Tokens, roles, and the table of who may call what."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest
from eventflows.registry.v1 import registry_pb2
from eventflows.router.v1 import router_pb2
from eventflows.runner.v1 import runner_pb2
from servicekit.identity import (
    ALLOWED,
    REFLECTION_PREFIX,
    ROLES,
    RUN_CALLERS,
    Identities,
    Role,
    ServiceToken,
    create_identities,
    may_call,
)
from servicekit.logs import redact
from servicekit.settings import SettingsError

TOKEN = "gateway-token-0123456789-abcdefghijklm"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
REGISTRY = "/eventflows.registry.v1.Registry/"


def test_every_method_of_the_internal_services_has_a_row_and_no_other_has() -> None:
    methods = {
        f"/{service.full_name}/{method.name}"
        for file in (registry_pb2, router_pb2, runner_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert set(ALLOWED) == methods


def test_every_row_names_only_roles_and_at_least_one() -> None:
    assert all(roles and roles <= set(ROLES) for roles in ALLOWED.values())


def test_only_the_router_reads_credentials() -> None:
    assert ALLOWED[f"{REGISTRY}ReadCredential"] == {"router"}


def test_the_operator_changes_accounts_keys_what_an_audit_finds_and_what_stands_still() -> None:
    may = {name.removeprefix(REGISTRY) for name, roles in ALLOWED.items() if "operator" in roles}
    assert {name for name in may if "/" not in name} == {
        "CreateAccount",
        "CreateApiKey",
        "RevokeApiKey",
        "PauseFlow",
        "ResumeFlow",
        "RequestRedrive",
        "RequestPurge",
        "CancelDeadLetterTask",
        "Revert",
        "ShredSecrets",
        "GetAggregate",
        "ListAggregates",
        "ReadCatalog",
        "ReadLog",
        "Diff",
        "Watch",
        "GetHead",
        "GetLogStatistics",
        "VerifyLog",
        "ExportLog",
        "ImportLog",
    }


def test_only_gateway_and_router_run_algorithms() -> None:
    assert {"gateway", "router"} == RUN_CALLERS


@pytest.mark.parametrize("role", ROLES)
def test_a_method_without_a_row_nobody_may_call(role: Role) -> None:
    assert not may_call(role, f"{REGISTRY}DropEverything")


def test_reflection_is_for_operators() -> None:
    method = f"{REFLECTION_PREFIX}ServerReflectionInfo"
    assert [role for role in ROLES if may_call(role, method)] == ["operator"]


def test_a_bearer_token_names_its_role() -> None:
    identities = Identities.of({"gateway": DIGEST})
    assert identities.role_of(f"Bearer {TOKEN}") == "gateway"
    assert identities.role_of(f"bearer {TOKEN}".encode()) == "gateway"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        b"\xff\xfe",
        TOKEN,
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN} {TOKEN}",
        f"Bearer {DIGEST}",
        "Bearer " + "x" * 100_000,
        "Bearer \udce9",
    ],
)
def test_anything_else_names_nobody(authorization: str | bytes | None) -> None:
    assert Identities.of({"gateway": DIGEST}).role_of(authorization) is None


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "must be an object"),
        ({}, "must be an object"),
        ({"king": DIGEST}, "not a role"),
        ({"gateway": "abc"}, "64 lower-case hex digits"),
        ({"gateway": 7}, "64 lower-case hex digits"),
        ({"gateway": DIGEST, "router": DIGEST}, "share a token"),
    ],
)
def test_wrong_identities_stop_the_start(rows: object, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        Identities.of(rows)


@pytest.mark.parametrize(
    ("content", "problem"), [("{", "not JSON"), (" " * 70_000, "larger than"), (None, "be read")]
)
def test_an_unreadable_identities_file_is_named(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    path = tmp_path / "identities.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=problem) as caught:
        Identities.load(path)
    assert str(path) in str(caught.value)


def test_a_service_token_shows_itself_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "router.token"
    path.write_text("a-token-of-the-router-0123456789-abc\n")
    token = ServiceToken.load(path)
    assert token.authorization == "Bearer a-token-of-the-router-0123456789-abc"
    assert "router" not in repr(token) + str(token)
    assert redact(f"sent {token.authorization}") == "sent Bearer [hidden]"


@pytest.mark.parametrize("content", ["", "short", "x" * 513, "two words " * 5, "ü" * 40])
def test_what_is_no_token_is_refused_without_repeating_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "router.token"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"router\.token") as caught:
        ServiceToken.load(path)
    assert not content or content not in str(caught.value)


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.token cannot be read"):
        ServiceToken.load(tmp_path / "absent.token")


def test_created_identities_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    files = create_identities(tmp_path / "identities")
    paths = [files.identities, *files.tokens.values()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert sorted(path.name for path in (tmp_path / "identities").iterdir()) == sorted(
        ["identities.json", *(f"{role}.token" for role in ROLES)]
    )


def test_created_identities_know_the_created_tokens(tmp_path: Path) -> None:
    files = create_identities(tmp_path)
    identities = Identities.load(files.identities)
    for role, path in files.tokens.items():
        assert identities.role_of(ServiceToken.load(path).authorization) == role


def test_creating_again_keeps_the_tokens_and_adds_what_is_missing(tmp_path: Path) -> None:
    first = create_identities(tmp_path, ["gateway"])
    kept = first.tokens["gateway"].read_text()
    second = create_identities(tmp_path, ["gateway", "router"])
    assert second.tokens["gateway"].read_text() == kept
    assert set(json.loads(second.identities.read_text())) == {"gateway", "router"}
