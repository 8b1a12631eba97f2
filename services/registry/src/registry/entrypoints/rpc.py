"""The Registry service of `proto/eventflows/registry/v1`; who may call: servicekit.identity."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.registry.v1 import registry_pb2_grpc
from kernel.errors import InvalidInput, Overloaded, TimedOut, Unavailable
from servicekit.logs import current_trace, hide
from servicekit.trace import parse_traceparent

from registry.application.commands import CommandContext, Commands, Request
from registry.application.credentials import CREDENTIALS_FIELD, Credentials
from registry.application.log_head import LogHead
from registry.application.metrics import RegistryMetrics
from registry.application.verify import verify
from registry.application.watch import watch
from registry.domain import values
from registry.entrypoints.request_hash import request_hash
from registry.entrypoints.requests import wanted
from registry.ports import EventStore, StoredEvent, Vault

COMMAND_TIMEOUT_S = 30.0
"""For callers without a deadline of their own."""
WATCHERS_MAX = 500
WATCHERS_RETRY_AFTER_S = 5.0

_SERVICE_ACTOR = re.compile(r"service:[a-z]{1,32}")
_log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class RegistryService(registry_pb2_grpc.RegistryServicer):
    """Maps, asks the application, maps back."""

    def __init__(
        self,
        *,
        commands: Commands,
        credentials: Credentials,
        store: EventStore,
        vault: Vault,
        head: LogHead,
        metrics: RegistryMetrics,
        keyed: Callable[[bytes], bytes],
    ) -> None:
        """`keyed` is the keyed hash that stands for credentials in request hashes."""
        self._commands = commands
        self._credentials = credentials
        self._store = store
        self._vault = vault
        self._head = head
        self._metrics = metrics
        self._keyed = keyed
        self._watchers = 0

    async def _command(self, request: Any, context: Context) -> pb.CommandResult:
        about = _command_context(request, request_hash(request, keyed=self._keyed))
        asked = wanted(request, fingerprint=self._fingerprint)
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                result = await self._commands.execute(
                    Request(
                        aggregate=asked.aggregate,
                        stream_id=asked.stream_id,
                        context=about,
                        command=asked.command,
                        secret=asked.secret,
                    )
                )
        except TimeoutError as error:
            raise TimedOut(
                "the outcome was not known in time: send the same command id again"
            ) from error
        return pb.CommandResult(
            stream_id=result.stream_id,
            version=result.version,
            position=result.position,
            replayed=result.replayed,
            changed=result.changed,
        )

    CreateAccount = _command
    CreateApiKey = _command
    RevokeApiKey = _command
    CreateAlgorithm = _command
    FinishBuild = _command
    PublishVersion = _command
    CreateConnection = _command
    DeleteConnection = _command
    SetTopicAccess = _command
    EnableFlow = _command
    DisableFlow = _command
    CreateListener = _command
    DeleteListener = _command

    async def Watch(  # noqa: N802  gRPC's name
        self, request: pb.WatchRequest, _context: Context
    ) -> AsyncIterator[pb.WatchBatch]:
        if request.after_position < 0:
            raise InvalidInput("after_position must be 0 or more")
        if self._watchers >= WATCHERS_MAX:
            raise Overloaded("too many watchers", retry_after_s=WATCHERS_RETRY_AFTER_S)
        self._watchers += 1
        self._metrics.watchers.set(self._watchers)
        try:
            async for page in watch(self._store, self._head, request.after_position):
                yield pb.WatchBatch(
                    from_position=page.from_position,
                    to_position=page.to_position,
                    head_position=page.head_position,
                    events=[_recorded(event) for event in page.events],
                )
        finally:
            self._watchers -= 1
            self._metrics.watchers.set(self._watchers)
        raise Unavailable("the registry is stopping: watch again after your last position")

    async def GetHead(self, _request: pb.GetHeadRequest, _context: Context) -> pb.Head:  # noqa: N802
        head = await self._store.head()
        answer = pb.Head(position=head.position, hash=head.hash)
        answer.time.FromDatetime(head.time)
        return answer

    async def VerifyLog(  # noqa: N802
        self, _request: pb.VerifyLogRequest, _context: Context
    ) -> pb.VerifyLogResponse:
        report = await verify(self._store)
        if report.problem:
            _log.error("the log is not intact", extra={"problem": report.problem})
        return pb.VerifyLogResponse(
            intact=not report.problem,
            events=report.events,
            seals=report.seals,
            head_hash=report.head_hash,
            problem=report.problem,
        )

    async def ReadCredential(  # noqa: N802
        self, request: pb.ReadCredentialRequest, _context: Context
    ) -> pb.Credential:
        plain = await self._credentials.read(
            stream_id=values.uuid("stream_id", request.stream_id),
            secret_id=values.uuid("secret_id", request.secret_id),
        )
        credential = pb.Credential.FromString(plain)
        hide(credential.password)
        hide(credential.connection_string)
        _log.info("a credential was read", extra={"stream_id": request.stream_id})
        return credential

    def _fingerprint(self, stream_id: str, secret: bytes) -> bytes:
        return self._vault.fingerprint(stream_id=stream_id, field=CREDENTIALS_FIELD, secret=secret)


def _command_context(request: Any, hash_: bytes) -> CommandContext:
    given: pb.CommandContext = request.context
    if not _SERVICE_ACTOR.fullmatch(given.actor):
        values.uuid("context.actor", given.actor)
    expected = given.expected_version if given.HasField("expected_version") else None
    if expected is not None:
        values.between("context.expected_version", expected, low=0, high=values.INT32_MAX)
    trace = parse_traceparent(given.traceparent) or current_trace()
    return CommandContext(
        command_id=values.uuid("context.command_id", given.command_id),
        request_hash=hash_,
        actor=given.actor,
        correlation_id=values.line("context.correlation_id", given.correlation_id),
        traceparent=str(trace) if trace else "",
        expected_version=expected,
    )


def _recorded(stored: StoredEvent) -> events_pb2.RecordedEvent:
    """The row as it goes out. Not decoded to records: a kind of a newer build passes unchanged."""
    message = events_pb2.RecordedEvent(
        position=stored.position, stream_id=stored.stream_id, version=stored.version
    )
    message.time.FromDatetime(stored.time)
    message.metadata.MergeFromString(stored.metadata)
    message.event.MergeFromString(stored.data)
    return message
