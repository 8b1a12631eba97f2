"""Commands: mapped, carried out, mapped back."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import grpc.aio
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import TimedOut
from servicekit.logs import current_trace
from servicekit.trace import parse_traceparent

from registry.application import checks
from registry.application.commands import CommandContext, Commands, Request, Result
from registry.application.credentials import CREDENTIALS_FIELD, Credentials
from registry.domain import values
from registry.entrypoints.request_hash import request_hash
from registry.entrypoints.requests import Wanted, shred_secrets, wanted
from registry.ports.vault import Vault

COMMAND_TIMEOUT_S = 30.0
"""For callers without a deadline of their own."""

_SERVICE_ACTOR = re.compile(r"service:[a-z]{1,32}")

Context = grpc.aio.ServicerContext[Any, Any]


class CommandsRpc:
    """Every RPC that changes configuration."""

    def __init__(self, *, commands: Commands, vault: Vault, credentials: Credentials) -> None:
        self._commands = commands
        self._vault = vault
        self._credentials = credentials

    async def _command(self, request: Any, _context: Context) -> pb.CommandResult:
        about = self._about(request)
        return await self._carry_out(about, wanted(request, fingerprint=self._fingerprint))

    async def UpdateConnection(  # noqa: N802
        self, request: pb.UpdateConnectionRequest, _context: Context
    ) -> pb.CommandResult:
        about = self._about(request)
        asked = wanted(request, fingerprint=self._fingerprint)
        command = asked.command
        if asked.secret is not None:
            lost = await self._credentials.lost_secret_id(asked.stream_id)
            command = replace(command, lost_secret_id=lost)
        return await self._carry_out(
            about, replace(asked, command=checks.update_connection(command))
        )

    async def ShredSecrets(  # noqa: N802
        self, request: pb.ShredSecretsRequest, _context: Context
    ) -> pb.CommandResult:
        about = self._about(request)
        stream_id = values.uuid("stream_id", request.stream_id)
        aggregate = await self._credentials.aggregate_of(stream_id)
        return await self._carry_out(about, shred_secrets(request, aggregate))

    def _about(self, request: Any) -> CommandContext:
        return command_context(request, request_hash(request, keyed=self._vault.request_digest))

    async def _carry_out(self, about: CommandContext, asked: Wanted) -> pb.CommandResult:
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
        return command_result(result)

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
    PauseFlow = _command
    ResumeFlow = _command
    RequestRedrive = _command
    RequestPurge = _command
    CancelDeadLetterTask = _command
    FinishDeadLetterTask = _command
    CreateListener = _command
    DeleteListener = _command

    def _fingerprint(self, stream_id: str, secret: bytes) -> bytes:
        return self._vault.fingerprint(stream_id=stream_id, field=CREDENTIALS_FIELD, secret=secret)


def command_result(result: Result) -> pb.CommandResult:
    """As it goes out."""
    return pb.CommandResult(
        stream_id=result.stream_id,
        version=result.version,
        position=result.position,
        replayed=result.replayed,
        changed=result.changed,
    )


def command_context(request: Any, hash_: bytes) -> CommandContext:
    """Who asks, and how a repeat is recognised. Raises InvalidInput."""
    given: pb.CommandContext = request.context
    if not _SERVICE_ACTOR.fullmatch(given.actor):
        values.uuid("context.actor", given.actor)
    if given.key_id:
        values.uuid("context.key_id", given.key_id)
    expected = given.expected_version if given.HasField("expected_version") else None
    if expected is not None:
        values.between("context.expected_version", expected, low=0, high=values.INT32_MAX)
    trace = parse_traceparent(given.traceparent) or current_trace()
    return CommandContext(
        command_id=values.uuid("context.command_id", given.command_id),
        request_hash=hash_,
        actor=given.actor,
        key_id=given.key_id,
        correlation_id=values.line("context.correlation_id", given.correlation_id),
        traceparent=str(trace) if trace else "",
        expected_version=expected,
    )
