"""Algorithms as their owners manage them (algorithmia-api 2.3): find, create, show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from catalog.catalog import Catalog
from catalog.events import Callability, SourceKind
from catalog.records import Algorithm, Build, Version
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from kernel.errors import InvalidInput, NotAllowed, NotFound

from gateway.application.gateway import Gateway
from gateway.application.users import NOT_YOURS, own_account
from gateway.domain.caller import Standard
from gateway.domain.fields import is_uuid
from gateway.domain.intent import Intent

CODE_ALGORITHM_NOT_FOUND = 1000
NO_SUCH_ALGORITHM = "No such algorithm"  # the Node client's test compares it


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAlgorithm:
    """An algorithm to create: exactly one of `git_url` and `endpoint_url`."""

    name: str
    label: str = ""
    summary: str = ""
    tagline: str = ""
    git_url: str = ""
    endpoint_url: str = ""
    source_visibility: str = ""
    license: str = ""
    network_access: str = ""
    pipeline_enabled: bool = False
    algorithm_environment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """A build that has ended. `semantic_version` when it was published.

    `stream_version` is that of its algorithm.
    """

    build_id: str
    succeeded: bool
    commit_sha: str
    started_at: datetime
    finished_at: datetime
    semantic_version: str | None
    log_tail: str
    stream_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmRecord:
    """An algorithm as it is shown, at one of its versions or builds, or at none."""

    id: str
    owner: str
    name: str
    label: str
    summary: str
    tagline: str
    source_kind: SourceKind
    source_url: str
    source_visibility: str
    license: str
    network_access: str
    pipeline_enabled: bool
    algorithm_environment: str
    version: Version | None
    build: BuildRecord | None
    self_link: str
    stream_version: int

    @property
    def callability(self) -> Callability:
        """Who may call it: of the version shown; private before the first."""
        return Callability.PRIVATE if self.version is None else self.version.callability


async def create_algorithm(
    gateway: Gateway, caller: Standard, owner: str, new: NewAlgorithm, intent: Intent
) -> AlgorithmRecord:
    """Create an algorithm of the caller's account, without a build.

    Raises NotAllowed (2001), InvalidInput, AlreadyExists (1002), VersionConflict.
    """
    account = own_account(caller, owner)
    if bool(new.git_url) == bool(new.endpoint_url):
        raise InvalidInput(
            "source must have either git_url (a repository to build) or endpoint_url "
            "(an HTTP service that answers runs)"
        )
    kind = SourceKind.GIT if new.git_url else SourceKind.ENDPOINT
    command = registry_pb2.CreateAlgorithmRequest(
        algorithm_id=intent.new_id("algorithm"),
        owner_id=account.account_id,
        name=new.name,
        label=new.label,
        summary=new.summary,
        tagline=new.tagline,
        source_kind=events_pb2.SourceKind.Value(f"SOURCE_KIND_{kind.name}"),
        source_url=new.git_url or new.endpoint_url,
        source_visibility=new.source_visibility,
        license=new.license,
        network_access=new.network_access,
        pipeline_enabled=new.pipeline_enabled,
        algorithm_environment=new.algorithm_environment,
    )
    result = await gateway.send(command, caller, intent)
    return AlgorithmRecord(
        id=command.algorithm_id,
        owner=account.username,
        name=new.name,
        label=new.label,
        summary=new.summary,
        tagline=new.tagline,
        source_kind=kind,
        source_url=command.source_url,
        source_visibility=new.source_visibility,
        license=new.license,
        network_access=new.network_access,
        pipeline_enabled=new.pipeline_enabled,
        algorithm_environment=new.algorithm_environment,
        version=None,
        build=None,
        self_link=f"{gateway.public_url}/v1/algorithms/{account.username}/{new.name}",
        stream_version=result.version,
    )


def get_algorithm(gateway: Gateway, caller: Standard, ref: AlgorithmRef) -> AlgorithmRecord:
    """An algorithm at its newest version that the caller may see. Raises NotFound, NotAllowed."""
    algorithm = readable_algorithm(gateway.catalog, caller, ref)
    versions = visible_versions(algorithm, caller)
    return record(gateway, algorithm, version=versions[-1] if versions else None)


@dataclass(frozen=True, slots=True)
class AlgorithmRef:
    """How a path names an algorithm: `owner/name`, or an id with `name` empty."""

    owner_or_id: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.owner_or_id}/{self.name}" if self.name else self.owner_or_id


def algorithm_of(catalog: Catalog, ref: AlgorithmRef) -> Algorithm:
    """The algorithm that is named. Raises NotFound (1000)."""
    found = None
    if ref.name:
        found = catalog.algorithm_named(ref.owner_or_id, ref.name)
    elif is_uuid(ref.owner_or_id):
        found = catalog.algorithm(ref.owner_or_id.lower())
    if found is None:
        raise NotFound(NO_SUCH_ALGORITHM, code=CODE_ALGORITHM_NOT_FOUND)
    return found


def own_algorithm(catalog: Catalog, caller: Standard, ref: AlgorithmRef) -> Algorithm:
    """An algorithm of the caller's account. Raises NotFound (1000), NotAllowed (2001)."""
    algorithm = algorithm_of(catalog, ref)
    if not owns(caller, algorithm):
        raise NotAllowed(NOT_YOURS)
    return algorithm


def readable_algorithm(catalog: Catalog, caller: Standard, ref: AlgorithmRef) -> Algorithm:
    """One's own algorithm, or one with a public version. Raises NotFound (1000), NotAllowed."""
    algorithm = algorithm_of(catalog, ref)
    if not owns(caller, algorithm) and not visible_versions(algorithm, caller):
        raise NotAllowed(NOT_YOURS)
    return algorithm


def owns(caller: Standard, algorithm: Algorithm) -> bool:
    """Does the caller's account own it?"""
    return algorithm.owner_id == caller.account.account_id


def visible_versions(algorithm: Algorithm, caller: Standard) -> tuple[Version, ...]:
    """All versions for the owner, the public ones for others; oldest first."""
    if owns(caller, algorithm):
        return algorithm.versions
    return tuple(v for v in algorithm.versions if v.callability is Callability.PUBLIC)


def record(
    gateway: Gateway,
    algorithm: Algorithm,
    *,
    version: Version | None = None,
    build: Build | None = None,
) -> AlgorithmRecord:
    """The algorithm at a version (with the version's build), at a build, or at neither."""
    if build is None and version is not None:
        build = next((b for b in algorithm.builds if b.build_id == version.build_id), None)
    link = f"{gateway.public_url}/v1/algorithms/{algorithm.owner_name}/{algorithm.name}"
    return AlgorithmRecord(
        id=algorithm.algorithm_id,
        owner=algorithm.owner_name,
        name=algorithm.name,
        label=algorithm.label,
        summary=algorithm.summary,
        tagline=algorithm.tagline,
        source_kind=algorithm.source_kind,
        source_url=algorithm.source_url,
        source_visibility=algorithm.source_visibility,
        license=algorithm.license,
        network_access=algorithm.network_access,
        pipeline_enabled=algorithm.pipeline_enabled,
        algorithm_environment=algorithm.algorithm_environment,
        version=version,
        build=build_record(algorithm, build) if build is not None else None,
        self_link=f"{link}/versions/{build.commit_sha}" if build is not None else link,
        stream_version=algorithm.stream_version,
    )


def build_record(algorithm: Algorithm, build: Build) -> BuildRecord:
    """A build, with the version it became."""
    published = next((v for v in algorithm.versions if v.build_id == build.build_id), None)
    return BuildRecord(
        build_id=build.build_id,
        succeeded=build.succeeded,
        commit_sha=build.commit_sha,
        started_at=build.started_at,
        finished_at=build.finished_at,
        semantic_version=published.version if published is not None else None,
        log_tail=build.log_tail,
        stream_version=algorithm.stream_version,
    )
