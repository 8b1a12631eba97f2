"""Algorithms with their builds and versions, by id, by `owner/name` and by owner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from catalog import events
from catalog.events import RecordedEvent
from catalog.records import Algorithm, Build, Version

BUILD_LOGS_KEPT_MAX = 10
"""Builds of one algorithm whose log tail (up to 16 kB each) stays in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmImage:
    """All that the table holds."""

    algorithms: dict[str, Algorithm]
    id_of_name: dict[tuple[str, str], str]
    ids_of_owner: dict[str, tuple[str, ...]]


class AlgorithmTable:
    """What the log says of an unknown algorithm changes nothing."""

    def __init__(self) -> None:
        self._algorithms: dict[str, Algorithm] = {}
        self._id_of_name: dict[tuple[str, str], str] = {}
        self._ids_of_owner: dict[str, list[str]] = {}

    @classmethod
    def of(cls, image: AlgorithmImage) -> Self:
        """The table that had this image. The image must not be used any more."""
        table = cls()
        table._algorithms = image.algorithms
        table._id_of_name = image.id_of_name
        table._ids_of_owner = {owner: list(ids) for owner, ids in image.ids_of_owner.items()}
        return table

    def image(self) -> AlgorithmImage:
        """A copy that later events do not change."""
        return AlgorithmImage(
            algorithms=self._algorithms.copy(),
            id_of_name=self._id_of_name.copy(),
            ids_of_owner={owner: tuple(ids) for owner, ids in self._ids_of_owner.items()},
        )

    def get(self, algorithm_id: str) -> Algorithm | None:
        """By id."""
        return self._algorithms.get(algorithm_id)

    def named(self, owner_name: str, name: str) -> Algorithm | None:
        """By `owner_name/name`."""
        algorithm_id = self._id_of_name.get((owner_name, name))
        return None if algorithm_id is None else self._algorithms[algorithm_id]

    def all(self) -> tuple[Algorithm, ...]:
        """Oldest first."""
        return tuple(self._algorithms.values())

    def of_owner(self, account_id: str) -> tuple[Algorithm, ...]:
        """Oldest first."""
        return tuple(self._algorithms[one] for one in self._ids_of_owner.get(account_id, ()))

    def created(self, recorded: RecordedEvent, event: events.AlgorithmCreated) -> None:
        """A new algorithm, without builds."""
        if event.algorithm_id not in self._algorithms:
            self._ids_of_owner.setdefault(event.owner_id, []).append(event.algorithm_id)
        self._id_of_name[event.owner_name, event.name] = event.algorithm_id
        self._algorithms[event.algorithm_id] = Algorithm(
            algorithm_id=event.algorithm_id,
            owner_id=event.owner_id,
            owner_name=event.owner_name,
            name=event.name,
            label=event.label,
            summary=event.summary,
            tagline=event.tagline,
            source_kind=event.source_kind,
            source_url=event.source_url,
            source_visibility=event.source_visibility,
            license=event.license,
            network_access=event.network_access,
            pipeline_enabled=event.pipeline_enabled,
            algorithm_environment=event.algorithm_environment,
            builds=(),
            versions=(),
            created_time=recorded.time,
            position=recorded.position,
            stream_version=recorded.version,
        )

    def build_finished(self, recorded: RecordedEvent, event: events.BuildFinished) -> None:
        """One more build; the oldest log that is still kept goes."""
        algorithm = self._algorithms.get(event.algorithm_id)
        if algorithm is None:
            return
        build = Build(
            build_id=event.build_id,
            commit_sha=event.commit_sha,
            succeeded=event.succeeded,
            log_tail=event.log_tail,
            started_at=event.started_at,
            finished_at=event.finished_at,
        )
        self._algorithms[event.algorithm_id] = replace(
            algorithm,
            builds=_with_newest_logs((*algorithm.builds, build)),
            position=recorded.position,
            stream_version=recorded.version,
        )

    def version_published(self, recorded: RecordedEvent, event: events.VersionPublished) -> None:
        """One more version."""
        algorithm = self._algorithms.get(event.algorithm_id)
        if algorithm is None:
            return
        version = Version(
            version=event.version,
            build_id=event.build_id,
            commit_sha=event.commit_sha,
            callability=event.callability,
            release_notes=event.release_notes,
            sample_input=event.sample_input,
            sample_output=event.sample_output,
            published_time=recorded.time,
            published_position=recorded.position,
        )
        self._algorithms[event.algorithm_id] = replace(
            algorithm,
            versions=(*algorithm.versions, version),
            position=recorded.position,
            stream_version=recorded.version,
        )


def _with_newest_logs(builds: tuple[Build, ...]) -> tuple[Build, ...]:
    """The builds without the log tail that has just become too old to keep."""
    if len(builds) <= BUILD_LOGS_KEPT_MAX:
        return builds
    at = len(builds) - BUILD_LOGS_KEPT_MAX - 1
    return (*builds[:at], replace(builds[at], log_tail=""), *builds[at + 1 :])
