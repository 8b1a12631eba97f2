"""The fault suite counts what it says: repeats, pauses, and what breaks a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from router.application.limits import COMMIT_INTERVAL_S

from tests.support.chaos_report import (
    RUNS_FEW,
    Allowance,
    Findings,
    Injury,
    Report,
    report,
    runs_allowed,
    table,
)
from tests.support.chaos_run import commits_until_s
from tests.support.chaos_strikes import STRIKES
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
        is_decided=answered_s is not None,
    )


def a_report(
    deliveries: Sequence[Sent],
    *,
    runs_repeated: int = 0,
    run_order_breaks: Sequence[int] = (),
    uncommitted: int = 0,
    allows: Sequence[Allowance] = (Allowance(share=0.001),),
    records_due: float = 1_000,
) -> Report:
    """Of one worker that was killed at second 10, and of strikes that follow."""
    return report(
        "kill",
        findings=[
            Findings(
                verdict=RIGHT,
                sent=deliveries,
                runs_repeated=runs_repeated,
                run_order_breaks=run_order_breaks,
            )
        ],
        records_due=records_due,
        in_flight_max=100,
        uncommitted=uncommitted,
        injuries=[
            Injury(name="kill", at_s=9.9 + index, killed_s=None if index else 10.0, allows=allowed)
            for index, allowed in enumerate(allows)
        ],
        stopped_s=30.0,
        caught_up_s=1.0,
    )


def test_a_first_attempt_that_was_made_before_is_a_repeat_and_a_retry_is_none() -> None:
    found = repeats([sent("a", 1), sent("a", 2, attempt=2), sent("b", 3), sent("a", 4)])
    assert [(one.again.request_id, one.again.sent_s) for one in found] == [("a", 4)]


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


def test_what_ended_two_intervals_before_the_kill_was_committed() -> None:
    since_s = 10.0 - 2 * COMMIT_INTERVAL_S
    assert a_report([sent("new", 9, since_s + 0.01), sent("new", 20)]).problems == ()
    assert len(a_report([sent("old", 9, since_s - 0.01), sent("old", 20)]).problems) == 1


def test_what_waits_for_its_next_attempt_has_not_ended_and_what_the_next_one_decided_has() -> None:
    refused = Sent(
        flow_id="flow", request_id="a", attempt=1, sent_s=5, answered_s=5.1, is_decided=False
    )
    assert a_report([refused, sent("a", 20)]).problems == ()
    (problem,) = a_report([refused, sent("a", 7, 7.1, attempt=2), sent("a", 20)]).problems
    assert "2.90 s before the worker was killed" in problem


def test_what_ended_after_the_broker_of_the_positions_had_gone_may_be_repeated() -> None:
    outage = Injury(name="customers-kafka", at_s=4.0)
    kill = Injury(name="kill", at_s=9.9, killed_s=10.0, commits_until_s=commits_until_s([outage]))

    def problems(*deliveries: Sent) -> tuple[str, ...]:
        found = Findings(verdict=RIGHT, sent=deliveries, runs_repeated=0, run_order_breaks=())
        return report(
            "random",
            findings=[found],
            records_due=1_000,
            in_flight_max=100,
            uncommitted=0,
            injuries=[outage, kill],
            stopped_s=30.0,
            caught_up_s=1.0,
        ).problems

    assert problems(sent("since", 5, 5.1), sent("since", 20)) == ()
    (problem,) = problems(sent("before", 3, 3.1), sent("before", 20))
    assert "0.90 s before" in problem
    assert commits_until_s([]) is commits_until_s([outage, kill]) is None


def test_a_strike_that_allows_no_run_to_be_repeated_allows_not_one() -> None:
    assert a_report([], allows=[Allowance()]).problems == ()
    (problem,) = a_report([], runs_repeated=1, allows=[Allowance()]).problems
    assert problem == "1 runs were repeated at the algorithm, and 0 is the most"


def test_a_share_of_few_records_allows_what_one_mishap_repeats() -> None:
    assert a_report([], runs_repeated=RUNS_FEW).problems == ()
    assert len(a_report([], runs_repeated=RUNS_FEW + 1).problems) == 1


def test_a_strike_may_repeat_what_was_in_flight_once() -> None:
    allows = [Allowance(in_flight=True)]
    assert a_report([], runs_repeated=100, allows=allows).problems == ()
    assert len(a_report([], runs_repeated=101, allows=allows).problems) == 1


def test_strikes_that_differ_allow_their_sum() -> None:
    struck = [
        Injury(name=str(number), at_s=number, allows=allowed)
        for number, allowed in enumerate(
            [Allowance(share=0.004), Allowance(), Allowance(in_flight=True), Allowance()]
        )
    ]
    assert runs_allowed(struck, records=100_000, in_flight_max=64) == 100 + 64
    assert runs_allowed(struck[:1], records=100_000, in_flight_max=64) == 400
    assert runs_allowed([], records=100_000, in_flight_max=64) == 0


@pytest.mark.parametrize("fault", sorted(STRIKES))
def test_every_fault_of_the_suite_bounds_the_runs_that_it_repeats(fault: str) -> None:
    injury = Injury(name=fault, at_s=0, allows=STRIKES[fault].allows)
    assert runs_allowed([injury], records=10_000, in_flight_max=64) <= 64


@pytest.mark.parametrize("fault", sorted(STRIKES.keys() - {"runner"}))
def test_where_the_runner_lives_a_strike_may_not_repeat_all_that_was_in_flight(fault: str) -> None:
    injury = Injury(name=fault, at_s=0, allows=STRIKES[fault].allows)
    assert runs_allowed([injury], records=10_000, in_flight_max=192) <= RUNS_FEW < 64


def test_a_run_with_fewer_than_half_of_its_records_has_tested_too_little() -> None:
    assert a_report([], records_due=2_000).problems == ()
    (problem,) = a_report([], records_due=2_001).problems
    assert "only 1000 records came into the sources, of 2001" in problem


def test_a_run_without_a_record_is_never_right() -> None:
    found = report(
        "kill",
        findings=[],
        records_due=0.0,
        in_flight_max=0,
        uncommitted=0,
        injuries=[],
        stopped_s=0.0,
        caught_up_s=0.0,
    )
    assert len(found.problems) == 1


def test_an_order_break_of_a_run_is_a_problem_and_stands_in_the_table() -> None:
    found = a_report([], run_order_breaks=[7])
    assert found.order_breaks == 1
    assert "WRONG, kill: 1 records whose run broke the order of its key: 7" in table([found])


def test_second_results_and_second_letters_stand_in_the_table() -> None:
    twice = replace(a_report([]), results_repeated=34_567, letters_repeated=45_678)
    _, _, row, *_ = table([twice]).splitlines()
    assert row.split()[9:12] == ["0.000%", "34567", "45678"]


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
    assert not one.is_decided


@pytest.mark.parametrize(
    ("outcome", "is_decided"), [("succeeded", True), ("failed", True), ("timed_out", False)]
)
def test_the_tap_sees_whether_an_answer_leaves_something_to_be_tried_again(
    outcome: str, is_decided: bool
) -> None:
    tap = RunnerTap()
    going, coming = tap.taps()
    going(b"POST / HTTP/1.1\r\nX-Eventflows-Request-Id: r\r\nContent-Length: 0\r\n\r\n")
    head = f"HTTP/1.1 200 OK\r\nX-Eventflows-Outcome: {outcome}\r\nContent-Length: 0\r\n\r\n"
    coming(head.encode())
    assert tap.sent[0].is_decided is is_decided
