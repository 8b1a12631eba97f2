"""Why a flow does not run: one word for programs, one sentence for people.

The words never change; the sentences may. A sentence says what to do and holds no secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from catalog.events import BrokerKind, FlowKind
from catalog.records import Algorithm

PATH_NODES_MAX = 16
"""Longer paths are written with a gap in the middle."""


class BlockReasonKind(StrEnum):
    """The stable words."""

    FLOW_DELETED = "flow_deleted"
    DISABLED = "disabled"
    NO_ADAPTER_YET = "no_adapter_yet"
    CONNECTION_DELETED = "connection_deleted"
    CREDENTIALS_MISSING = "credentials_missing"
    GRANT_REVOKED = "grant_revoked"
    ALGORITHM_MISSING = "algorithm_missing"
    NO_PUBLISHED_VERSION = "no_published_version"
    VERSION_NOT_PUBLISHED = "version_not_published"
    DEAD_LETTER_NOT_GRANTED = "dead_letter_not_granted"
    CYCLE = "cycle"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReason:
    """One thing that stands in the way."""

    kind: BlockReasonKind
    sentence: str


_BROKER_NAMES = {
    BrokerKind.SQS: "Amazon SQS",
    BrokerKind.SERVICE_BUS: "Azure Service Bus",
    BrokerKind.KAFKA: "Apache Kafka",
}
_ROLE_OF_KIND = {FlowKind.SUBSCRIBER: "subscriber", FlowKind.PUBLISHER: "publisher"}


# One function a kind. The arguments are what the sentence names, so they must not be secrets.


def flow_deleted(flow_id: str) -> BlockReason:
    return BlockReason(
        kind=BlockReasonKind.FLOW_DELETED,
        sentence=f"there is no flow {flow_id}: it was deleted, or its grant was taken away before "
        "it was enabled",
    )


def disabled() -> BlockReason:
    return BlockReason(
        kind=BlockReasonKind.DISABLED, sentence="the flow is disabled: enable it to let it run"
    )


def no_adapter_yet(broker: BrokerKind) -> BlockReason:
    name = _BROKER_NAMES.get(broker, "this broker")
    return BlockReason(
        kind=BlockReasonKind.NO_ADAPTER_YET,
        sentence=f"blocked: no adapter yet for {name}; the flow is kept and starts by itself with "
        "a release that has one",
    )


def connection_deleted(name: str) -> BlockReason:
    which = f"the connection {name}" if name else "the flow's connection"
    return BlockReason(
        kind=BlockReasonKind.CONNECTION_DELETED,
        sentence=f"{which} was deleted: let an admin create a new one and grant its topics",
    )


def credentials_missing(what: str) -> BlockReason:
    return BlockReason(
        kind=BlockReasonKind.CREDENTIALS_MISSING,
        sentence=f"{what} has no credentials: let an admin enter its user name and password, or "
        "the key of its client certificate, again, or delete the listener and create it again with "
        "its connection string",
    )


def grant_revoked(algorithm: str, topic: str, kind: FlowKind) -> BlockReason:
    return BlockReason(
        kind=BlockReasonKind.GRANT_REVOKED,
        sentence=f"{algorithm} is no longer a {_ROLE_OF_KIND.get(kind, 'member')} of the topic "
        f"{topic}: let an admin grant it again",
    )


def algorithm_missing(algorithm_id: str) -> BlockReason:
    return BlockReason(
        kind=BlockReasonKind.ALGORITHM_MISSING,
        sentence=f"there is no algorithm {algorithm_id}: delete the flow and create one with an "
        "algorithm that exists",
    )


def no_published_version(algorithm: Algorithm) -> BlockReason:
    return BlockReason(
        kind=BlockReasonKind.NO_PUBLISHED_VERSION,
        sentence=f"{algorithm.full_name} has no published version: publish one",
    )


def version_not_published(algorithm: Algorithm, wanted: str) -> BlockReason:
    return BlockReason(
        kind=BlockReasonKind.VERSION_NOT_PUBLISHED,
        sentence=f"{algorithm.full_name} has no published version {wanted}: publish it, or enable "
        "the flow with another one",
    )


def dead_letter_not_granted(algorithm: str, topic: str) -> BlockReason:
    return BlockReason(
        kind=BlockReasonKind.DEAD_LETTER_NOT_GRANTED,
        sentence=f"{algorithm} may not write dead letters to the topic {topic}: let an admin grant "
        "it on the flow's connection as publisher or dead letter, or enable the flow without it",
    )


def cycle(path: Sequence[str]) -> BlockReason:
    if len(path) > PATH_NODES_MAX:
        half = PATH_NODES_MAX // 2
        path = (*path[:half], "…", *path[-half:])
    return BlockReason(
        kind=BlockReasonKind.CYCLE,
        sentence=f"the flow closes a cycle: {' → '.join(path)}; disable a flow of it, or enable "
        "this one with allow_cycle",
    )
