"""The JSON of the REST API: what bodies may hold and what answers hold, field by field.

Names and order are Algorithmia's where it had the resource. A body with a field that is not here is
refused; the few fields that are accepted and not used say so. Clients send null for what they leave
out, so every optional field takes it.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

T = TypeVar("T")
Text = str | None
Seconds = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Time = Annotated[
    str, Meta(description="ISO 8601, milliseconds, UTC", extra_json_schema={"format": "date-time"})
]


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    """A request's body."""


class Empty(Body, frozen=True):
    """A body without fields; it may also be left out."""


class Page(Struct, Generic[T], frozen=True):
    """A page; `marker` and `next_link` are null on the last one."""

    marker: str | None
    next_link: str | None
    results: list[T]


class ErrorDetail(Struct, frozen=True, omit_defaults=True):
    """What went wrong. `id` finds an unexpected error in the log."""

    code: int
    message: str
    id: str | None = None


class Error(Struct, frozen=True):
    """Every error but one: of an unknown algorithm the management paths say only a string."""

    error: ErrorDetail | str


class Health(Struct, frozen=True):
    """The process is alive, or ready."""

    status: Literal["ok"]


class UserCreate(Body, frozen=True):
    """A user to create. The last two are Algorithmia's; they are accepted and not used."""

    username: str
    email: str
    fullname: Text = None
    company_name: Text = None
    company_role: Text = None
    password_hash: Text = field(name="passwordHash", default=None)
    should_create_hello: bool | None = field(name="shouldCreateHello", default=None)


class User(Struct, frozen=True):
    """A user: the fields of the Event Flows page, no more and no fewer."""

    id: str
    username: str
    email: str
    fullname: str
    company_role: str
    self_link: str
    resource_type: Literal["user"] = "user"


class KeyCreate(Body, frozen=True):
    """An API key to create."""

    key_type: Literal["AlgorithmKey", "ManagementKey", "PlatformAdminKey"]
    key_label: Text = None


class Key(Struct, frozen=True):
    """An API key; `api_key` is there only in the answer that creates it."""

    id: str
    username: str
    key_label: str
    key_type: str
    api_key_mask: str
    created_at: Time | None
    api_key: str | UnsetType = UNSET


class EventListenerCreate(Body, frozen=True):
    """A queue to attach to an algorithm."""

    source_type: str = field(name="sourceType")
    source_uri: str = field(name="sourceURI")
    algo_name: str = field(name="algoName")
    algo_owner: str = field(name="algoOwner")
    credentials: str
    algo_version: Text = field(name="algoVersion", default=None)
    algo_timeout_seconds: Seconds | None = field(name="algoTimeoutSeconds", default=None)


class EventListener(Struct, frozen=True):
    """An item of the list: the fields of the Event Flows page, no more and no fewer."""

    id: str
    source_type: str = field(name="sourceType")
    source_uri: str = field(name="sourceURI")
    algo_name: str = field(name="algoName")
    algo_owner: str = field(name="algoOwner")
    listener_owner: str = field(name="listenerOwner")
    credentials: str


class EventListenerDetail(EventListener, frozen=True):
    """One listener: also the version, if one was given, and the timeout."""

    algo_timeout_seconds: int = field(name="algoTimeoutSeconds")
    algo_version: str | UnsetType = field(name="algoVersion", default=UNSET)
