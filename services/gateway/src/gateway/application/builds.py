"""Builds: the runner builds a commit, the registry notes how it ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC

from catalog.records import Algorithm, Build
from eventflows.registry.v1 import registry_pb2
from eventflows.runner.v1 import runner_pb2
from kernel.errors import NotFound, StateForbids, VersionConflict

from gateway.application.algorithms import (
    AlgorithmRecord,
    AlgorithmRef,
    BuildRecord,
    build_record,
    own_algorithm,
    record,
)
from gateway.application.gateway import CODE_KEY_REUSED, Gateway
from gateway.domain import fields
from gateway.domain.caller import Standard
from gateway.domain.intent import Intent
from gateway.domain.paging import Page, PageRequest, paginate

CODE_BUILD_NOT_FOUND = 1010
RUNNER_LAG_MAX_S = 5.0
RUNNER_LAG_PAUSE_S = 0.05


async def compile_algorithm(
    gateway: Gateway, caller: Standard, ref: AlgorithmRef, *, commit_sha: str, intent: Intent
) -> AlgorithmRecord:
    """Build a commit, or the head of the default branch; returns when the build has ended.

    A failed build is an answer. A repeated intent answers with the first build. Raises NotFound,
    NotAllowed, InvalidInput, VersionConflict, StateForbids (9011), Unavailable, TimedOut.
    """
    algorithm = own_algorithm(gateway.catalog, caller, ref)
    fields.commit_sha(commit_sha)
    # The commit is in the id, so that the same wish for another one is found out by the registry.
    build_id = intent.new_id(f"build {commit_sha}" if commit_sha else "build")
    if (known := _find(algorithm, build_id)) is not None:
        return record(gateway, algorithm, build=known)
    _refuse_stale(algorithm, intent)
    request = runner_pb2.BuildRequest(
        algorithm_id=algorithm.algorithm_id, build_id=build_id, commit_sha=commit_sha
    )
    ended = await _build(gateway, request)
    command = registry_pb2.FinishBuildRequest(
        algorithm_id=algorithm.algorithm_id,
        build_id=build_id,
        commit_sha=ended.commit_sha,
        succeeded=ended.succeeded,
        log_tail=ended.log_tail,
        started_at=ended.started_at,
        finished_at=ended.finished_at,
    )
    try:
        result = await gateway.send(command, caller, intent)
    except StateForbids as error:
        if error.code != CODE_KEY_REUSED:
            raise
        return await _built_meanwhile(gateway, algorithm, build_id, error)
    built = record(gateway, algorithm, build=_from_command(command))
    return replace(built, stream_version=result.version)


def list_builds(
    gateway: Gateway, caller: Standard, ref: AlgorithmRef, page: PageRequest
) -> Page[BuildRecord]:
    """One's builds, newest first. Raises NotFound, NotAllowed, InvalidInput (5002)."""
    algorithm = own_algorithm(gateway.catalog, caller, ref)
    found = paginate(
        algorithm.builds,
        page,
        key=lambda build: (build.finished_at.isoformat(), build.build_id),
        descending=True,
    )
    records = tuple(build_record(algorithm, build) for build in found.items)
    return Page(items=records, marker=found.marker)


def get_build(gateway: Gateway, caller: Standard, ref: AlgorithmRef, build_id: str) -> BuildRecord:
    """One build. Raises NotFound (1010), NotAllowed."""
    algorithm = own_algorithm(gateway.catalog, caller, ref)
    build = _find(algorithm, build_id)
    if build is None:
        raise NotFound(
            "there is no build of this id: GET …/builds lists them", code=CODE_BUILD_NOT_FOUND
        )
    return build_record(algorithm, build)


async def _built_meanwhile(
    gateway: Gateway, algorithm: Algorithm, build_id: str, refused: StateForbids
) -> AlgorithmRecord:
    """The same wish came twice at once: the build that ended first counts. Else `refused`."""
    await gateway.reach_head()
    newest = gateway.catalog.algorithm(algorithm.algorithm_id) or algorithm
    if (known := _find(newest, build_id)) is None:
        raise refused
    return record(gateway, newest, build=known)


async def _build(gateway: Gateway, request: runner_pb2.BuildRequest) -> runner_pb2.BuildResponse:
    """Build, again and again for a bounded time while the runner does not know the algorithm.

    Its catalog follows the same log and may be a moment behind ours, which knows it.
    """
    deadline_s = asyncio.get_running_loop().time() + RUNNER_LAG_MAX_S
    while True:
        try:
            return await gateway.runner.build(request)
        except NotFound:
            if asyncio.get_running_loop().time() > deadline_s:
                raise
        await asyncio.sleep(RUNNER_LAG_PAUSE_S)


def _refuse_stale(algorithm: Algorithm, intent: Intent) -> None:
    """Before minutes of work. Versions only grow: a catalog that lags refuses nothing wrongly."""
    versions = intent.expected_versions
    if versions is not None and max(versions, default=-1) < algorithm.stream_version:
        raise VersionConflict(
            f"{algorithm.full_name} is at version {algorithm.stream_version} and If-Match names an "
            "older one: read it again, then decide again"
        )


def _from_command(command: registry_pb2.FinishBuildRequest) -> Build:
    return Build(
        build_id=command.build_id,
        commit_sha=command.commit_sha,
        succeeded=command.succeeded,
        log_tail=command.log_tail,
        started_at=command.started_at.ToDatetime(tzinfo=UTC),
        finished_at=command.finished_at.ToDatetime(tzinfo=UTC),
    )


def _find(algorithm: Algorithm, build_id: str) -> Build | None:
    return next((build for build in algorithm.builds if build.build_id == build_id), None)
