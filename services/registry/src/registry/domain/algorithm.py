"""An algorithm: its builds, and the versions that builds became.

(none) ── CreateAlgorithm ──▶ algorithm ──┐
                                  ▲       │ FinishBuild, PublishVersion
                                  └───────┘

a build:  finished with failure            never published
          finished with success, newest    can be published, once
          finished with success, older     never published any more
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from hashlib import sha256
from typing import TypeAlias, assert_never

from catalog.events import (
    AlgorithmCreated,
    BuildFinished,
    Callability,
    Event,
    SourceKind,
    VersionPublished,
)
from kernel.decider import Decider
from kernel.errors import AlreadyExists, InvalidInput, NotFound, StateForbids

from registry.domain import claim, values
from registry.domain.claim import Claims

LOG_TAIL_LENGTH_MAX = 16 * 1024
ALGORITHM_ID_UNKNOWN = 1009
VERSION_ALREADY_PUBLISHED = 1007
SOURCE_VISIBILITIES = frozenset({"", "open", "closed"})
NETWORK_ACCESSES = frozenset({"", "full", "isolated"})


class VersionBump(IntEnum):
    """Which part of the version counts up; nothing said means minor. Protobuf's own numbers."""

    UNSPECIFIED = 0
    MAJOR = 1
    MINOR = 2
    PATCH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAlgorithm:
    """Let an algorithm exist, without a build. `owner_name` is the owner's user name."""

    algorithm_id: str
    owner_id: str
    owner_name: str
    name: str
    label: str = ""
    summary: str = ""
    tagline: str = ""
    source_kind: SourceKind
    source_url: str
    source_visibility: str = ""
    license: str = ""
    network_access: str = ""
    pipeline_enabled: bool = False
    algorithm_environment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishBuild:
    """Note how a build ended."""

    algorithm_id: str
    build_id: str
    commit_sha: str
    succeeded: bool
    log_tail: str
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishVersion:
    """Give the newest successful build a version."""

    algorithm_id: str
    bump: VersionBump
    callability: Callability
    release_notes: str = ""
    sample_input: str = ""
    sample_output: str = ""


Command: TypeAlias = CreateAlgorithm | FinishBuild | PublishVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """State: builds in the order they finished, and the newest version.

    In place of a build's log stands its SHA-256: states are kept in memory, logs are large.
    """

    created: AlgorithmCreated
    builds: dict[str, BuildFinished] = field(default_factory=dict)
    newest_success: BuildFinished | None = None
    published_builds: frozenset[str] = frozenset()
    newest_version: tuple[int, int, int] = (0, 0, 0)


def decide(command: Command, state: Algorithm | None) -> Sequence[Event]:
    """Raises InvalidInput, TooLarge, NotFound, AlreadyExists, StateForbids."""
    match command:
        case CreateAlgorithm():
            return _create(command, state)
        case FinishBuild():
            return _finish_build(command, _existing(state))
        case PublishVersion():
            return _publish(command, _existing(state))
        case _:
            assert_never(command)


def evolve(state: Algorithm | None, event: Event) -> Algorithm | None:
    """The state after one more event."""
    match event:
        case AlgorithmCreated():
            return Algorithm(created=event)
        case BuildFinished() if state:
            build = _without_log(event)
            builds = {**state.builds, event.build_id: build}
            newest = build if event.succeeded else state.newest_success
            return replace(state, builds=builds, newest_success=newest)
        case VersionPublished() if state:
            return replace(
                state,
                published_builds=state.published_builds | {event.build_id},
                newest_version=_parts(event.version),
            )
        case _:
            return state


def claims(_state: Algorithm | None, events: Iterable[Event]) -> Claims:
    """The name below its owner, from creation on."""
    created = (event for event in events if isinstance(event, AlgorithmCreated))
    return Claims(added=tuple(claim.algorithm(event.owner_id, event.name) for event in created))


decider: Decider[Command, Algorithm | None, Event] = Decider(
    initial=None, decide=decide, evolve=evolve
)


def _create(command: CreateAlgorithm, state: Algorithm | None) -> Sequence[Event]:
    _check_creation(command)
    wish = AlgorithmCreated(
        algorithm_id=command.algorithm_id,
        owner_id=command.owner_id,
        owner_name=command.owner_name,
        name=command.name,
        label=command.label,
        summary=command.summary,
        tagline=command.tagline,
        source_kind=command.source_kind,
        source_url=command.source_url,
        source_visibility=command.source_visibility,
        license=command.license,
        network_access=command.network_access,
        pipeline_enabled=command.pipeline_enabled,
        algorithm_environment=command.algorithm_environment,
    )
    if state is None:
        return [wish]
    if state.created == wish:
        return []
    raise AlreadyExists("an algorithm with this algorithm_id exists: choose a fresh uuid")


def _check_creation(command: CreateAlgorithm) -> None:
    values.uuid("algorithm_id", command.algorithm_id)
    values.uuid("owner_id", command.owner_id)
    values.algorithm_name(command.name)
    for name in ("label", "tagline", "license", "algorithm_environment"):
        values.line(name, getattr(command, name))
    values.text("summary", command.summary)
    values.chosen("source_kind", command.source_kind)
    if command.source_kind is SourceKind.GIT:
        values.git_url(command.source_url)
    else:
        values.endpoint_url(command.source_url)
    if command.source_visibility not in SOURCE_VISIBILITIES:
        raise InvalidInput("source_visibility must be open or closed")
    if command.network_access not in NETWORK_ACCESSES:
        raise InvalidInput("network_access must be full or isolated")


def _finish_build(command: FinishBuild, state: Algorithm) -> Sequence[Event]:
    values.uuid("build_id", command.build_id)
    if command.succeeded or command.commit_sha:  # a build may fail before its commit is known
        values.commit_sha(command.commit_sha)
    if len(command.log_tail.encode()) > LOG_TAIL_LENGTH_MAX:
        raise InvalidInput(
            f"log_tail must be at most {LOG_TAIL_LENGTH_MAX} bytes: send its end only"
        )
    if command.started_at.tzinfo is None or command.finished_at.tzinfo is None:
        raise InvalidInput("started_at and finished_at must be times in UTC")
    if command.finished_at < command.started_at:
        raise InvalidInput("finished_at must not be before started_at")
    wish = BuildFinished(
        algorithm_id=command.algorithm_id,
        build_id=command.build_id,
        commit_sha=command.commit_sha,
        succeeded=command.succeeded,
        log_tail=command.log_tail,
        started_at=command.started_at,
        finished_at=command.finished_at,
    )
    if (known := state.builds.get(command.build_id)) is None:
        return [wish]
    if known == _without_log(wish):
        return []
    raise AlreadyExists("this build has ended already: choose a fresh build_id")


def _publish(command: PublishVersion, state: Algorithm) -> Sequence[Event]:
    values.chosen("callability", command.callability)
    for name in ("release_notes", "sample_input", "sample_output"):
        values.text(name, getattr(command, name))
    build = state.newest_success
    if build is None:
        raise StateForbids("the algorithm has no successful build: build it first")
    if build.build_id in state.published_builds:
        raise StateForbids(
            "the newest successful build is published already: build again, then publish",
            code=VERSION_ALREADY_PUBLISHED,
        )
    return [
        VersionPublished(
            algorithm_id=command.algorithm_id,
            version=_next_version(state.newest_version, command.bump),
            build_id=build.build_id,
            commit_sha=build.commit_sha,
            callability=command.callability,
            release_notes=command.release_notes,
            sample_input=command.sample_input,
            sample_output=command.sample_output,
        )
    ]


def _without_log(build: BuildFinished) -> BuildFinished:
    return replace(build, log_tail=sha256(build.log_tail.encode()).hexdigest())


def _next_version(newest: tuple[int, int, int], bump: VersionBump) -> str:
    major, minor, patch = newest
    match bump:
        case VersionBump.MAJOR:
            return f"{major + 1}.0.0"
        case VersionBump.MINOR | VersionBump.UNSPECIFIED:
            return f"{major}.{minor + 1}.0"
        case VersionBump.PATCH:
            return f"{major}.{minor}.{patch + 1}"
        case _:
            assert_never(bump)


def _parts(version: str) -> tuple[int, int, int]:
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)


def _existing(state: Algorithm | None) -> Algorithm:
    if state is None:
        raise NotFound("there is no algorithm with this algorithm_id", code=ALGORITHM_ID_UNKNOWN)
    return state
