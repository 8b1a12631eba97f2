"""The log as a whole: its head, its chain."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput, Overloaded
from sealedlog.verification import BEGINNING, ChainPoint

from registry.application.archive import beginning
from registry.application.verify import verifying
from registry.ports.archive import LogParts
from registry.ports.event_store import EventStore

VERIFICATIONS_MAX = 2
VERIFICATIONS_RETRY_AFTER_S = 30.0

_log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class LogRpc:
    """Answers from the rows. Verifications read the whole log: VERIFICATIONS_MAX at once."""

    def __init__(self, *, store: EventStore, parts: LogParts) -> None:
        self._store = store
        self._parts = parts
        self._verifications = 0

    async def GetHead(self, _request: pb.GetHeadRequest, _context: Context) -> pb.Head:  # noqa: N802
        head = await self._store.head()
        answer = pb.Head(position=head.position, hash=head.hash)
        answer.time.FromDatetime(head.time)
        return answer

    async def VerifyLog(  # noqa: N802
        self, request: pb.VerifyLogRequest, _context: Context
    ) -> AsyncIterator[pb.VerifyLogProgress]:
        if self._verifications >= VERIFICATIONS_MAX:
            raise Overloaded(
                "the log is being verified already: try again when that is done",
                retry_after_s=VERIFICATIONS_RETRY_AFTER_S,
            )
        self._verifications += 1
        try:
            after = await beginning(self._parts, _after(request))
            async for report in verifying(self._store, after=after, expected=_expected(request)):
                if report.problem:
                    _log.error("the log is not intact", extra={"problem": report.problem})
                yield pb.VerifyLogProgress(
                    done=report.done,
                    intact=report.done and not report.problem,
                    events=report.events,
                    seals=report.seals,
                    head_position=report.head.position,
                    head_hash=report.head.hash,
                    problem=report.problem,
                    after_position=report.after.position,
                )
        finally:
            self._verifications -= 1


def _after(request: pb.VerifyLogRequest) -> ChainPoint:
    if request.after_position == 0:
        if request.after_hash:
            raise InvalidInput("after_hash needs the after_position that it belongs to")
        return BEGINNING
    return ChainPoint(position=request.after_position, hash=request.after_hash)


def _expected(request: pb.VerifyLogRequest) -> ChainPoint | None:
    if request.expected_position == 0 and not request.expected_hash:
        return None
    return ChainPoint(position=request.expected_position, hash=request.expected_hash)
