"""Topics of a connection, and which algorithms may use each: saved a topic at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalog.catalog import Catalog
from catalog.events import ApiType, Grant
from catalog.records import TopicAccess
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from kernel.errors import InvalidInput, StateForbids

from gateway.application.connections import connection_of
from gateway.application.gateway import Gateway
from gateway.domain import fields
from gateway.domain.caller import Admin
from gateway.domain.intent import Intent

GRANTS_MAX = 1_000
API_TYPES = {
    "publisher": ApiType.PUBLISHER,
    "subscriber": ApiType.SUBSCRIBER,
    "dead_letter": ApiType.DEAD_LETTER,
}
API_TYPE_NAMES = {value: name for name, value in API_TYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRecord:
    """One algorithm's permission: `owner/name` and `publisher`, `subscriber` or `dead_letter`."""

    algorithm: str
    api_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRecord:
    """A topic with its grants. `partitions` is None when the broker does not have it."""

    name: str
    partitions: int | None
    algorithms: tuple[GrantRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicAccessRecord:
    """The grants of a topic, and the version to send in `If-Match` (0: never saved)."""

    topic: str
    algorithms: tuple[GrantRecord, ...]
    stream_version: int


async def list_topics(
    gateway: Gateway, _caller: Admin, connection_id: str
) -> tuple[TopicRecord, ...]:
    """Live from the broker, with grants; topics that have only grants come too. By name.

    Raises NotFound, StateForbids when the broker cannot be reached, Unavailable without a router.
    """
    connection = connection_of(gateway.catalog, connection_id)
    live = await gateway.router.list_topics(connection.connection_id)
    partitions: dict[str, int | None] = {topic.name: topic.partitions for topic in live.topics}
    access = {a.topic: a for a in gateway.catalog.topics_with_access(connection.connection_id)}
    return tuple(
        TopicRecord(
            name=name,
            partitions=partitions.get(name),
            algorithms=_grants(gateway.catalog, access.get(name)),
        )
        for name in sorted(partitions.keys() | access.keys())
    )


def get_topic_access(
    gateway: Gateway, _caller: Admin, connection_id: str, topic: str
) -> TopicAccessRecord:
    """Who may use a topic; nobody, for one that was never saved. Raises NotFound, InvalidInput."""
    connection = connection_of(gateway.catalog, connection_id)
    fields.topic(topic)
    return _record(gateway.catalog, connection.connection_id, topic)


async def set_topic_access(
    gateway: Gateway,
    caller: Admin,
    connection_id: str,
    topic: str,
    grants: Sequence[GrantRecord],
    intent: Intent,
) -> TopicAccessRecord:
    """Replace all grants of a topic at once. A grant taken away blocks its flow everywhere.

    Raises NotFound, InvalidInput, StateForbids (not published), VersionConflict.
    """
    connection = connection_of(gateway.catalog, connection_id)
    fields.topic(topic)
    if len(grants) > GRANTS_MAX:
        raise InvalidInput(f"algorithms may have at most {GRANTS_MAX} rows")
    command = registry_pb2.SetTopicAccessRequest(
        connection_id=connection.connection_id,
        topic=topic,
        grants=[_granted(gateway.catalog, grant) for grant in grants],
    )
    result = await gateway.send(command, caller, intent)
    return TopicAccessRecord(topic=topic, algorithms=tuple(grants), stream_version=result.version)


def _granted(catalog: Catalog, grant: GrantRecord) -> events_pb2.Grant:
    owner, name = fields.algorithm_reference(grant.algorithm, field="algorithms[].algorithm")
    fields.one_of(grant.api_type, API_TYPES, field="algorithms[].api_type")
    algorithm = catalog.algorithm_named(owner, name)
    if algorithm is None:
        raise InvalidInput(
            f"algorithms[].algorithm: there is no algorithm {owner}/{name}: check its owner and "
            "name, or create and publish it first"
        )
    if not algorithm.versions:
        raise StateForbids(
            f"{owner}/{name} has no published version: publish one, then add it to the topic"
        )
    return events_pb2.Grant(
        algorithm_id=algorithm.algorithm_id,
        api_type=events_pb2.ApiType.Value(f"API_TYPE_{API_TYPES[grant.api_type].name}"),
    )


def _record(catalog: Catalog, connection_id: str, topic: str) -> TopicAccessRecord:
    access = catalog.topic_access(connection_id, topic)
    return TopicAccessRecord(
        topic=topic,
        algorithms=_grants(catalog, access),
        stream_version=access.stream_version if access is not None else 0,
    )


def _grants(catalog: Catalog, access: TopicAccess | None) -> tuple[GrantRecord, ...]:
    return tuple(_grant(catalog, grant) for grant in access.grants) if access else ()


def _grant(catalog: Catalog, grant: Grant) -> GrantRecord:
    algorithm = catalog.algorithm(grant.algorithm_id)
    # An algorithm is never deleted, so its id stands here only when the log itself is damaged.
    name = algorithm.full_name if algorithm is not None else grant.algorithm_id
    return GrantRecord(algorithm=name, api_type=API_TYPE_NAMES[grant.api_type])
