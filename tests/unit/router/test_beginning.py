"""Where a flow begins: as a table."""

import pytest
from catalog.events import StartAt
from router.domain.beginning import Beginnings, Place, TopicReplaced, begin, behind_expired
from router.domain.low_water import Mark
from router.domain.topic_identity import TopicIdentity, split_identity

OLD_ID, NEW_ID = "a" * 32, "b" * 32
TOPIC = TopicIdentity(topic_id=NEW_ID, partitions=4)


def at(position: int, identity: TopicIdentity | None = TOPIC) -> Place:
    return Place(mark=Mark(position=position), identity=identity)


def begun(
    partitions: list[int],
    *,
    commits: dict[int, Place] | None = None,
    remembered: dict[int, Place] | None = None,
    start: StartAt = StartAt.LATEST,
    topic: TopicIdentity = TOPIC,
) -> Beginnings:
    return begin(
        partitions, topic=topic, commits=commits or {}, remembered=remembered or {}, start=start
    )


@pytest.mark.parametrize("start", [StartAt.EARLIEST, StartAt.LATEST])
def test_the_first_start_follows_the_rule(start: StartAt) -> None:
    found = begun([0, 1], start=start)
    ends = {StartAt.EARLIEST: found.earliest, StartAt.LATEST: found.latest}
    assert ends.pop(start) == (0, 1)
    assert list(ends.values()) == [()]
    assert found.identity == TOPIC


def test_a_commit_comes_before_what_we_remember() -> None:
    found = begun([0], commits={0: at(5)}, remembered={0: at(3)})
    assert (found.marks, found.recalled) == ({0: Mark(position=5)}, ())


def test_what_we_remember_stands_in_for_a_commit_that_is_gone() -> None:
    found = begun([0, 1], commits={1: at(5)}, remembered={0: at(3), 1: at(4)})
    assert found.marks == {0: Mark(position=3), 1: Mark(position=5)}
    assert found.recalled == (0,)


def test_a_partition_that_was_added_later_begins_at_its_beginning() -> None:
    grown = TopicIdentity(topic_id=NEW_ID, partitions=6)
    found = begun([3, 4, 5], commits={n: at(9) for n in range(4)}, topic=grown)
    assert (found.earliest, found.latest) == ((4, 5), ())
    assert found.identity == TOPIC, "the count of the first start is kept for ever"


def test_members_that_start_together_do_not_take_each_others_partitions_for_added_ones() -> None:
    found = begun([2, 3], commits={0: at(9), 1: at(9)})
    assert (found.earliest, found.latest) == ((), (2, 3))


@pytest.mark.parametrize("kept", ["commits", "remembered"])
def test_a_position_in_another_topic_of_the_name_is_refused(kept: str) -> None:
    place = at(5, TopicIdentity(topic_id=OLD_ID, partitions=4))
    with pytest.raises(TopicReplaced):
        begun([0, 1], **{kept: {1: place}})  # type: ignore[arg-type]


def test_a_person_who_sets_the_offsets_of_a_new_topic_is_believed() -> None:
    old = TopicIdentity(topic_id=OLD_ID, partitions=6)
    found = begun(
        [0, 1, 2, 3],
        commits={n: at(n, None) for n in range(4)},
        remembered={n: at(900, old) for n in range(6)},
    )
    assert found.marks == {n: Mark(position=n) for n in range(4)}
    assert found.identity == TOPIC


def test_a_partition_that_such_a_person_left_out_skips_nothing() -> None:
    assert begun([0, 1], commits={0: at(7, None)}).earliest == (1,)


def test_brokers_without_ids_are_believed() -> None:
    nameless = TopicIdentity(topic_id="", partitions=4)
    assert begun([0], commits={0: at(5)}, topic=nameless).marks == {0: Mark(position=5)}


@pytest.mark.parametrize("rest", ["", "1;00000000;1-2", "a;b\nc"])
def test_the_identity_stands_before_whatever_else_stands_with_a_commit(rest: str) -> None:
    assert split_identity(TOPIC.prefix + rest) == (TOPIC, rest)


@pytest.mark.parametrize("text", ["", "1;00000000;1-2", "t:xyz:4;", "t:" + OLD_ID, "hello"])
def test_text_without_an_identity_is_left_as_it_is(text: str) -> None:
    assert split_identity(text) == (None, text)


@pytest.mark.parametrize(
    ("mark", "earliest", "goes_on", "gone"),
    [
        (Mark(position=3), 5, Mark(position=5), 2),
        (Mark(position=0, finished=((2, 3), (7, 9))), 5, Mark(position=5, finished=((7, 9),)), 3),
        (
            Mark(position=0, finished=((2, 8), (10, 11))),
            5,
            Mark(position=9, finished=((10, 11),)),
            2,
        ),
        (Mark(position=0, finished=((1, 4),)), 5, Mark(position=5), 1),
        (Mark(position=0, finished=((5, 6),)), 5, Mark(position=7), 5),
    ],
)
def test_behind_what_expired_nothing_is_done_twice_and_only_what_was_open_is_lost(
    mark: Mark, earliest: int, goes_on: Mark, gone: int
) -> None:
    assert behind_expired(mark, earliest) == (goes_on, gone)
