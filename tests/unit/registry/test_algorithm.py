"""Given events, when a command, then events or a refusal: algorithms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from catalog.events import (
    AlgorithmCreated,
    BuildFinished,
    Callability,
    Event,
    SourceKind,
    VersionPublished,
)
from kernel.errors import AlreadyExists, InvalidInput, NotFound, StateForbids, TooLarge
from registry.domain import algorithm
from registry.domain.algorithm import CreateAlgorithm, FinishBuild, PublishVersion, VersionBump

from tests.support.event_log import commit_of, id_of

ALGORITHM = id_of("acme/Echo")
STARTED = datetime(2026, 1, 1, tzinfo=UTC)
CREATE = CreateAlgorithm(
    algorithm_id=ALGORITHM,
    owner_id=id_of("acme"),
    owner_name="acme",
    name="Echo",
    source_kind=SourceKind.GIT,
    source_url="https://git.example.test/echo.git",
)
CREATED = AlgorithmCreated(
    algorithm_id=ALGORITHM,
    owner_id=id_of("acme"),
    owner_name="acme",
    name="Echo",
    source_kind=SourceKind.GIT,
    source_url="https://git.example.test/echo.git",
)
ENDPOINT = replace(CREATE, source_kind=SourceKind.ENDPOINT, source_url="http://model:8000/v1")
PUBLISH = PublishVersion(
    algorithm_id=ALGORITHM, bump=VersionBump.UNSPECIFIED, callability=Callability.PRIVATE
)


def _finish(name: str, *, succeeded: bool = True) -> FinishBuild:
    return FinishBuild(
        algorithm_id=ALGORITHM,
        build_id=id_of(name),
        commit_sha=commit_of(name),
        succeeded=succeeded,
        log_tail="log",
        started_at=STARTED,
        finished_at=STARTED + timedelta(seconds=3),
    )


def _finished(name: str, *, succeeded: bool = True) -> BuildFinished:
    command = _finish(name, succeeded=succeeded)
    return BuildFinished(
        algorithm_id=ALGORITHM,
        build_id=command.build_id,
        commit_sha=command.commit_sha,
        succeeded=succeeded,
        log_tail="log",
        started_at=command.started_at,
        finished_at=command.finished_at,
    )


def _published(name: str, version: str) -> VersionPublished:
    return VersionPublished(
        algorithm_id=ALGORITHM,
        version=version,
        build_id=id_of(name),
        commit_sha=commit_of(name),
        callability=Callability.PRIVATE,
    )


def _decide(given: Sequence[Event], command: Any) -> Sequence[Event]:
    return algorithm.decider.decide(command, algorithm.decider.fold(given))


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        ([], CREATE, [CREATED]),
        ([CREATED], CREATE, []),
        ([CREATED], _finish("b1"), [_finished("b1")]),
        ([CREATED, _finished("b1")], _finish("b1"), []),
        ([CREATED, _finished("b1")], PUBLISH, [_published("b1", "0.1.0")]),
        (
            [CREATED, _finished("b1"), _finished("b2", succeeded=False)],
            PUBLISH,
            [_published("b1", "0.1.0")],
        ),
        (
            [CREATED, _finished("b1"), _published("b1", "0.1.0"), _finished("b2")],
            PUBLISH,
            [_published("b2", "0.2.0")],
        ),
    ],
)
def test_a_command_becomes_events_once(given: list[Event], when: Any, then: list[Event]) -> None:
    assert _decide(given, when) == then


@pytest.mark.parametrize(
    ("newest", "bump", "next_version"),
    [
        ("0.1.0", VersionBump.UNSPECIFIED, "0.2.0"),
        ("0.1.0", VersionBump.MINOR, "0.2.0"),
        ("0.1.9", VersionBump.PATCH, "0.1.10"),
        ("0.9.3", VersionBump.MAJOR, "1.0.0"),
        ("1.4.2", VersionBump.MINOR, "1.5.0"),
    ],
)
def test_versions_count_up(newest: str, bump: VersionBump, next_version: str) -> None:
    given: list[Event] = [
        CREATED,
        _finished("b1"),
        _published("b1", newest),
        _finished("b2"),
    ]
    (published,) = _decide(given, replace(PUBLISH, bump=bump))
    assert isinstance(published, VersionPublished)
    assert published.version == next_version


@pytest.mark.parametrize(
    ("given", "when", "error", "code"),
    [
        ([CREATED], replace(CREATE, label="other"), AlreadyExists, 9009),
        ([], PUBLISH, NotFound, 1009),
        ([], _finish("b1"), NotFound, 1009),
        ([CREATED], PUBLISH, StateForbids, 9010),
        ([CREATED, _finished("b1", succeeded=False)], PUBLISH, StateForbids, 9010),
        ([CREATED, _finished("b1"), _published("b1", "0.1.0")], PUBLISH, StateForbids, 1007),
        (
            [CREATED, _finished("b1"), _published("b1", "0.1.0"), _finished("b2", succeeded=False)],
            PUBLISH,
            StateForbids,
            1007,
        ),
        ([CREATED, _finished("b1")], replace(_finish("b1"), log_tail="x"), AlreadyExists, 9009),
        ([CREATED], replace(_finish("b1"), commit_sha="abc"), InvalidInput, 6001),
        ([CREATED], replace(_finish("b1"), log_tail="x" * 16_385), InvalidInput, 6001),
        (
            [CREATED],
            replace(_finish("b1"), finished_at=STARTED - timedelta(seconds=1)),
            InvalidInput,
            6001,
        ),
        ([], replace(CREATE, name="Ec-ho"), InvalidInput, 6001),
        ([], replace(CREATE, source_url="ftp://x/y"), InvalidInput, 6001),
        ([], replace(ENDPOINT, source_url="file:///x"), InvalidInput, 6001),
        ([], replace(CREATE, network_access="some"), InvalidInput, 6001),
        ([], replace(CREATE, summary="x" * 20_000), TooLarge, 9013),
        (
            [CREATED, _finished("b1")],
            replace(PUBLISH, callability=Callability.UNSPECIFIED),
            InvalidInput,
            6001,
        ),
    ],
)
def test_what_the_state_or_the_values_forbid_is_refused(
    given: list[Event], when: Any, error: type[Exception], code: int
) -> None:
    with pytest.raises(error) as caught:
        _decide(given, when)
    assert getattr(caught.value, "code", None) == code


def test_an_older_build_cannot_be_published_any_more() -> None:
    given: list[Event] = [CREATED, _finished("b1"), _finished("b2")]
    (published,) = _decide(given, PUBLISH)
    assert isinstance(published, VersionPublished)
    assert published.build_id == id_of("b2")


def test_the_name_is_claimed_below_its_owner() -> None:
    claims = algorithm.claims(None, [CREATED])
    assert claims.added == (f"algorithm/{id_of('acme')}/echo",)


def test_a_kept_state_holds_no_build_logs() -> None:
    state = algorithm.decider.fold([CREATED, replace(_finished("b1"), log_tail="x" * 10_000)])
    assert len(repr(state)) < 2_000


def test_only_a_failed_build_may_lack_its_commit() -> None:
    unknown = replace(_finish("b1", succeeded=False), commit_sha="")
    (finished,) = _decide([CREATED], unknown)
    assert isinstance(finished, BuildFinished)
    assert finished.commit_sha == ""
    with pytest.raises(InvalidInput):
        _decide([CREATED], replace(unknown, succeeded=True))
