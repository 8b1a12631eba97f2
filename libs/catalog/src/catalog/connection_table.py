"""Connections to external Kafka clusters, and which algorithm may do what with their topics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from sys import intern
from typing import Self

from catalog import events
from catalog.events import ApiType, Grant, RecordedEvent
from catalog.records import Connection, TopicAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionImage:
    """All that the table of connections holds."""

    connections: dict[str, Connection]
    deleted: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessImage:
    """All that the table of grants holds: by connection, in the order of each topic's first save.

    The grants that stand are those of what was saved last.
    """

    of_connection: dict[str, tuple[TopicAccess, ...]]


class ConnectionTable:
    """Live connections by id, and the names of the deleted ones, so that people can be told."""

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        self._deleted: dict[str, str] = {}

    @classmethod
    def of(cls, image: ConnectionImage) -> Self:
        """The table that had this image. The image must not be used any more."""
        table = cls()
        table._connections = image.connections
        table._deleted = image.deleted
        return table

    def image(self) -> ConnectionImage:
        """A copy that later events do not change."""
        return ConnectionImage(connections=self._connections.copy(), deleted=self._deleted.copy())

    def get(self, connection_id: str) -> Connection | None:
        """By id; None for a deleted one."""
        return self._connections.get(connection_id)

    def deleted_name(self, connection_id: str) -> str | None:
        """The name of a deleted connection."""
        return self._deleted.get(connection_id)

    def all(self) -> tuple[Connection, ...]:
        """Oldest first."""
        return tuple(self._connections.values())

    def created(self, recorded: RecordedEvent, event: events.ConnectionCreated) -> None:
        """A new connection."""
        self._connections[event.connection_id] = Connection(
            connection_id=event.connection_id,
            name=event.name,
            bootstrap_servers=event.bootstrap_servers,
            security_protocol=event.security_protocol,
            sasl_mechanism=event.sasl_mechanism,
            ca_certificate=event.ca_certificate,
            credentials=event.credentials,
            client_certificate=event.client_certificate,
            group_prefix=event.group_prefix,
            created_time=recorded.time,
            position=recorded.position,
            stream_version=recorded.version,
        )

    def updated(self, recorded: RecordedEvent, event: events.ConnectionUpdated) -> None:
        """The connection keeps its id and its age; everything else is as the event says."""
        connection = self._connections.get(event.connection_id)
        if connection is None:
            return
        self._connections[event.connection_id] = Connection(
            connection_id=connection.connection_id,
            name=event.name,
            bootstrap_servers=event.bootstrap_servers,
            security_protocol=event.security_protocol,
            sasl_mechanism=event.sasl_mechanism,
            ca_certificate=event.ca_certificate,
            credentials=event.credentials,
            client_certificate=event.client_certificate,
            group_prefix=event.group_prefix,
            created_time=connection.created_time,
            position=recorded.position,
            stream_version=recorded.version,
        )

    def credentials_shredded(
        self, recorded: RecordedEvent, event: events.ConnectionCredentialsShredded
    ) -> None:
        """The connection has no credentials any more."""
        connection = self._connections.get(event.connection_id)
        if connection is None:
            return
        self._connections[event.connection_id] = replace(
            connection,
            credentials=None,
            position=recorded.position,
            stream_version=recorded.version,
        )

    def deleted(self, event: events.ConnectionDeleted) -> None:
        """The connection is gone for ever; its id never comes back."""
        connection = self._connections.pop(event.connection_id, None)
        self._deleted[event.connection_id] = "" if connection is None else connection.name


class AccessTable:
    """What was saved last for each topic, and every grant that stands."""

    def __init__(self) -> None:
        self._of_connection: dict[str, dict[str, TopicAccess]] = {}
        self._by_id: dict[str, TopicAccess] = {}
        self._grants: set[tuple[str, str, str, ApiType]] = set()

    @classmethod
    def of(cls, image: AccessImage) -> Self:
        """The table that had this image."""
        table = cls()
        table._of_connection = {
            connection_id: {access.topic: access for access in saved}
            for connection_id, saved in image.of_connection.items()
        }
        table._by_id = {
            access.topic_access_id: access
            for saved in image.of_connection.values()
            for access in saved
        }
        table._grants = {
            (access.connection_id, access.topic, grant.algorithm_id, grant.api_type)
            for saved in image.of_connection.values()
            for access in saved
            for grant in access.grants
        }
        return table

    def image(self) -> AccessImage:
        """A copy that later events do not change."""
        return AccessImage(
            of_connection={
                connection_id: tuple(saved.values())
                for connection_id, saved in self._of_connection.items()
            }
        )

    def get(self, connection_id: str, topic: str) -> TopicAccess | None:
        """What was saved last, also when it grants nothing."""
        return self._of_connection.get(connection_id, {}).get(topic)

    def by_id(self, topic_access_id: str) -> TopicAccess | None:
        """The same by the id of its stream."""
        return self._by_id.get(topic_access_id)

    def all(self) -> tuple[TopicAccess, ...]:
        """Connection by connection, each in the order of each topic's first save."""
        return tuple(access for saved in self._of_connection.values() for access in saved.values())

    def of_connection(self, connection_id: str) -> tuple[TopicAccess, ...]:
        """The topics that grant something, in the order of their first save."""
        saved = self._of_connection.get(connection_id, {}).values()
        return tuple(access for access in saved if access.grants)

    def is_granted(
        self, *, connection_id: str, topic: str, algorithm_id: str, api_type: ApiType
    ) -> bool:
        """Does this grant stand?"""
        return (connection_id, topic, algorithm_id, api_type) in self._grants

    def set(
        self, recorded: RecordedEvent, event: events.TopicAccessSet
    ) -> tuple[TopicAccess, tuple[Grant, ...]]:
        """Save; returns what stands now and the grants that stood before and no longer do."""
        connection_id, topic = intern(event.connection_id), intern(event.topic)
        grants = tuple(
            Grant(algorithm_id=intern(grant.algorithm_id), api_type=grant.api_type)
            for grant in dict.fromkeys(event.grants)
        )
        before = self.get(connection_id, topic)
        kept = frozenset(grants)
        taken = tuple(grant for grant in before.grants if grant not in kept) if before else ()
        access = TopicAccess(
            topic_access_id=event.topic_access_id,
            connection_id=connection_id,
            topic=topic,
            grants=grants,
            position=recorded.position,
            stream_version=recorded.version,
        )
        self._of_connection.setdefault(connection_id, {})[topic] = access
        self._by_id[access.topic_access_id] = access
        for grant in taken:
            self._grants.discard((connection_id, topic, grant.algorithm_id, grant.api_type))
        for grant in grants:
            self._grants.add((connection_id, topic, grant.algorithm_id, grant.api_type))
        return access, taken
