"""Version words: which version `latest`, `1.2`, `1.2.*` or a commit hash means.

| Word | Meaning |
| --- | --- |
| absent, `latest` | newest publicly published version |
| `latestPrivate` | newest privately published version; owner only |
| `1.2.3` | exactly that; a private one for its owner only |
| `1.2`, `1.2.*`, `1.2.x` | newest public one of the minor |
| `1`, `1.*`, `1.x` | newest public one of the major |
| 40 hex digits | the build of that commit, published or not; owner only |

Source: `algorithmia-api.md` 2.2. Newest means published last. To those who may not call a version
it does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from kernel.errors import InvalidInput, NotFound

from catalog.events import Callability
from catalog.records import Algorithm, Version

WORD_CHARACTERS_MAX = 64

_NUMBER = r"(?:0|[1-9][0-9]{0,8})"
_EXACT = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")
_MINOR = re.compile(rf"({_NUMBER}\.{_NUMBER})(?:\.[*x])?")
_MAJOR = re.compile(rf"({_NUMBER})(?:\.[*x])?")
_COMMIT = re.compile(r"[0-9a-fA-F]{40}")


class VersionBump(IntEnum):
    """Which number a new version raises; protobuf's own numbers. UNSPECIFIED means minor."""

    UNSPECIFIED = 0
    MAJOR = 1
    MINOR = 2
    PATCH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedVersion:
    """A build that can be run; `version` is empty when it is not published."""

    version: str
    commit_sha: str
    build_id: str


def resolve_version(algorithm: Algorithm, wanted: str, *, caller_owns: bool) -> ResolvedVersion:
    """What `wanted` means for this caller.

    Raises NotFound when nothing fits that the caller may call, InvalidInput when `wanted` is none
    of the words above.
    """
    if wanted in ("", "latest"):
        return _newest(algorithm, wanted or "latest", _is_public)
    if wanted == "latestPrivate":
        return _newest(algorithm, wanted, lambda one: caller_owns and not _is_public(one))
    if _EXACT.fullmatch(wanted):
        return _newest(
            algorithm,
            wanted,
            lambda one: one.version == wanted and (caller_owns or _is_public(one)),
        )
    if (found := _MINOR.fullmatch(wanted)) or (found := _MAJOR.fullmatch(wanted)):
        prefix = f"{found[1]}."
        return _newest(
            algorithm, wanted, lambda one: one.version.startswith(prefix) and _is_public(one)
        )
    if _COMMIT.fullmatch(wanted):
        return _build(algorithm, wanted.lower(), caller_owns=caller_owns)
    raise InvalidInput(
        f"{wanted[:WORD_CHARACTERS_MAX]!r} is not a version: give latest, latestPrivate, 1.2.3, "
        "1.2.*, 1.* or the 40 hex digits of a commit"
    )


def flow_version(algorithm: Algorithm, wanted: str) -> Version | None:
    """The published version that a flow of the algorithm's owner runs; None: there is none.

    An empty word means the newest published version, private or public.
    """
    if not wanted:
        return newest_version(algorithm)
    try:
        resolved = resolve_version(algorithm, wanted, caller_owns=True)
    except (NotFound, InvalidInput):
        return None
    return _last(algorithm, lambda one: one.version == resolved.version)


def newest_version(algorithm: Algorithm) -> Version | None:
    """The version that was published last, private or public."""
    return algorithm.versions[-1] if algorithm.versions else None


def next_version(versions: Iterable[str], bump: VersionBump = VersionBump.UNSPECIFIED) -> str:
    """The number of the next version after all of `versions`: 0.1.0 is the first minor release.

    Raises ValueError for a version that is not `major.minor.patch`.
    """
    major, minor, patch = max((_numbers(one) for one in versions), default=(0, 0, 0))
    match bump:
        case VersionBump.MAJOR:
            return f"{major + 1}.0.0"
        case VersionBump.PATCH:
            return f"{major}.{minor}.{patch + 1}"
        case _:
            return f"{major}.{minor + 1}.0"


def _numbers(version: str) -> tuple[int, int, int]:
    if not _EXACT.fullmatch(version):
        raise ValueError(f"{version[:WORD_CHARACTERS_MAX]!r} is not major.minor.patch")
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)


def _is_public(version: Version) -> bool:
    return version.callability is Callability.PUBLIC


def _last(algorithm: Algorithm, fits: Callable[[Version], bool]) -> Version | None:
    return next((one for one in reversed(algorithm.versions) if fits(one)), None)


def _newest(algorithm: Algorithm, wanted: str, fits: Callable[[Version], bool]) -> ResolvedVersion:
    version = _last(algorithm, fits)
    if version is None:
        raise NotFound(
            f"algorithm algo://{algorithm.full_name} has no version {wanted} that you may call: "
            "name one that is published"
        )
    return ResolvedVersion(
        version=version.version, commit_sha=version.commit_sha, build_id=version.build_id
    )


def _build(algorithm: Algorithm, commit_sha: str, *, caller_owns: bool) -> ResolvedVersion:
    builds = (
        one
        for one in reversed(algorithm.builds)
        if caller_owns and one.succeeded and one.commit_sha == commit_sha
    )
    build = next(builds, None)
    if build is None:
        raise NotFound(
            f"algorithm algo://{algorithm.full_name} has no build of commit {commit_sha} that you "
            "may call: build it first"
        )
    version = _last(algorithm, lambda one: one.build_id == build.build_id)
    return ResolvedVersion(
        version="" if version is None else version.version,
        commit_sha=commit_sha,
        build_id=build.build_id,
    )
