"""The JSON of algorithms, their builds and versions; the rules are those of `wire`."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from gateway.entrypoints.rest.wire import Body, Number, Text, Time


class Details(Body, frozen=True):
    """What people read about an algorithm."""

    label: Text = None
    summary: Text = None
    tagline: Text = None


class Settings(Body, frozen=True):
    """Settings. The ones after `algorithm_environment` are accepted and not used at creation."""

    source_visibility: Text = None
    license: Text = None
    network_access: Text = None
    pipeline_enabled: bool | None = None
    algorithm_environment: Text = None
    algorithm_callability: Text = None
    language: Text = None
    environment: Text = None
    package_set: Text = None
    royalty_microcredits: Number | None = None
    insights_enabled: bool | None = None


class SourceCreate(Body, frozen=True):
    """Where the code is: `git_url` or `endpoint_url`."""

    git_url: Text = None
    endpoint_url: Text = None


class VersionInfoCreate(Body, frozen=True):
    """Of an algorithm to create; accepted and not used: a version brings its own."""

    sample_input: Text = None


class AlgorithmCreate(Body, frozen=True):
    """An algorithm to create."""

    name: str
    source: SourceCreate
    details: Details | None = None
    settings: Settings | None = None
    version_info: VersionInfoCreate | None = None
    scms_credentials: dict[str, Any] | None = field(name="scmsCredentials", default=None)


class Compile(Body, frozen=True):
    """A build to make, of the head of the default branch when no commit is named."""

    commit_sha: Text = field(name="commitSha", default=None)


class PublishInfo(Body, frozen=True):
    """How to count the version up, and what to say of it."""

    version_type: Text = None
    release_notes: Text = None
    sample_input: Text = None
    sample_output: Text = None
    insights_enabled: bool | None = None


class Publish(Body, frozen=True):
    """A version to publish. The official client sends the last two, empty."""

    details: Details | None = None
    settings: Settings | None = None
    version_info: PublishInfo | None = None
    source: dict[str, Any] | None = None
    scms_credentials: dict[str, Any] | None = field(name="scmsCredentials", default=None)


class DetailsShown(Struct, frozen=True):
    """What people read about an algorithm."""

    label: str
    summary: str
    tagline: str


class SettingsShown(Struct, frozen=True):
    """Settings; the callability is that of the version shown."""

    algorithm_callability: str
    source_visibility: str
    license: str
    network_access: str
    pipeline_enabled: bool
    algorithm_environment: str


class VersionInfo(Struct, frozen=True, omit_defaults=True):
    """The version shown; without `semantic_version` it is a build that was not published."""

    git_hash: str
    semantic_version: str | None = None
    release_notes: str = ""
    sample_input: str = ""
    sample_output: str = ""


class BuildVersion(Struct, frozen=True):
    """The version that a build became."""

    semantic_version: str


class Build(Struct, frozen=True):
    """A build that has ended."""

    build_id: str
    status: Literal["succeeded", "failed"]
    commit_sha: str
    started_at: Time
    finished_at: Time
    version_info: BuildVersion | UnsetType = UNSET
    resource_type: Literal["algorithm_build"] = "algorithm_build"


class BuildLogs(Struct, frozen=True):
    """The end of a build's log; empty when it is no longer kept."""

    logs: str


class SourceShown(Struct, frozen=True, omit_defaults=True):
    """Where the code is."""

    git_url: str | None = None
    endpoint_url: str | None = None


class Compilation(Struct, frozen=True):
    """How the build ended."""

    successful: bool
    output: str


class Algorithm(Struct, frozen=True):
    """An algorithm, at a version, at a build, or at neither."""

    id: str
    owner: str
    name: str
    details: DetailsShown
    settings: SettingsShown
    source: SourceShown
    self_link: str
    version_info: VersionInfo | UnsetType = UNSET
    build: Build | UnsetType = UNSET
    compilation: Compilation | UnsetType = UNSET
    resource_type: Literal["algorithm"] = "algorithm"
