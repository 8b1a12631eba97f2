"""The fault suite counts what it says: repeats, pauses, and what breaks a bound."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.chaos_report import Findings, Injury, Report, report, table
from tests.support.chaos_tap import RunnerTap, Sent, longest_gap_s, repeats
from tests.support.checker import Verdict

RIGHT = Verdict(
    records=1_000,
    results=980,
    letters=20,
    lost=(),
    double_fates=(),
    wrong_fates=(),
    unknown=(),
    order_breaks=(),
    results_repeated=0,
    letters_repeated=0,
)


def sent(request_id: str, at_s: float, answered_s: float | None = None, attempt: int = 1) -> Sent:
    return Sent(
        flow_id="flow",
        request_id=request_id,
        attempt=attempt,
        sent_s=at_s,
        answered_s=answered_s,
    )


def a_report(
    deliveries: Sequence[Sent],
    *,
    runs_repeated: int = 0,
    run_order_breaks: Sequence[int] = (),
    uncommitted: int = 0,
    repeats_share_max: float | None = 0.001,
) -> Report:
    """Of one worker that was killed at second 10."""
    return report(
        "kill",
        repeats_share_max=repeats_share_max,
        findings=[
            Findings(
                verdict=RIGHT,
                sent=deliveries,
                runs_repeated=runs_repeated,
                run_order_breaks=run_order_breaks,
            )
        ],
        uncommitted=uncommitted,
        injuries=[Injury(name="kill", at_s=9.9, killed_s=10.0)],
        stopped_s=30.0,
        caught_up_s=1.0,
    )


def test_a_first_attempt_that_was_made_before_is_a_repeat_and_a_retry_is_none() -> None:
    found = repeats([sent("a", 1), sent("a", 2, attempt=2), sent("b", 3), sent("a", 4)])
    assert [(one.first.sent_s, one.again.sent_s) for one in found] == [(1, 4)]


def test_the_longest_gap_is_between_new_deliveries_and_repeats_do_not_shorten_it() -> None:
    deliveries = [sent("a", 1), sent("b", 10), sent("a", 12), sent("c", 15)]
    assert longest_gap_s(deliveries, 10, 16) == 5


def test_silence_until_the_end_is_a_gap_too() -> None:
    assert longest_gap_s([sent("a", 1)], 2, 30) == 28


def test_what_was_in_flight_or_ended_just_before_may_be_repeated() -> None:
    deliveries = [
        sent("running", 9.9),
        sent("just ended", 9.5, 9.6),
        sent("running", 20),
        sent("just ended", 20),
    ]
    found = a_report(deliveries)
    assert found.problems == ()
    assert (found.deliveries_repeated, found.deliveries_repeated_worst) == (2, 2)


def test_a_repeat_of_what_ended_long_before_the_kill_breaks_the_bound() -> None:
    (problem,) = a_report([sent("old", 5, 5.1), sent("old", 20)]).problems
    assert "4.90 s before the worker was killed" in problem


def test_too_many_runs_repeated_are_a_problem() -> None:
    assert a_report([], runs_repeated=1).problems == ()
    assert len(a_report([], runs_repeated=2).problems) == 1
    assert a_report([], runs_repeated=2, repeats_share_max=None).problems == ()


def test_an_order_break_of_a_run_is_a_problem_and_stands_in_the_table() -> None:
    found = a_report([], run_order_breaks=[7])
    assert found.order_breaks == 1
    assert "WRONG, kill: 1 records whose run broke the order of its key: 7" in table([found])


def test_a_position_short_of_the_end_is_a_problem() -> None:
    assert len(a_report([], uncommitted=3).problems) == 1


def test_the_tap_sees_requests_and_their_answers_however_the_bytes_are_cut() -> None:
    tap = RunnerTap()
    going, coming = tap.taps()
    request = (
        b"POST /v1/algo/a/b/1 HTTP/1.1\r\nX-Eventflows-Flow: f\r\n"
        b"X-Eventflows-Request-Id: req-1\r\nX-Eventflows-Attempt: 3\r\n"
        b"Content-Length: 4\r\n\r\nbody"
    )
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    for number in range(len(request)):
        going(request[number : number + 1])
    (one,) = tap.sent
    assert (one.flow_id, one.request_id, one.attempt, one.answered_s) == ("f", "req-1", 3, None)
    coming(answer)
    assert one.answered_s is not None
