"""Users, their keys and their event listeners, over REST."""

from __future__ import annotations

from gateway.application import event_listeners, keys, users
from gateway.domain.field_names import named_as_sent
from gateway.entrypoints.rest import present, wire
from gateway.entrypoints.rest.call import Answer, Call, etag
from gateway.entrypoints.rest.operation import (
    PAGE_QUERY,
    KeyKind,
    Operation,
    deletes,
    reads,
    takes,
)

NO_CONTENT = 204
_LISTENER_FIELDS = {
    "source_uri": "sourceURI",
    "role_arn": "credentials",
    "timeout_s": "algoTimeoutSeconds",
    "algorithm_version": "algoVersion",
}


async def create_user(call: Call, body: wire.UserCreate) -> Answer:
    """Create a user."""
    new = users.NewUser(
        username=body.username,
        email=body.email,
        fullname=body.fullname or "",
        company_name=body.company_name or "",
        company_role=body.company_role or "",
    )
    record = await users.create_user(call.gateway, call.admin, new, call.intent())
    return Answer(body=present.user(record), headers=etag(record.stream_version))


async def list_users(call: Call) -> Answer:
    """List all users by name."""
    page = users.list_users(call.gateway, call.admin, call.page)
    return call.page_answer(page, present.user)


async def get_user(call: Call) -> Answer:
    """Show a user, by name or id."""
    record = users.get_user(call.gateway, call.admin, call.path("user"))
    return Answer(body=present.user(record), headers=etag(record.stream_version))


async def create_key(call: Call, body: wire.KeyCreate) -> Answer:
    """Create an API key; the answer is the only place that shows it."""
    record = await keys.create_key(
        call.gateway,
        call.admin,
        call.path("user"),
        label=body.key_label or "",
        key_type=body.key_type,
        intent=call.intent(),
    )
    headers = etag(record.stream_version) | {"Cache-Control": "no-store"}
    return Answer(body=present.key(record), headers=headers)


async def list_keys(call: Call) -> Answer:
    """List the keys of an account, masked."""
    records = keys.list_keys(call.gateway, call.admin, call.path("user"))
    return Answer(body=[present.key(record) for record in records])


async def revoke_key(call: Call) -> Answer:
    """Make a key worthless for ever."""
    await keys.revoke_key(
        call.gateway, call.admin, call.path("user"), call.path("key"), call.intent()
    )
    return Answer(status=NO_CONTENT)


async def list_event_listeners(call: Call) -> Answer:
    """List one's event listeners."""
    records = event_listeners.list_listeners(call.gateway, call.standard, call.path("user"))
    return Answer(body=[present.listener(record) for record in records])


async def create_event_listener(call: Call, body: wire.EventListenerCreate) -> Answer:
    """Attach a queue to an algorithm that one may call."""
    new = event_listeners.NewListener(
        source_type=body.source_type,
        source_uri=body.source_uri,
        algo_owner=body.algo_owner,
        algo_name=body.algo_name,
        algo_version=body.algo_version or "",
        algo_timeout_s=body.algo_timeout_seconds or 0,
        credentials=body.credentials,
    )
    with named_as_sent(_LISTENER_FIELDS):
        record = await event_listeners.create_listener(
            call.gateway, call.standard, call.path("user"), new, call.intent()
        )
    return Answer(body=present.listener_detail(record), headers=etag(record.stream_version))


async def get_event_listener(call: Call) -> Answer:
    """Show one of one's event listeners."""
    record = event_listeners.get_listener(
        call.gateway, call.standard, call.path("user"), call.path("listener")
    )
    return Answer(body=present.listener_detail(record), headers=etag(record.stream_version))


async def delete_event_listener(call: Call) -> Answer:
    """Delete one of one's event listeners for good."""
    await event_listeners.delete_listener(
        call.gateway, call.standard, call.path("user"), call.path("listener"), call.intent()
    )
    return Answer()


_USER = "/v1/users/{user}"
_LISTENERS = f"{_USER}/event-listeners"

OPERATIONS: tuple[Operation, ...] = (
    takes(
        "POST", "/v1/users", create_user, key=KeyKind.ADMIN, body=wire.UserCreate, answer=wire.User
    ),
    reads(
        "/v1/users", list_users, key=KeyKind.ADMIN, answer=wire.Page[wire.User], query=PAGE_QUERY
    ),
    reads(_USER, get_user, key=KeyKind.ADMIN, answer=wire.User, single=True),
    *(
        operation
        for path in (f"{_USER}/keys", "/v1/admin/users/{user}/keys")
        for operation in (
            takes(
                "POST", path, create_key, key=KeyKind.ADMIN, body=wire.KeyCreate, answer=wire.Key
            ),
            reads(path, list_keys, key=KeyKind.ADMIN, answer=list[wire.Key]),
            deletes(f"{path}/{{key}}", revoke_key, key=KeyKind.ADMIN, status=NO_CONTENT),
        )
    ),
    reads(_LISTENERS, list_event_listeners, key=KeyKind.STANDARD, answer=list[wire.EventListener]),
    takes(
        "POST",
        _LISTENERS,
        create_event_listener,
        key=KeyKind.STANDARD,
        body=wire.EventListenerCreate,
        answer=wire.EventListenerDetail,
    ),
    reads(
        f"{_LISTENERS}/{{listener}}",
        get_event_listener,
        key=KeyKind.STANDARD,
        answer=wire.EventListenerDetail,
        single=True,
    ),
    # 200 and an empty body, as Algorithmia's specification says.
    deletes(f"{_LISTENERS}/{{listener}}", delete_event_listener, key=KeyKind.STANDARD, status=200),
)
