"""Algorithmia's version words (algorithmia-api 2.2), one test a row."""

import pytest
from catalog.records import Algorithm
from catalog.versions import (
    VersionBump,
    flow_version,
    newest_version,
    next_version,
    resolve_version,
)
from eventflows.registry.v1 import registry_pb2
from hypothesis import given
from hypothesis import strategies as st
from kernel.errors import InvalidInput, NotFound

from tests.support.event_log import EventLog, commit_of, id_of

NAME = "acme/digits"
UNPUBLISHED = "a build that nobody published"


@pytest.fixture
def algorithm() -> Algorithm:
    """0.1.0 0.1.1 0.2.0 1.0.0 public, then 1.1.0 and 0.2.1 private, then an unpublished build."""
    log = EventLog()
    log.account("acme")
    log.algorithm(NAME, "0.1.0", "0.1.1", "0.2.0", "1.0.0")
    log.publish(NAME, "1.1.0", public=False)
    log.publish(NAME, "0.2.1", public=False)
    log.build(NAME, "a build that failed", succeeded=False)
    log.build(NAME, UNPUBLISHED)
    found = log.catalog().algorithm_named("acme", "digits")
    assert found is not None
    return found


@pytest.mark.parametrize("caller_owns", [True, False])
@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("", "1.0.0"),
        ("latest", "1.0.0"),
        ("0.1.0", "0.1.0"),
        ("0.1", "0.1.1"),
        ("0.1.*", "0.1.1"),
        ("0.1.x", "0.1.1"),
        ("0.2", "0.2.0"),
        ("0", "0.2.0"),
        ("0.*", "0.2.0"),
        ("1", "1.0.0"),
        ("1.x", "1.0.0"),
    ],
)
def test_a_word_means_the_newest_public_version_that_fits(
    algorithm: Algorithm, wanted: str, version: str, caller_owns: bool
) -> None:
    resolved = resolve_version(algorithm, wanted, caller_owns=caller_owns)
    assert resolved.version == version
    assert resolved.commit_sha == commit_of(f"{NAME} {version}")
    assert resolved.build_id == id_of(f"{NAME} {version}")


@pytest.mark.parametrize(("wanted", "version"), [("latestPrivate", "0.2.1"), ("1.1.0", "1.1.0")])
def test_the_owner_may_call_private_versions(
    algorithm: Algorithm, wanted: str, version: str
) -> None:
    assert resolve_version(algorithm, wanted, caller_owns=True).version == version


@pytest.mark.parametrize("wanted", ["latestPrivate", "1.1.0", "0.2.1", commit_of(UNPUBLISHED)])
def test_to_others_private_versions_and_builds_do_not_exist(
    algorithm: Algorithm, wanted: str
) -> None:
    with pytest.raises(NotFound, match="algo://acme/digits"):
        resolve_version(algorithm, wanted, caller_owns=False)


@pytest.mark.parametrize("wanted", ["1.1", "1.1.*"])
def test_partial_versions_never_match_private_ones_even_for_the_owner(
    algorithm: Algorithm, wanted: str
) -> None:
    with pytest.raises(NotFound):
        resolve_version(algorithm, wanted, caller_owns=True)


def test_a_commit_hash_is_an_unpublished_build_for_the_owner(algorithm: Algorithm) -> None:
    resolved = resolve_version(algorithm, commit_of(UNPUBLISHED).upper(), caller_owns=True)
    assert resolved.version == ""
    assert resolved.commit_sha == commit_of(UNPUBLISHED)
    assert resolved.build_id == id_of(UNPUBLISHED)


def test_a_commit_hash_of_a_published_build_says_its_version(algorithm: Algorithm) -> None:
    commit = commit_of(f"{NAME} 0.2.0")
    assert resolve_version(algorithm, commit, caller_owns=True).version == "0.2.0"


def test_a_build_that_failed_cannot_be_called(algorithm: Algorithm) -> None:
    with pytest.raises(NotFound, match="build it first"):
        resolve_version(algorithm, commit_of("a build that failed"), caller_owns=True)


@pytest.mark.parametrize(
    "wanted", ["1.2.3.4", "v1", "*", "1.*.*", "01.0.0", "1..2", "LATEST", " 1"]
)
def test_other_words_are_refused(algorithm: Algorithm, wanted: str) -> None:
    with pytest.raises(InvalidInput, match="is not a version"):
        resolve_version(algorithm, wanted, caller_owns=True)


def test_a_long_wrong_word_is_not_repeated_in_full(algorithm: Algorithm) -> None:
    with pytest.raises(InvalidInput) as refused:
        resolve_version(algorithm, "x" * 10_000, caller_owns=True)
    assert len(refused.value.message) < 300


def test_a_version_that_is_a_prefix_of_another_is_not_mistaken_for_it() -> None:
    log = EventLog()
    log.algorithm(NAME, "1.1.0", "1.10.0", "10.0.0")
    algorithm = log.catalog().algorithm(id_of(NAME))
    assert algorithm is not None
    assert resolve_version(algorithm, "1.1", caller_owns=False).version == "1.1.0"
    assert resolve_version(algorithm, "1", caller_owns=False).version == "1.10.0"


def test_an_algorithm_without_versions_resolves_no_word() -> None:
    log = EventLog()
    log.algorithm(NAME)
    algorithm = log.catalog().algorithm(id_of(NAME))
    assert algorithm is not None
    assert newest_version(algorithm) is None
    assert flow_version(algorithm, "") is None
    with pytest.raises(NotFound):
        resolve_version(algorithm, "", caller_owns=True)


@pytest.mark.parametrize(
    ("wanted", "version"),
    [("", "0.2.1"), ("1.1.0", "1.1.0"), ("latest", "1.0.0"), ("0.1", "0.1.1")],
)
def test_a_flow_runs_the_newest_version_unless_it_names_one(
    algorithm: Algorithm, wanted: str, version: str
) -> None:
    found = flow_version(algorithm, wanted)
    assert found is not None
    assert found.version == version


@pytest.mark.parametrize("wanted", ["9.9.9", "nonsense", commit_of(UNPUBLISHED)])
def test_a_flow_runs_nothing_that_is_not_published(algorithm: Algorithm, wanted: str) -> None:
    assert flow_version(algorithm, wanted) is None


@pytest.mark.parametrize(
    ("versions", "bump", "following"),
    [
        ([], VersionBump.UNSPECIFIED, "0.1.0"),
        ([], VersionBump.MINOR, "0.1.0"),
        ([], VersionBump.MAJOR, "1.0.0"),
        ([], VersionBump.PATCH, "0.0.1"),
        (["0.1.0"], VersionBump.UNSPECIFIED, "0.2.0"),
        (["0.9.0", "0.10.3"], VersionBump.MINOR, "0.11.0"),
        (["0.10.3", "0.9.0"], VersionBump.PATCH, "0.10.4"),
        (["0.10.3"], VersionBump.MAJOR, "1.0.0"),
    ],
)
def test_the_next_version_raises_the_asked_number(
    versions: list[str], bump: VersionBump, following: str
) -> None:
    assert next_version(versions, bump) == following


@given(st.lists(st.sampled_from(VersionBump), max_size=20))
def test_the_next_version_is_higher_than_all_before(bumps: list[VersionBump]) -> None:
    versions: list[str] = []
    for bump in bumps:
        versions.append(next_version(versions, bump))
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(set(numbers))


def test_a_word_that_is_no_version_is_refused_as_a_predecessor() -> None:
    with pytest.raises(ValueError, match=r"major\.minor\.patch"):
        next_version(["1.2"], VersionBump.MINOR)


def test_bumps_have_protobufs_numbers() -> None:
    names = {f"VERSION_BUMP_{bump.name}": bump.value for bump in VersionBump}
    assert names == dict(registry_pb2.VersionBump.items())
