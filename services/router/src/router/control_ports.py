"""What the control half of the router needs from the world: credentials, probes, other workers.

Order, repetition and errors as in `ports.py`: only errors of `kernel.errors` leave these methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from catalog.events import SecretRef

from router.domain.flow_report import FlowReport
from router.domain.kafka_connection import KafkaConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLogin:
    """What a broker asks for; empty: it does not. What is secret is kept out of `repr`."""

    username: str = ""
    password: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)


class Credentials(Protocol):
    """The vault's secrets. Any number of reads at the same time; nothing is kept."""

    async def read(self, *, stream_id: str, secret: SecretRef) -> BrokerLogin:
        """The login behind a reference of that stream.

        Raises NotFound, with code `catalog.errors.SECRET_GONE` when the vault lost the secret and
        another one when the connection has gone on to another; Unavailable, TimedOut, NotAllowed.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEntry:
    """A worker as it announced itself: where its gRPC listens and what it owns."""

    worker_id: str
    address: str
    shards: frozenset[int]


class Workers(Protocol):
    """Who else works."""

    def others(self) -> tuple[WorkerEntry, ...]:
        """Workers that announced themselves lately, by id, without this one. Never waits."""
        ...


class Peers(Protocol):
    """Questions to other workers. Any number at the same time."""

    async def flow_reports(self, worker: WorkerEntry, flow_ids: Sequence[str]) -> list[FlowReport]:
        """What that worker itself knows about the flows (all of its own when none are named).

        Raises Unavailable, TimedOut after a short deadline, or whatever else it answers.
        """
        ...


class FlowPauses(Protocol):
    """Pauses in the registry's log. Any number of calls at the same time."""

    async def pause(self, flow_id: str, *, reason: str, stream_version: int) -> int:
        """Return once the flow is paused for good, until somebody resumes it: a position of the log
        by which it is. Never drains.

        Raises VersionConflict if anything about the flow changed since `stream_version`,
        StateForbids if it is disabled, Unavailable, TimedOut; whoever does not know whether it was
        paused may ask again.
        """
        ...


class RestartMemory(Protocol):
    """For which flows a worker ended itself, and when. It may be lost, and then nothing is said.

    Both calls are instant and never raise.
    """

    def load(self) -> Mapping[str, datetime]:
        """By flow id; empty when there is nothing, or nothing that can be read."""
        ...

    def save(self, restarts: Mapping[str, datetime]) -> None:
        """Remember these in place of all others."""
        ...


class ProbeResult(Protocol):
    """What a probe found; `problem` is empty exactly if `connected`."""

    @property
    def connected(self) -> bool: ...
    @property
    def problem(self) -> str: ...
    @property
    def brokers(self) -> int: ...
    @property
    def topics(self) -> int: ...
    @property
    def duration_s(self) -> float: ...


class FoundTopic(Protocol):
    """A topic of a cluster."""

    @property
    def name(self) -> str: ...
    @property
    def partitions(self) -> int: ...


class ClusterProbe(Protocol):
    """Questions to a cluster. Any number at the same time; cancelling one closes its sockets."""

    async def probe(self, connection: KafkaConnection) -> ProbeResult:
        """Connect, authenticate, ask for metadata. A broker that refuses is an answer."""
        ...

    async def list_topics(self, connection: KafkaConnection) -> tuple[FoundTopic, ...]:
        """Topics by name, without the broker's own. Raises StateForbids with the cause."""
        ...
