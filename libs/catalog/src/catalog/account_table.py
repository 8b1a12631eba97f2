"""Accounts by id, by name and by the SHA-256 of a live key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from catalog import events
from catalog.events import RecordedEvent
from catalog.records import Account, ApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountImage:
    """All that the table holds."""

    accounts: dict[str, Account]
    id_of_name: dict[str, str]
    keys: dict[bytes, tuple[str, ApiKey]]


class AccountTable:
    """Accounts with their live keys. What the log says of an unknown account changes nothing."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._id_of_name: dict[str, str] = {}
        self._keys: dict[bytes, tuple[str, ApiKey]] = {}

    @classmethod
    def of(cls, image: AccountImage) -> Self:
        """The table that had this image. The image must not be used any more."""
        table = cls()
        table._accounts = image.accounts
        table._id_of_name = image.id_of_name
        table._keys = image.keys
        return table

    def image(self) -> AccountImage:
        """A copy that later events do not change."""
        return AccountImage(
            accounts=self._accounts.copy(),
            id_of_name=self._id_of_name.copy(),
            keys=self._keys.copy(),
        )

    def get(self, account_id: str) -> Account | None:
        """By id."""
        return self._accounts.get(account_id)

    def named(self, username: str) -> Account | None:
        """By name, in the spelling it was created with."""
        account_id = self._id_of_name.get(username)
        return None if account_id is None else self._accounts[account_id]

    def key_owner(self, key_sha256: bytes) -> tuple[Account, ApiKey] | None:
        """Whose live key this is."""
        found = self._keys.get(key_sha256)
        return None if found is None else (self._accounts[found[0]], found[1])

    def all(self) -> tuple[Account, ...]:
        """Oldest first."""
        return tuple(self._accounts.values())

    def created(self, recorded: RecordedEvent, event: events.AccountCreated) -> None:
        """A new account, without keys."""
        self._id_of_name[event.username] = event.account_id
        self._accounts[event.account_id] = Account(
            account_id=event.account_id,
            kind=event.kind,
            username=event.username,
            email=event.email,
            fullname=event.fullname,
            company_name=event.company_name,
            company_role=event.company_role,
            keys=(),
            created_time=recorded.time,
            position=recorded.position,
            stream_version=recorded.version,
        )

    def key_created(self, recorded: RecordedEvent, event: events.ApiKeyCreated) -> None:
        """The account has one more key."""
        account = self._accounts.get(event.account_id)
        if account is None:
            return
        key = ApiKey(
            key_id=event.key_id,
            label=event.label,
            key_type=event.key_type,
            key_sha256=event.key_sha256,
            mask=event.mask,
            created_time=recorded.time,
        )
        self._keys[key.key_sha256] = (account.account_id, key)
        self._set_keys(account, (*account.keys, key), recorded)

    def key_revoked(self, recorded: RecordedEvent, event: events.ApiKeyRevoked) -> None:
        """The key opens nothing any more."""
        account = self._accounts.get(event.account_id)
        if account is None:
            return
        for key in account.keys:
            if key.key_id == event.key_id:
                del self._keys[key.key_sha256]
        kept = tuple(key for key in account.keys if key.key_id != event.key_id)
        self._set_keys(account, kept, recorded)

    def _set_keys(
        self, account: Account, keys: tuple[ApiKey, ...], recorded: RecordedEvent
    ) -> None:
        self._accounts[account.account_id] = replace(
            account, keys=keys, position=recorded.position, stream_version=recorded.version
        )
