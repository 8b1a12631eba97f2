"""The router and the runner in memory: what a test says they say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha1

from eventflows.events.v1.events_pb2 import DeadLetterSelection
from eventflows.router.v1 import router_pb2
from eventflows.runner.v1 import runner_pb2
from gateway.ports import RunAnswer, RunRequest
from kernel.errors import NotFound, StateForbids, Unavailable

COMMIT = sha1(b"first commit").hexdigest()


@dataclass
class MemoryRouter:
    """Port `RouterLive`."""

    reachable: bool = True
    broker_problem: str = ""
    topics: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, router_pb2.FlowStatus] = field(default_factory=dict)
    letters: list[router_pb2.GetDeadLetterResponse] = field(default_factory=list)
    page_size_max: int = 500
    selections: list[DeadLetterSelection] = field(default_factory=list)
    tasks: dict[str, router_pb2.DeadLetterTaskProgress] = field(default_factory=dict)

    async def test_connection(self, connection_id: str) -> router_pb2.TestConnectionResponse:
        self._check()
        return router_pb2.TestConnectionResponse(
            connected=not self.broker_problem,
            problem=self.broker_problem,
            brokers=0 if self.broker_problem else 3,
            topics=len(self.topics),
            duration_s=0.25,
        )

    async def list_topics(self, connection_id: str) -> router_pb2.ListTopicsResponse:
        self._check()
        if self.broker_problem:
            raise StateForbids(self.broker_problem)
        topics = [router_pb2.Topic(name=n, partitions=p) for n, p in sorted(self.topics.items())]
        return router_pb2.ListTopicsResponse(topics=topics)

    async def flow_status(self, flow_ids: list[str]) -> router_pb2.GetFlowStatusResponse:
        self._check()
        known = [self.statuses[one] for one in flow_ids if one in self.statuses]
        return router_pb2.GetFlowStatusResponse(flows=known)

    async def list_dead_letters(
        self, request: router_pb2.ListDeadLettersRequest
    ) -> router_pb2.ListDeadLettersResponse:
        """The page token is the index of the first one of the page."""
        self._check()
        self.selections.append(request.selection)
        fitting = [one.letter for one in self._fitting(request.flow_id, request.selection)]
        state = request.state or router_pb2.DEAD_LETTER_STATE_OPEN
        fitting = [one for one in fitting if one.state == state]
        begin = int(request.page_token or 0)
        end = begin + min(request.page_size, self.page_size_max)
        return router_pb2.ListDeadLettersResponse(
            letters=fitting[begin:end],
            next_page_token=str(end) if end < len(fitting) else "",
            truncated=request.own_topic,
        )

    async def get_dead_letter(
        self, request: router_pb2.GetDeadLetterRequest
    ) -> router_pb2.GetDeadLetterResponse:
        self._check()
        for one in self.letters:
            if one.letter.letter_id == request.letter_id:
                return one
        raise NotFound("no such letter: look at another")

    async def count_dead_letters(
        self, request: router_pb2.CountDeadLettersRequest
    ) -> router_pb2.CountDeadLettersResponse:
        self._check()
        self.selections.append(request.selection)
        fitting = self._fitting(request.flow_id, request.selection)
        return router_pb2.CountDeadLettersResponse(
            letters=len(fitting), truncated=request.own_topic
        )

    async def dead_letter_task(self, dead_letter_task_id: str) -> router_pb2.DeadLetterTaskProgress:
        self._check()
        if dead_letter_task_id not in self.tasks:
            raise NotFound("nobody has begun with it: try again in a moment")
        return self.tasks[dead_letter_task_id]

    def _fitting(
        self, flow_id: str, selection: DeadLetterSelection
    ) -> list[router_pb2.GetDeadLetterResponse]:
        return [
            one
            for one in self.letters
            if flow_id in ("", one.letter.flow_id)
            and selection.error_type in ("", one.letter.error_type)
        ]

    def _check(self) -> None:
        if not self.reachable:
            raise Unavailable("no router worker answers: try again when the router runs")


@dataclass
class MemoryRunner:
    """Port `Runner`: echoes the input, builds everything."""

    reachable: bool = True
    builds_succeed: bool = True
    commit: str = COMMIT
    behind_for: int = 0  # builds that are asked for before its catalog has the algorithm
    status: int = 200
    runs: list[RunRequest] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    builds: list[runner_pb2.BuildRequest] = field(default_factory=list)

    @asynccontextmanager
    async def run(self, request: RunRequest) -> AsyncIterator[RunAnswer]:
        if not self.reachable:
            raise Unavailable("the runner cannot be reached: try again later")
        body = b"".join([chunk async for chunk in request.body])
        self.runs.append(request)
        self.bodies.append(body)

        async def answer() -> AsyncIterator[bytes]:
            yield b'{"result":'
            yield body + b"}"

        headers = {"content-type": "application/json"}
        yield RunAnswer(status=self.status, headers=headers, body=answer())

    async def build(self, request: runner_pb2.BuildRequest) -> runner_pb2.BuildResponse:
        if not self.reachable:
            raise Unavailable("the runner cannot be reached: try again later")
        self.builds.append(request)
        if len(self.builds) <= self.behind_for:
            raise NotFound("this runner knows no such algorithm: try again in a moment")
        answer = runner_pb2.BuildResponse(
            succeeded=self.builds_succeed,
            commit_sha=request.commit_sha or self.commit,
            log_tail="Beginning container customization\n",
        )
        answer.started_at.FromDatetime(datetime(2026, 11, 23, 10, tzinfo=UTC))
        answer.finished_at.FromDatetime(datetime(2026, 11, 23, 10, 1, tzinfo=UTC))
        return answer
