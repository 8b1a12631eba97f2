"""Users: accounts as admins see them (algorithmia-api 2.4)."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.catalog import Catalog
from catalog.events import AccountKind
from catalog.records import Account
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from kernel.errors import NotAllowed, NotFound

from gateway.application.gateway import Gateway
from gateway.domain.caller import Admin, Standard
from gateway.domain.fields import is_uuid
from gateway.domain.intent import Intent
from gateway.domain.paging import Page, PageRequest, paginate

CODE_USER_NOT_FOUND = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A user to create."""

    username: str
    email: str
    fullname: str = ""
    company_name: str = ""
    company_role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """A user as it is shown."""

    id: str
    username: str
    email: str
    fullname: str
    company_name: str
    company_role: str
    self_link: str
    stream_version: int


async def create_user(gateway: Gateway, caller: Admin, new: NewUser, intent: Intent) -> UserRecord:
    """Create a user, without keys. Raises InvalidInput, AlreadyExists (3003, 3004)."""
    account_id = intent.new_id("account")
    command = registry_pb2.CreateAccountRequest(
        account_id=account_id,
        kind=events_pb2.ACCOUNT_KIND_USER,
        username=new.username,
        email=new.email,
        fullname=new.fullname,
        company_name=new.company_name,
        company_role=new.company_role,
    )
    result = await gateway.send(command, caller, intent)
    return UserRecord(
        id=account_id,
        username=new.username,
        email=new.email,
        fullname=new.fullname,
        company_name=new.company_name,
        company_role=new.company_role,
        self_link=_self_link(gateway, new.username),
        stream_version=result.version,
    )


def get_user(gateway: Gateway, _caller: Admin, name_or_id: str) -> UserRecord:
    """A user by name or id. Raises NotFound (3000), for an organization too."""
    account = account_of(gateway.catalog, name_or_id)
    if account.kind is not AccountKind.USER:
        raise _no_such_user()
    return _record(gateway, account)


def list_users(gateway: Gateway, _caller: Admin, page: PageRequest) -> Page[UserRecord]:
    """All users by name. Raises InvalidInput (5002)."""
    users = (a for a in gateway.catalog.accounts() if a.kind is AccountKind.USER)
    found = paginate(users, page, key=lambda account: (account.username.lower(),))
    return Page(items=tuple(_record(gateway, a) for a in found.items), marker=found.marker)


def account_of(catalog: Catalog, name_or_id: str) -> Account:
    """The account of this name or id. Raises NotFound (3000)."""
    known = (
        catalog.account(name_or_id.lower())
        if is_uuid(name_or_id)
        else catalog.account_named(name_or_id)
    )
    if known is None:
        raise _no_such_user()
    return known


def own_account(caller: Standard, name_or_id: str) -> Account:
    """The caller's account, which the path must name by name or id. Raises NotAllowed (2001)."""
    account = caller.account
    if name_or_id.lower() not in (account.account_id, account.username.lower()):
        raise NotAllowed(NOT_YOURS)
    return account


def own_account_shown(gateway: Gateway, caller: Standard, name_or_id: str) -> Account:
    """The caller's account as of the moment that is read. Raises NotAllowed, NotFound (3000)."""
    return account_of(gateway.catalog, own_account(caller, name_or_id).account_id)


# Algorithmia's own sentence, which clients may look for, and what to do.
NOT_YOURS = (
    "Caller is not authorized to perform the operation: a standard key acts on what its own "
    "account owns, so use a key of the owner"
)


def _no_such_user() -> NotFound:
    return NotFound(
        "there is no user of this name or id: GET /v1/users lists them", code=CODE_USER_NOT_FOUND
    )


def _record(gateway: Gateway, account: Account) -> UserRecord:
    return UserRecord(
        id=account.account_id,
        username=account.username,
        email=account.email,
        fullname=account.fullname,
        company_name=account.company_name,
        company_role=account.company_role,
        self_link=_self_link(gateway, account.username),
        stream_version=account.stream_version,
    )


def _self_link(gateway: Gateway, username: str) -> str:
    return f"{gateway.public_url}/v1/users/{username}"
