"""The repeat window by its promises, and under random use."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel.errors import InvalidInput
from runner.domain.repeat_window import (
    ENTRY_BYTES,
    InProgress,
    Remembered,
    RepeatWindow,
    RunKey,
    Unwritten,
    WindowBounds,
)

DIGEST = b"digest"


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def key(request_id: str = "r", account_id: str = "a", **more: str) -> RunKey:
    parts = {"algorithm_id": "g", "commit_sha": "c", "mode": "live"} | more
    return RunKey(account_id=account_id, request_id=request_id, **parts)


def window(clock: Clock | None = None, **bounds: float) -> RepeatWindow[str, str, str]:
    return RepeatWindow(clock or Clock(), bounds=WindowBounds(**bounds))  # type: ignore[arg-type]


def test_an_unknown_run_has_to_be_made() -> None:
    assert window().look(key(), DIGEST) is None


def test_a_run_in_progress_is_joined() -> None:
    runs = window()
    runs.start(key(), DIGEST, "run")
    assert runs.look(key(), DIGEST) == InProgress("run")


def test_a_success_is_remembered_for_ten_minutes() -> None:
    clock = Clock()
    runs = window(clock)
    runs.start(key(), DIGEST, "run")
    runs.succeed(key(), "answer", size_bytes=6, unwritten=None)
    clock.now_s += 599.9
    assert runs.look(key(), DIGEST) == Remembered("answer")
    clock.now_s += 0.1
    assert runs.look(key(), DIGEST) is None
    assert runs.remembered_bytes == 0


def test_what_was_given_up_has_to_be_made_again() -> None:
    runs = window()
    runs.start(key(), DIGEST, "run")
    runs.give_up(key())
    assert runs.look(key(), DIGEST) is None


def test_giving_up_after_a_success_changes_nothing() -> None:
    runs = window()
    runs.start(key(), DIGEST, "run")
    runs.succeed(key(), "answer", size_bytes=6, unwritten=None)
    runs.give_up(key())
    assert runs.look(key(), DIGEST) == Remembered("answer")


@pytest.mark.parametrize("finished", [False, True])
def test_another_input_under_the_same_key_is_refused(finished: bool) -> None:
    runs = window()
    runs.start(key(), DIGEST, "run")
    if finished:
        runs.succeed(key(), "answer", size_bytes=6, unwritten=None)
    with pytest.raises(InvalidInput):
        runs.look(key(), b"another digest")


@pytest.mark.parametrize(
    "other",
    [
        key(account_id="b"),
        key(request_id="s"),
        key(algorithm_id="h"),
        key(commit_sha="d"),
        key(mode="replay"),
    ],
)
def test_whatever_differs_in_the_key_is_another_run(other: RunKey) -> None:
    runs = window()
    runs.start(key(), DIGEST, "run")
    assert runs.look(other, b"any digest") is None


def test_a_large_answer_is_not_remembered() -> None:
    runs = window(answer_bytes_max=10)
    for name, size_bytes in (("fits", 10), ("large", 11)):
        runs.start(key(name), DIGEST, "run")
        runs.succeed(key(name), "answer", size_bytes=size_bytes, unwritten=None)
    assert runs.look(key("fits"), DIGEST) == Remembered("answer")
    assert runs.look(key("large"), DIGEST) is None


def test_a_take_over_at_full_speed_finds_what_had_ended_before() -> None:
    """12 s at 20,000 runs a second: what the next owner asks for again had ended before."""
    runs = window()
    runs_made = 12 * 20_000
    for number in range(runs_made):
        runs.start(key(str(number)), DIGEST, "run")
        runs.succeed(key(str(number)), "answer", size_bytes=64, unwritten=None)
    assert runs.look(key("0"), DIGEST) == Remembered("answer")


def test_what_is_unwritten_goes_last() -> None:
    runs = window(bytes_max=2 * (ENTRY_BYTES + 50))
    for name, unwritten in (("1", "record"), ("2", None), ("3", None)):
        runs.start(key(name), DIGEST, "run")
        runs.succeed(key(name), name, size_bytes=50, unwritten=unwritten)
    assert runs.look(key("1"), DIGEST) == Unwritten("1", "record")
    assert runs.look(key("2"), DIGEST) is None
    for name in ("4", "5"):
        runs.start(key(name), DIGEST, "run")
        runs.succeed(key(name), name, size_bytes=50, unwritten="record")
    assert [runs.look(key(name), DIGEST) for name in ("1", "3")] == [None, None]


def test_the_oldest_goes_when_they_are_too_large_together() -> None:
    runs = window(bytes_max=2 * (ENTRY_BYTES + 50))
    for name in ("1", "2", "3"):
        runs.start(key(name), DIGEST, "run")
        runs.succeed(key(name), name, size_bytes=50, unwritten=None)
    assert runs.look(key("1"), DIGEST) is None
    assert runs.remembered == 2


def test_a_held_success_is_unwritten_until_it_succeeds_and_counts_once() -> None:
    runs = window()
    for number in (1, 2):
        runs.start(key(), DIGEST, "run")
        runs.succeed(key(), "answer", size_bytes=10, unwritten=f"record {number}")
        assert runs.look(key(), DIGEST) == Unwritten("answer", f"record {number}")
    runs.start(key(), DIGEST, "run")
    runs.give_up(key())
    assert runs.look(key(), DIGEST) == Unwritten("answer", "record 2"), "it could not even be tried"
    runs.start(key(), DIGEST, "run")
    runs.succeed(key(), "answer", size_bytes=10, unwritten=None)
    assert runs.look(key(), DIGEST) == Remembered("answer")
    assert (runs.remembered, runs.remembered_bytes) == (1, 10 + ENTRY_BYTES)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call", "succeed", "unwritten", "give up", "wait"]),
        st.integers(min_value=0, max_value=4),
        st.integers(min_value=0, max_value=400),
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_under_any_use_one_run_a_key_and_every_bound_holds(
    steps: list[tuple[str, int, int]],
) -> None:
    clock, bounds = (
        Clock(),
        WindowBounds(age_max_s=300.0, bytes_max=3_000, answer_bytes_max=300),
    )
    runs: RepeatWindow[int, int, int] = RepeatWindow(clock, bounds=bounds)
    running: Counter[int] = Counter()
    for number, (what, name, amount) in enumerate(steps):
        one = key(str(name))
        if what == "call":
            known = runs.look(one, DIGEST)
            assert isinstance(known, InProgress) == bool(running[name])
            if known is None or isinstance(known, Unwritten):
                runs.start(one, DIGEST, number)
                running[name] += 1
        elif what == "wait":
            clock.now_s += amount
        elif running[name] and what == "succeed":
            runs.succeed(one, number, size_bytes=amount, unwritten=None)
            running[name] -= 1
        elif running[name] and what == "unwritten":
            runs.succeed(one, number, size_bytes=amount, unwritten=number)
            running[name] -= 1
        else:
            runs.give_up(one)
            running[name] = 0
        assert running[name] <= 1
        assert 0 <= runs.remembered_bytes <= bounds.bytes_max
