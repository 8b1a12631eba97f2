"""Event listeners: a user's flows on Amazon SQS and Azure Service Bus (algorithmia-api 2.5)."""

from __future__ import annotations

from dataclasses import dataclass, field

from catalog.catalog import Catalog
from catalog.events import BrokerKind
from catalog.records import Account, Algorithm, Flow
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from kernel.errors import NotFound
from servicekit.logs import hide

from gateway.application.algorithms import AlgorithmRef, algorithm_of, visible_versions
from gateway.application.gateway import Gateway
from gateway.application.users import own_account, own_account_shown
from gateway.application.versions import CODE_VERSION_NOT_FOUND
from gateway.domain.caller import Standard
from gateway.domain.fields import is_uuid
from gateway.domain.intent import Intent
from gateway.domain.listeners import (
    SOURCE_TYPE_NAMES,
    Source,
    broker_of,
    shared_access_key,
    shown_credentials,
)

TIMEOUT_DEFAULT_S = 420


@dataclass(frozen=True, slots=True, kw_only=True)
class NewListener:
    """A listener to create. Empty version: the newest published one; timeout 0: 420 s."""

    source_type: str
    source_uri: str
    algo_owner: str
    algo_name: str
    algo_version: str = ""
    algo_timeout_s: int = 0
    credentials: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerRecord:
    """A listener as it is shown: a role ARN in clear, a connection string by its fingerprint."""

    id: str
    source_type: str
    source_uri: str
    algo_name: str
    algo_owner: str
    algo_version: str
    algo_timeout_s: int
    listener_owner: str
    credentials: str
    stream_version: int


def list_listeners(gateway: Gateway, caller: Standard, user: str) -> tuple[ListenerRecord, ...]:
    """One's listeners, oldest first. Raises NotAllowed, NotFound (no such account then)."""
    account = own_account_shown(gateway, caller, user)
    flows = gateway.catalog.listeners_of(account.account_id)
    return tuple(_record(gateway.catalog, account, flow) for flow in flows)


def get_listener(gateway: Gateway, caller: Standard, user: str, listener_id: str) -> ListenerRecord:
    """One of one's listeners. Raises NotFound, NotAllowed."""
    account = own_account_shown(gateway, caller, user)
    return _record(gateway.catalog, account, _listener(gateway.catalog, account, listener_id))


async def create_listener(
    gateway: Gateway, caller: Standard, user: str, new: NewListener, intent: Intent
) -> ListenerRecord:
    """Attach a queue to an algorithm that the caller may call. Enabled at once.

    Raises NotAllowed, NotFound (1000, 1014), InvalidInput.
    """
    account = own_account(caller, user)
    source = Source(
        source_type=new.source_type, source_uri=new.source_uri, credentials=new.credentials
    )
    broker = broker_of(source)
    if broker is BrokerKind.SERVICE_BUS:
        for secret in (new.credentials, shared_access_key(new.credentials)):
            hide(secret)
    algorithm = _callable_algorithm(gateway.catalog, caller, new)
    command = registry_pb2.CreateListenerRequest(
        flow_id=intent.new_id("listener"),
        owner_id=account.account_id,
        algorithm_id=algorithm.algorithm_id,
        algorithm_version=new.algo_version,
        broker=events_pb2.BrokerKind.Value(f"BROKER_KIND_{broker.name}"),
        source_uri=new.source_uri,
        timeout_s=new.algo_timeout_s or TIMEOUT_DEFAULT_S,
    )
    if broker is BrokerKind.SQS:
        command.role_arn = new.credentials
    else:
        command.credentials.connection_string = new.credentials
    result = await gateway.send(command, caller, intent)
    flow = gateway.catalog.flow(command.flow_id)
    if flow is not None:
        return _record(gateway.catalog, account, flow)
    return ListenerRecord(
        id=command.flow_id,
        source_type=new.source_type,
        source_uri=new.source_uri,
        algo_name=algorithm.name,
        algo_owner=algorithm.owner_name,
        algo_version=new.algo_version,
        algo_timeout_s=command.timeout_s,
        listener_owner=account.username,
        credentials=command.role_arn or UNKNOWN_FINGERPRINT,
        stream_version=result.version,
    )


UNKNOWN_FINGERPRINT = "sha256:"
"""A secret whose fingerprint the catalog does not have yet."""


async def delete_listener(
    gateway: Gateway, caller: Standard, user: str, listener_id: str, intent: Intent
) -> None:
    """Delete one of one's listeners for good. Raises NotFound, NotAllowed, VersionConflict."""
    account = own_account(caller, user)
    command = registry_pb2.DeleteListenerRequest(flow_id=listener_id.lower())
    if _find(gateway.catalog, account, listener_id) is None:
        if is_uuid(listener_id) and await gateway.did_before(command, caller, intent):
            return
        raise _no_such_listener()
    await gateway.send(command, caller, intent)


def _listener(catalog: Catalog, account: Account, listener_id: str) -> Flow:
    found = _find(catalog, account, listener_id)
    if found is None:
        raise _no_such_listener()
    return found


def _find(catalog: Catalog, account: Account, listener_id: str) -> Flow | None:
    flows = catalog.listeners_of(account.account_id)
    return next((flow for flow in flows if flow.flow_id == listener_id.lower()), None)


def _no_such_listener() -> NotFound:
    return NotFound("there is no event listener of this id: GET …/event-listeners lists them")


def _callable_algorithm(catalog: Catalog, caller: Standard, new: NewListener) -> Algorithm:
    algorithm = algorithm_of(catalog, AlgorithmRef(new.algo_owner, new.algo_name))
    versions = {version.version for version in visible_versions(algorithm, caller)}
    if not versions or (new.algo_version and new.algo_version not in versions):
        raise NotFound(
            "algoVersion must be a published version that you may call, such as 0.1.0, or be left "
            "out for the newest: GET …/versions lists them",
            code=CODE_VERSION_NOT_FOUND,
        )
    return algorithm


def _record(catalog: Catalog, account: Account, flow: Flow) -> ListenerRecord:
    channel, algorithm = flow.channel, catalog.algorithm(flow.algorithm_id)
    settings = flow.last_settings
    # The log has a listener only with a queue, an existing algorithm and settings.
    assert channel is not None
    assert algorithm is not None
    assert settings is not None
    return ListenerRecord(
        id=flow.flow_id,
        source_type=SOURCE_TYPE_NAMES[channel.broker],
        source_uri=channel.name,
        algo_name=algorithm.name,
        algo_owner=algorithm.owner_name,
        algo_version=settings.algorithm_version,
        algo_timeout_s=settings.timeout_s,
        listener_owner=account.username,
        credentials=shown_credentials(role_arn=channel.role_arn, credentials=channel.credentials),
        stream_version=flow.stream_version,
    )
