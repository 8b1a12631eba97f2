"""API keys of accounts (algorithmia-api 2.1.1). A key is shown once, where it is created."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from catalog.events import KeyType
from catalog.records import Account, ApiKey
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from kernel.api_keys import new_key
from kernel.errors import NotFound

from gateway.application.gateway import Gateway, key_reused
from gateway.application.users import account_of
from gateway.domain.caller import Admin
from gateway.domain.fields import is_uuid, one_of
from gateway.domain.intent import Intent

KEY_LABEL_DEFAULT = "default-key"
# ManagementKey is the older name of an admin key.
KEY_TYPES = {
    "AlgorithmKey": KeyType.STANDARD,
    "ManagementKey": KeyType.ADMIN,
    "PlatformAdminKey": KeyType.ADMIN,
}
KEY_TYPE_NAMES = {KeyType.STANDARD: "AlgorithmKey", KeyType.ADMIN: "PlatformAdminKey"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key as it is shown. `clear` is the key itself, only in the answer that creates it.

    `stream_version` is that of its account.
    """

    id: str
    username: str
    label: str
    key_type: str
    mask: str
    created_at: datetime | None
    stream_version: int
    clear: str | None = field(default=None, repr=False)


async def create_key(
    gateway: Gateway, caller: Admin, user: str, *, label: str, key_type: str, intent: Intent
) -> KeyRecord:
    """Create a key and show it. A repeated intent shows the first key, without its clear text.

    Raises NotFound (3000), InvalidInput, VersionConflict, StateForbids (9011).
    """
    account = account_of(gateway.catalog, user)
    one_of(key_type, KEY_TYPES, field="key_type")
    key_id = intent.new_id("key")
    if (known := _key(account, key_id)) is not None:
        if (known.label, known.key_type) != (label or KEY_LABEL_DEFAULT, KEY_TYPES[key_type]):
            raise key_reused()
        return _record(account, known)
    made = new_key(gateway.choose)
    command = registry_pb2.CreateApiKeyRequest(
        account_id=account.account_id,
        key_id=key_id,
        label=label or KEY_LABEL_DEFAULT,
        key_type=events_pb2.KeyType.Value(f"KEY_TYPE_{KEY_TYPES[key_type].name}"),
        key_sha256=made.sha256,
        mask=made.mask,
    )
    result = await gateway.send(command, caller, intent)
    now_known = _key(account_of(gateway.catalog, user), key_id)
    return KeyRecord(
        id=key_id,
        username=account.username,
        label=command.label,
        key_type=KEY_TYPE_NAMES[KEY_TYPES[key_type]],
        mask=made.mask if now_known is None else now_known.mask,
        created_at=now_known.created_time if now_known is not None else None,
        stream_version=result.version,
        # Of two requests with one intent the first wins: the key drawn for the other is worthless.
        clear=made.clear if now_known is None or now_known.key_sha256 == made.sha256 else None,
    )


def list_keys(gateway: Gateway, _caller: Admin, user: str) -> tuple[KeyRecord, ...]:
    """The keys of an account that are worth something, masked. Raises NotFound (3000)."""
    account = account_of(gateway.catalog, user)
    return tuple(_record(account, key) for key in account.keys)


async def revoke_key(
    gateway: Gateway, caller: Admin, user: str, key_id: str, intent: Intent
) -> None:
    """Make a key worthless for ever. Raises NotFound, VersionConflict."""
    account = account_of(gateway.catalog, user)
    command = registry_pb2.RevokeApiKeyRequest(account_id=account.account_id, key_id=key_id)
    if _key(account, key_id) is None:
        if is_uuid(key_id) and await gateway.did_before(command, caller, intent):
            return
        raise NotFound("the account has no key of this id: GET …/keys lists them")
    await gateway.send(command, caller, intent)


def _key(account: Account, key_id: str) -> ApiKey | None:
    return next((key for key in account.keys if key.key_id == key_id), None)


def _record(account: Account, key: ApiKey) -> KeyRecord:
    return KeyRecord(
        id=key.key_id,
        username=account.username,
        label=key.label,
        key_type=KEY_TYPE_NAMES[key.key_type],
        mask=key.mask,
        created_at=key.created_time,
        stream_version=account.stream_version,
    )
