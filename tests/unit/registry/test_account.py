"""Given events, when a command, then events or a refusal: accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from catalog.events import AccountCreated, AccountKind, ApiKeyCreated, ApiKeyRevoked, Event, KeyType
from kernel.errors import AlreadyExists, InvalidInput, NotFound, StateForbids
from registry.domain import account
from registry.domain.account import CreateAccount, CreateApiKey, RevokeApiKey

from tests.support.event_log import id_of

ACCOUNT = id_of("acme")
CREATED = AccountCreated(
    account_id=ACCOUNT, kind=AccountKind.USER, username="acme", email="a@example.test"
)
KEY = ApiKeyCreated(
    account_id=ACCOUNT,
    key_id=id_of("key"),
    label="default-key",
    key_type=KeyType.STANDARD,
    key_sha256=sha256(b"key").digest(),
    mask="sim12…9Zq",
)
REVOKED = ApiKeyRevoked(account_id=ACCOUNT, key_id=KEY.key_id)
CREATE = CreateAccount(
    account_id=ACCOUNT, kind=AccountKind.USER, username="acme", email="a@example.test"
)
CREATE_KEY = CreateApiKey(
    account_id=ACCOUNT,
    key_id=KEY.key_id,
    label=KEY.label,
    key_type=KEY.key_type,
    key_sha256=KEY.key_sha256,
    mask=KEY.mask,
)
REVOKE = RevokeApiKey(account_id=ACCOUNT, key_id=KEY.key_id)


def _decide(given: Sequence[Event], command: Any) -> Sequence[Event]:
    return account.decider.decide(command, account.decider.fold(given))


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        ([], CREATE, [CREATED]),
        ([CREATED], CREATE, []),
        ([CREATED], CREATE_KEY, [KEY]),
        ([CREATED, KEY], CREATE_KEY, []),
        ([CREATED, KEY], REVOKE, [REVOKED]),
        ([CREATED, KEY, REVOKED], REVOKE, []),
    ],
)
def test_a_command_becomes_events_once(given: list[Event], when: Any, then: list[Event]) -> None:
    assert _decide(given, when) == then


@pytest.mark.parametrize(
    ("given", "when", "error", "code"),
    [
        ([CREATED], replace(CREATE, fullname="Other"), AlreadyExists, 9009),
        ([], CREATE_KEY, NotFound, 3000),
        ([], REVOKE, NotFound, 3000),
        ([CREATED], REVOKE, NotFound, 9004),
        ([CREATED, KEY], replace(CREATE_KEY, label="other"), AlreadyExists, 9009),
        ([CREATED, KEY, REVOKED], CREATE_KEY, StateForbids, 9010),
        ([CREATED], replace(CREATE_KEY, key_sha256=b"short"), InvalidInput, 6001),
        ([CREATED], replace(CREATE_KEY, key_type=KeyType.UNSPECIFIED), InvalidInput, 6001),
        ([], replace(CREATE, kind=AccountKind.UNSPECIFIED), InvalidInput, 6001),
        ([], replace(CREATE, email=""), InvalidInput, 6001),
        ([], replace(CREATE, username="1acme"), InvalidInput, 6001),
        ([], replace(CREATE, account_id="acme"), InvalidInput, 6001),
    ],
)
def test_what_the_state_or_the_values_forbid_is_refused(
    given: list[Event], when: Any, error: type[Exception], code: int
) -> None:
    with pytest.raises(error) as caught:
        _decide(given, when)
    assert getattr(caught.value, "code", None) == code


def test_an_organization_may_be_without_mail_address() -> None:
    command = replace(CREATE, kind=AccountKind.ORGANIZATION, email="")
    (created,) = _decide([], command)
    assert account.claims(None, [created]).added == ("account/name/acme",)


def test_keys_are_bounded() -> None:
    keys = [replace(KEY, key_id=id_of(f"key {n}")) for n in range(account.KEYS_MAX)]
    with pytest.raises(StateForbids):
        _decide([CREATED, *keys], CREATE_KEY)


def test_names_and_key_hashes_are_claimed_for_ever() -> None:
    claims = account.claims(None, [replace(CREATED, username="AcMe", email="A@Example.Test"), KEY])
    assert claims.added == (
        "account/name/acme", "account/email/a@example.test", f"api_key/{KEY.key_sha256.hex()}",
    )  # fmt: skip
    assert claims.released == ()
    assert account.claims(account.decider.fold([CREATED, KEY]), [REVOKED]).released == ()
