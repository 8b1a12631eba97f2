"""Versions: a build gets a number for ever (algorithmia-api 2.3, publishing rules)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from catalog.events import Callability
from catalog.records import Algorithm, Version
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from kernel.errors import NotFound

from gateway.application.algorithms import (
    AlgorithmRecord,
    AlgorithmRef,
    own_algorithm,
    owns,
    readable_algorithm,
    record,
    visible_versions,
)
from gateway.application.gateway import Gateway
from gateway.domain.caller import Standard
from gateway.domain.fields import one_of
from gateway.domain.intent import Intent
from gateway.domain.paging import Page, PageRequest, paginate

VERSION_TYPES = {
    "major": registry_pb2.VERSION_BUMP_MAJOR,
    "minor": registry_pb2.VERSION_BUMP_MINOR,
    "revision": registry_pb2.VERSION_BUMP_PATCH,
    "patch": registry_pb2.VERSION_BUMP_PATCH,
}
VERSION_TYPE_DEFAULT = "minor"
CALLABILITIES = {"private": Callability.PRIVATE, "public": Callability.PUBLIC}
CALLABILITY_NAMES = {value: name for name, value in CALLABILITIES.items()}
CODE_VERSION_NOT_FOUND = 1014


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """How to publish the newest successful build. Empty words: minor, and as the version before."""

    version_type: str = ""
    callability: str = ""
    release_notes: str = ""
    sample_input: str = ""
    sample_output: str = ""


async def publish_version(
    gateway: Gateway, caller: Standard, ref: AlgorithmRef, new: Publication, intent: Intent
) -> AlgorithmRecord:
    """Publish the newest successful build.

    Raises NotFound, NotAllowed, InvalidInput, StateForbids (1007 when it is published already),
    VersionConflict.
    """
    algorithm = own_algorithm(gateway.catalog, caller, ref)
    bump = one_of(
        new.version_type or VERSION_TYPE_DEFAULT, VERSION_TYPES, field="version_info.version_type"
    )
    command = registry_pb2.PublishVersionRequest(
        algorithm_id=algorithm.algorithm_id,
        bump=VERSION_TYPES[bump],
        callability=events_pb2.Callability.Value(
            f"CALLABILITY_{_callability(algorithm, new).name}"
        ),
        release_notes=new.release_notes,
        sample_input=new.sample_input,
        sample_output=new.sample_output,
    )
    result = await gateway.send(command, caller, intent)
    published = own_algorithm(gateway.catalog, caller, ref)
    # By position, not the newest: a repeated command answers with the version it made then. None
    # only while the catalog lags behind the registry.
    made = (v for v in published.versions if v.published_position == result.position)
    shown = record(gateway, published, version=next(made, None))
    return replace(shown, stream_version=result.version)


def list_versions(
    gateway: Gateway, caller: Standard, ref: AlgorithmRef, page: PageRequest
) -> Page[AlgorithmRecord]:
    """What the caller may see, newest first. Raises NotFound, NotAllowed, InvalidInput."""
    algorithm = readable_algorithm(gateway.catalog, caller, ref)
    found = paginate(visible_versions(algorithm, caller), page, key=_number_of, descending=True)
    records = tuple(record(gateway, algorithm, version=version) for version in found.items)
    return Page(items=records, marker=found.marker)


def get_version(
    gateway: Gateway, caller: Standard, ref: AlgorithmRef, git_hash: str
) -> AlgorithmRecord:
    """The algorithm at a commit: its newest version there, or for the owner its newest build.

    Raises NotFound (1014), NotAllowed.
    """
    algorithm = readable_algorithm(gateway.catalog, caller, ref)
    for version in reversed(visible_versions(algorithm, caller)):
        if version.commit_sha == git_hash:
            return record(gateway, algorithm, version=version)
    if owns(caller, algorithm):
        for build in reversed(algorithm.builds):
            if build.commit_sha == git_hash:
                return record(gateway, algorithm, build=build)
    raise NotFound(
        "there is no version of this git hash: GET …/versions lists them",
        code=CODE_VERSION_NOT_FOUND,
    )


def _callability(algorithm: Algorithm, new: Publication) -> Callability:
    if new.callability:
        one_of(new.callability, CALLABILITIES, field="settings.algorithm_callability")
        return CALLABILITIES[new.callability]
    return algorithm.versions[-1].callability if algorithm.versions else Callability.PRIVATE


def _number_of(version: Version) -> tuple[int, ...]:
    return tuple(int(part) for part in version.version.split("."))
