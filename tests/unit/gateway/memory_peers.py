"""The router and the runner in memory: what a test says they say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha1

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
