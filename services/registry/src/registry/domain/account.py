"""An account: a user or an organization with its API keys.

(none) ── CreateAccount ──▶ account ──┐
                               ▲      │ CreateApiKey, RevokeApiKey
                               └──────┘
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from catalog.events import (
    AccountCreated,
    AccountKind,
    ApiKeyCreated,
    ApiKeyRevoked,
    Event,
    KeyType,
)
from kernel.decider import Decider
from kernel.errors import AlreadyExists, InvalidInput, NotFound, StateForbids

from registry.domain import claim, values
from registry.domain.claim import Claims

KEYS_MAX = 1000
KEY_SHA256_BYTES = 32
MASK_LENGTH_MAX = 32
ACCOUNT_NOT_FOUND = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAccount:
    """Let a user or an organization exist."""

    account_id: str
    kind: AccountKind
    username: str
    email: str
    fullname: str = ""
    company_name: str = ""
    company_role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateApiKey:
    """Let the key with this SHA-256 speak for the account."""

    account_id: str
    key_id: str
    label: str
    key_type: KeyType
    key_sha256: bytes
    mask: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeApiKey:
    """Let the key be worth nothing."""

    account_id: str
    key_id: str


Command: TypeAlias = CreateAccount | CreateApiKey | RevokeApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """State: the account and every key it ever had."""

    created: AccountCreated
    keys: dict[str, ApiKeyCreated] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()


def decide(command: Command, state: Account | None) -> Sequence[Event]:
    """Raises InvalidInput, NotFound, AlreadyExists, StateForbids."""
    match command:
        case CreateAccount():
            return _create(command, state)
        case CreateApiKey():
            return _create_key(command, _existing(state))
        case RevokeApiKey():
            return _revoke_key(command, _existing(state))
        case _:
            assert_never(command)


def evolve(state: Account | None, event: Event) -> Account | None:
    """The state after one more event."""
    match event:
        case AccountCreated():
            return Account(created=event)
        case ApiKeyCreated() if state:
            return replace(state, keys={**state.keys, event.key_id: event})
        case ApiKeyRevoked() if state:
            return replace(state, revoked=state.revoked | {event.key_id})
        case _:
            return state


def claims(_state: Account | None, events: Iterable[Event]) -> Claims:
    """Names that the events take: user name and e-mail for ever, the key's hash too."""
    added: list[str] = []
    for event in events:
        if isinstance(event, AccountCreated):
            added.append(claim.account_name(event.username))
            if event.email:
                added.append(claim.account_email(event.email))
        elif isinstance(event, ApiKeyCreated):
            added.append(claim.api_key(event.key_sha256))
    return Claims(added=tuple(added))


decider: Decider[Command, Account | None, Event] = Decider(
    initial=None, decide=decide, evolve=evolve
)


def _create(command: CreateAccount, state: Account | None) -> Sequence[Event]:
    values.uuid("account_id", command.account_id)
    values.chosen("kind", command.kind)
    values.username(command.username)
    if command.email or command.kind is AccountKind.USER:
        values.email(command.email)
    for name in ("fullname", "company_name", "company_role"):
        values.line(name, getattr(command, name))
    wish = AccountCreated(
        account_id=command.account_id,
        kind=command.kind,
        username=command.username,
        email=command.email,
        fullname=command.fullname,
        company_name=command.company_name,
        company_role=command.company_role,
    )
    if state is None:
        return [wish]
    if state.created == wish:
        return []
    raise AlreadyExists("an account with this account_id exists: choose a fresh uuid")


def _create_key(command: CreateApiKey, state: Account) -> Sequence[Event]:
    values.uuid("key_id", command.key_id)
    values.line("label", command.label)
    values.chosen("key_type", command.key_type)
    values.line("mask", command.mask, length_max=MASK_LENGTH_MAX)
    if len(command.key_sha256) != KEY_SHA256_BYTES:
        raise InvalidInput(f"key_sha256 must be {KEY_SHA256_BYTES} bytes")
    wish = ApiKeyCreated(
        account_id=command.account_id,
        key_id=command.key_id,
        label=command.label,
        key_type=command.key_type,
        key_sha256=command.key_sha256,
        mask=command.mask,
    )
    if command.key_id in state.revoked:
        raise StateForbids("this key was revoked for good: create one with a fresh key_id")
    if state.keys.get(command.key_id) == wish:
        return []
    if command.key_id in state.keys:
        raise AlreadyExists("a key with this key_id exists: choose a fresh uuid")
    if len(state.keys) >= KEYS_MAX:
        raise StateForbids(
            f"an account has at most {KEYS_MAX} keys in its life, revoked ones included"
        )
    return [wish]


def _revoke_key(command: RevokeApiKey, state: Account) -> Sequence[Event]:
    if command.key_id not in state.keys:
        raise NotFound("the account has no such key: list its keys")
    if command.key_id in state.revoked:
        return []
    return [ApiKeyRevoked(account_id=command.account_id, key_id=command.key_id)]


def _existing(state: Account | None) -> Account:
    if state is None:
        raise NotFound("there is no account with this account_id", code=ACCOUNT_NOT_FOUND)
    return state
