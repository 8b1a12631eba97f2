"""What the gateway needs from the other processes. Messages are those of `proto/`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from catalog.catalog import Catalog
from eventflows.registry.v1 import registry_pb2
from eventflows.router.v1 import router_pb2
from eventflows.runner.v1 import runner_pb2

from gateway.domain.moment import AsOf, Moment

Command: TypeAlias = (
    registry_pb2.CreateAccountRequest
    | registry_pb2.CreateApiKeyRequest
    | registry_pb2.RevokeApiKeyRequest
    | registry_pb2.CreateAlgorithmRequest
    | registry_pb2.FinishBuildRequest
    | registry_pb2.PublishVersionRequest
    | registry_pb2.CreateConnectionRequest
    | registry_pb2.UpdateConnectionRequest
    | registry_pb2.DeleteConnectionRequest
    | registry_pb2.SetTopicAccessRequest
    | registry_pb2.EnableFlowRequest
    | registry_pb2.DisableFlowRequest
    | registry_pb2.PauseFlowRequest
    | registry_pb2.ResumeFlowRequest
    | registry_pb2.RequestRedriveRequest
    | registry_pb2.RequestPurgeRequest
    | registry_pb2.CancelDeadLetterTaskRequest
    | registry_pb2.CreateListenerRequest
    | registry_pb2.DeleteListenerRequest
    | registry_pb2.RevertRequest
    | registry_pb2.ShredSecretsRequest
)


class CatalogView(Protocol):
    """The read model, kept equal to the registry's log: a `CatalogFollower`."""

    @property
    def catalog(self) -> Catalog:
        """What is known now. Changes only while its reader awaits."""
        ...

    @property
    def caught_up(self) -> asyncio.Event:
        """Set for good once the catalog has what the log held when this process started."""
        ...

    async def wait_for(self, position: int, *, timeout_s: float) -> None:
        """Return when the catalog has `position`. Raises TimedOut. Cancelling is harmless."""
        ...

    def staleness_s(self) -> float:
        """Seconds since the registry was last heard; infinity before the first time."""
        ...


class Registry(Protocol):
    """The only writer of configuration."""

    async def send(self, command: Command) -> registry_pb2.CommandResult:
        """Do the command. Safe to repeat with the same command id; any number at once.

        Raises the registry's own refusals (InvalidInput, NotFound, AlreadyExists, StateForbids,
        VersionConflict, TooLarge), and Unavailable, TimedOut or Overloaded: it may or may not have
        happened then. Cancelling does not undo it.
        """
        ...


class Log(Protocol):
    """The registry's log, read by people. All are reads, safe to repeat, any number at once.

    Each raises InvalidInput, Overloaded, Unavailable, TimedOut.
    """

    async def head(self) -> registry_pb2.Head:
        """Where the log ends now."""
        ...

    async def read(self, request: registry_pb2.ReadLogRequest) -> registry_pb2.ReadLogResponse:
        """One page of events, and how far it covers the log.

        Raises NotFound beyond the head, StateForbids for what is in archive files only.
        """
        ...

    async def diff(self, request: registry_pb2.DiffRequest) -> registry_pb2.DiffResponse:
        """What differs between two moments, and who changed it.

        Raises InvalidInput with the registry's sentence for a moment that it does not have.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Then:
    """The catalog as of a moment. Nobody changes it."""

    moment: Moment
    catalog: Catalog


class PastRead(Protocol):
    """A question for a past moment that is resolved and not read yet."""

    @property
    def moment(self) -> Moment:
        """What it was resolved to: the same for ever."""
        ...

    async def restored(self) -> Catalog:
        """The whole catalog of that moment. Once only. Raises Unavailable, TimedOut, TooLarge."""
        ...


class Past(Protocol):
    """The configuration as of any moment, as the registry resolves and folds it."""

    def at(self, as_of: AsOf) -> AbstractAsyncContextManager[PastRead]:
        """Ask; leaving the context without reading costs next to nothing. Safe to repeat.

        Raises InvalidInput with the registry's sentence for a moment that it does not have (yet,
        or any more), Overloaded when the registry reads enough of them, Unavailable, TimedOut.
        """
        ...


class RouterLive(Protocol):
    """Live questions to the router; any worker answers. All are reads, safe to repeat."""

    async def test_connection(self, connection_id: str) -> router_pb2.TestConnectionResponse:
        """Try to connect. A broker that refuses is an answer. Raises NotFound, Unavailable."""
        ...

    async def list_topics(self, connection_id: str) -> router_pb2.ListTopicsResponse:
        """Topics by name. Raises StateForbids with the broker's problem, NotFound, Unavailable."""
        ...

    async def flow_status(self, flow_ids: list[str]) -> router_pb2.GetFlowStatusResponse:
        """What the owners say of these flows, empty: all. Raises Unavailable."""
        ...

    async def list_dead_letters(
        self, request: router_pb2.ListDeadLettersRequest
    ) -> router_pb2.ListDeadLettersResponse:
        """A page of dead letters, newest first.

        Raises InvalidInput (the page token), NotFound (the flow), StateForbids when the router has
        no index or the broker of the flow's own topic cannot be reached, Unavailable.
        """
        ...

    async def get_dead_letter(
        self, request: router_pb2.GetDeadLetterRequest
    ) -> router_pb2.GetDeadLetterResponse:
        """One of them whole. Raises as `list_dead_letters`, and NotFound for the letter."""
        ...

    async def count_dead_letters(
        self, request: router_pb2.CountDeadLettersRequest
    ) -> router_pb2.CountDeadLettersResponse:
        """How many a redrive or purge would take now. Raises as `list_dead_letters`."""
        ...

    async def dead_letter_task(self, dead_letter_task_id: str) -> router_pb2.DeadLetterTaskProgress:
        """How far a task is. Raises NotFound (nobody began with it), StateForbids, Unavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run to hand to the runner, its body unparsed."""

    owner: str
    name: str
    version: str
    query: str
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnswer:
    """The runner's answer, its body unparsed."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


class Runner(Protocol):
    """Runs and builds algorithms."""

    def run(self, request: RunRequest) -> AbstractAsyncContextManager[RunAnswer]:
        """Stream the body in and the answer out; the answer ends with the context.

        Whatever the runner says is an answer, also 4xx and 5xx. Raises Unavailable when it cannot
        be reached, TimedOut, and what the body iterator raises.
        """
        ...

    async def build(self, request: runner_pb2.BuildRequest) -> runner_pb2.BuildResponse:
        """Build a commit; minutes. A failed build is an answer. Raises NotFound, Unavailable."""
        ...
