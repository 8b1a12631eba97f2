"""Algorithms, their builds and versions, over REST."""

from __future__ import annotations

from collections.abc import Mapping

from kernel.errors import InvalidInput

from gateway.application import algorithms, builds, versions
from gateway.application.algorithms import AlgorithmRecord
from gateway.entrypoints.rest import present, wire, wire_algorithms
from gateway.entrypoints.rest.call import Answer, Call, etag
from gateway.entrypoints.rest.operation import PAGE_QUERY, KeyKind, Operation, reads, takes

CREATED = 201


async def create_algorithm(call: Call, body: wire_algorithms.AlgorithmCreate) -> Answer:
    """Create an algorithm, without a build."""
    _refuse_filled(scmsCredentials=body.scms_credentials)
    details = body.details or wire_algorithms.Details()
    settings = body.settings or wire_algorithms.Settings()
    new = algorithms.NewAlgorithm(
        name=body.name,
        label=details.label or "",
        summary=details.summary or "",
        tagline=details.tagline or "",
        git_url=body.source.git_url or "",
        endpoint_url=body.source.endpoint_url or "",
        source_visibility=settings.source_visibility or "",
        license=settings.license or "",
        network_access=settings.network_access or "",
        pipeline_enabled=settings.pipeline_enabled or False,
        algorithm_environment=settings.algorithm_environment or "",
    )
    record = await algorithms.create_algorithm(
        call.gateway, call.standard, call.path("owner"), new, call.intent()
    )
    headers = etag(record.stream_version)
    return Answer(body=present.algorithm(record), status=CREATED, headers=headers)


async def get_algorithm(call: Call) -> Answer:
    """Show an algorithm at its newest version."""
    record = algorithms.get_algorithm(call.gateway, call.standard, call.algorithm)
    return Answer(body=present.algorithm(record), headers=etag(record.stream_version))


async def compile_algorithm(call: Call, body: wire_algorithms.Compile) -> Answer:
    """Build a commit; the answer comes when the build has ended, well or not."""
    record = await builds.compile_algorithm(
        call.gateway,
        call.standard,
        call.algorithm,
        commit_sha=body.commit_sha or "",
        intent=call.intent(),
    )
    return Answer(body=present.algorithm(record), headers=etag(record.stream_version))


async def publish_version(call: Call, body: wire_algorithms.Publish) -> Answer:
    """Publish the newest successful build as a version."""
    _refuse_filled(source=body.source, scmsCredentials=body.scms_credentials)
    settings = body.settings or wire_algorithms.Settings()
    info = body.version_info or wire_algorithms.PublishInfo()
    shown = algorithms.get_algorithm(call.gateway, call.standard, call.algorithm)
    _refuse_changes("details", body.details or wire_algorithms.Details(), shown)
    _refuse_changes("settings", settings, shown)
    new = versions.Publication(
        version_type=info.version_type or "",
        callability=settings.algorithm_callability or "",
        release_notes=info.release_notes or "",
        sample_input=info.sample_input or "",
        sample_output=info.sample_output or "",
    )
    record = await versions.publish_version(
        call.gateway, call.standard, call.algorithm, new, call.intent()
    )
    return Answer(body=present.algorithm(record), headers=etag(record.stream_version))


async def list_versions(call: Call) -> Answer:
    """List the versions that one may call, newest first."""
    page = versions.list_versions(call.gateway, call.standard, call.algorithm, call.page)
    return call.page_answer(page, present.algorithm)


async def get_version(call: Call) -> Answer:
    """Show an algorithm at a git hash."""
    record = versions.get_version(
        call.gateway, call.standard, call.algorithm, call.path("git_hash")
    )
    return Answer(body=present.algorithm(record), headers=etag(record.stream_version))


async def list_builds(call: Call) -> Answer:
    """List one's builds, newest first."""
    page = builds.list_builds(call.gateway, call.standard, call.algorithm, call.page)
    return call.page_answer(page, present.build)


async def get_build(call: Call) -> Answer:
    """Show a build."""
    record = builds.get_build(call.gateway, call.standard, call.algorithm, call.path("build"))
    return Answer(body=present.build(record), headers=etag(record.stream_version))


async def get_build_logs(call: Call) -> Answer:
    """Show the end of a build's log."""
    record = builds.get_build(call.gateway, call.standard, call.algorithm, call.path("build"))
    shown = wire_algorithms.BuildLogs(logs=record.log_tail)
    return Answer(body=shown, headers=etag(record.stream_version))


def _refuse_filled(**given: Mapping[str, object] | None) -> None:
    """The official clients send these empty; a filled one would be lost without a word."""
    for name, value in given.items():
        if value:
            raise InvalidInput(f"{name} is not supported here: leave it out or send it empty")


def _refuse_changes(
    name: str, given: wire_algorithms.Details | wire_algorithms.Settings, shown: AlgorithmRecord
) -> None:
    """What stands already may be sent again; what would change it is refused, not ignored."""
    for field in given.__struct_fields__:
        value = getattr(given, field)
        if value is not None and hasattr(shown, field) and value != getattr(shown, field):
            if field == "algorithm_callability":
                continue
            raise InvalidInput(
                f"{name}.{field} cannot be changed by publishing: leave it out, or send what "
                "GET of the algorithm shows"
            )


_STANDARD = KeyKind.STANDARD
_VERSIONS = wire.Page[wire_algorithms.Algorithm]
_BUILDS = wire.Page[wire_algorithms.Build]


def _below(path: str) -> tuple[Operation, ...]:
    """The operations of one algorithm, whichever way its path names it."""
    publish = [
        takes(
            "POST",
            f"{path}/{word}",
            publish_version,
            key=_STANDARD,
            body=wire_algorithms.Publish,
            answer=wire_algorithms.Algorithm,
        )
        for word in ("versions", "version")
    ]
    return (
        takes(
            "POST",
            f"{path}/compile",
            compile_algorithm,
            key=_STANDARD,
            body=wire_algorithms.Compile,
            answer=wire_algorithms.Algorithm,
        ),
        *publish,
        reads(f"{path}/versions", list_versions, key=_STANDARD, answer=_VERSIONS, query=PAGE_QUERY),
        reads(
            f"{path}/versions/{{git_hash}}",
            get_version,
            key=_STANDARD,
            answer=wire_algorithms.Algorithm,
            single=True,
        ),
        reads(f"{path}/builds", list_builds, key=_STANDARD, answer=_BUILDS, query=PAGE_QUERY),
        reads(
            f"{path}/builds/{{build}}",
            get_build,
            key=_STANDARD,
            answer=wire_algorithms.Build,
            single=True,
        ),
        reads(
            f"{path}/builds/{{build}}/logs",
            get_build_logs,
            key=_STANDARD,
            answer=wire_algorithms.BuildLogs,
            single=True,
        ),
    )


OPERATIONS: tuple[Operation, ...] = (
    takes(
        "POST",
        "/v1/algorithms/{owner}",
        create_algorithm,
        key=_STANDARD,
        body=wire_algorithms.AlgorithmCreate,
        answer=wire_algorithms.Algorithm,
        status=CREATED,
    ),
    # Here `owner` is the algorithm's id: OpenAPI wants one name for one place in a path.
    reads(
        "/v1/algorithms/{owner}",
        get_algorithm,
        key=_STANDARD,
        answer=wire_algorithms.Algorithm,
        single=True,
    ),
    *_below("/v1/algorithms/{algorithm_id}"),
    reads(
        "/v1/algorithms/{owner}/{name}",
        get_algorithm,
        key=_STANDARD,
        answer=wire_algorithms.Algorithm,
        single=True,
    ),
    *_below("/v1/algorithms/{owner}/{name}"),
)
