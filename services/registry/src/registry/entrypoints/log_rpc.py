"""The log as a whole: its head, its chain."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from eventflows.registry.v1 import registry_pb2 as pb

from registry.application.verify import verify
from registry.ports.event_store import EventStore

_log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class LogRpc:
    """Answers from the rows."""

    def __init__(self, *, store: EventStore) -> None:
        self._store = store

    async def GetHead(self, _request: pb.GetHeadRequest, _context: Context) -> pb.Head:  # noqa: N802
        head = await self._store.head()
        answer = pb.Head(position=head.position, hash=head.hash)
        answer.time.FromDatetime(head.time)
        return answer

    async def VerifyLog(  # noqa: N802
        self, _request: pb.VerifyLogRequest, _context: Context
    ) -> AsyncIterator[pb.VerifyLogProgress]:
        report = await verify(self._store)
        if report.problem:
            _log.error("the log is not intact", extra={"problem": report.problem})
        yield pb.VerifyLogProgress(
            done=True,
            intact=not report.problem,
            events=report.events,
            seals=report.seals,
            head_hash=report.head_hash,
            problem=report.problem,
        )
