"""The first account of an empty cluster: an admin whose key opens the REST API for all others.

Later accounts and keys come through the gateway; the first one cannot, since nobody has a key yet.
"""

from __future__ import annotations

import secrets
from uuid import uuid4

from catalog.catalog import Catalog
from catalog.events import AccountKind, KeyType
from kernel.api_keys import new_key
from kernel.errors import StateForbids

from registry.application.commands import CommandContext, Commands, Request
from registry.domain.account import CreateAccount, CreateApiKey
from registry.domain.aggregates import ACCOUNT
from registry.ports.event_store import REQUEST_HASH_BYTES

ACTOR = "service:registry"
KEY_LABEL = "first admin key"


async def create_first_admin(commands: Commands, catalog: Catalog, *, name: str, email: str) -> str:
    """Make the account and its admin key; returns the key, which is kept nowhere.

    Raises StateForbids when somebody has an admin key already, InvalidInput, AlreadyExists.
    """
    for account in catalog.accounts():
        if any(key.key_type is KeyType.ADMIN for key in account.keys):
            raise StateForbids(
                f"{account.username} has an admin key already: make further accounts and keys "
                "through the REST API with it"
            )
    account_id, key = str(uuid4()), new_key(secrets.choice)
    for command in (
        CreateAccount(account_id=account_id, kind=AccountKind.USER, username=name, email=email),
        CreateApiKey(
            account_id=account_id,
            key_id=str(uuid4()),
            label=KEY_LABEL,
            key_type=KeyType.ADMIN,
            key_sha256=key.sha256,
            mask=key.mask,
        ),
    ):
        await commands.execute(
            Request(aggregate=ACCOUNT, stream_id=account_id, context=_context(), command=command)
        )
    return key.clear


def _context() -> CommandContext:
    """A command that nobody will repeat: its id is kept nowhere."""
    return CommandContext(
        command_id=str(uuid4()), request_hash=bytes(REQUEST_HASH_BYTES), actor=ACTOR
    )
