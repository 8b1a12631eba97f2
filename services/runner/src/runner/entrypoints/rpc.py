"""Builds by gRPC (`proto/eventflows/runner/v1/runner.proto`)."""

from __future__ import annotations

import grpc.aio
from eventflows.runner.v1 import runner_pb2, runner_pb2_grpc
from kernel.errors import InvalidInput

from runner.application.build_algorithm import BuildAlgorithm
from runner.domain.commit import is_commit

ID_CHARACTERS_MAX = 64


class RunnerService(runner_pb2_grpc.RunnerServicer):
    """The servicer; errors of `kernel.errors` are mapped by servicekit."""

    def __init__(self, builds: BuildAlgorithm) -> None:
        self._builds = builds

    async def Build(  # noqa: N802  the generated name
        self,
        request: runner_pb2.BuildRequest,
        context: grpc.aio.ServicerContext[runner_pb2.BuildRequest, runner_pb2.BuildResponse],
    ) -> runner_pb2.BuildResponse:
        """Answers when the build ended; a caller that goes away does not stop it."""
        if not 0 < len(request.algorithm_id) <= ID_CHARACTERS_MAX:
            raise InvalidInput("algorithm_id is needed.")
        if request.commit_sha and not is_commit(request.commit_sha):
            raise InvalidInput("commit_sha is 40 lower-case hex digits, or empty.")
        report = await self._builds.build(request.algorithm_id, request.commit_sha)
        response = runner_pb2.BuildResponse(
            succeeded=report.succeeded,
            commit_sha=report.commit_sha,
            log_tail=report.log_tail,
        )
        response.started_at.FromDatetime(report.started_at)
        response.finished_at.FromDatetime(report.finished_at)
        return response
