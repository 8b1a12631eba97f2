"""What an algorithm's target says to the runner on a real socket, and how it reads answers."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from router.adapters import algorithm_target as algorithm_targets
from router.adapters.algorithm_target import AlgorithmTarget, runner_pool
from router.adapters.http_answer import AnswerLimits
from router.adapters.http_client import HttpPool, PoolLimits
from router.adapters.http_connection import ConnectionLimits
from router.domain.delivery import Delivery, Headers, Run
from router.domain.flow_spec import AlgorithmName, AlgorithmTargetSpec
from router.domain.outcome import SUCCEEDED, OutcomeKind

from tests.support.router_flows import SUBSCRIBER, delivery
from tests.support.router_runner import Answer, Runner, algorithm_target, running_runner

SLOW_CALLS = 600
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest_asyncio.fixture(loop_scope="session")
async def runner() -> AsyncIterator[Runner]:
    async with running_runner() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def pool(runner: Runner) -> AsyncIterator[HttpPool]:
    async with runner_pool(runner.url) as made:
        yield made


@pytest.fixture
def target(pool: HttpPool) -> AlgorithmTarget:
    return algorithm_target(SUBSCRIBER, pool, token="secret")


def run(record: Delivery | None = None, traceparent: str = "") -> Run:
    record = record or delivery(value=b"1")
    return Run(
        delivery=record,
        request_id="req-1",
        attempt=2,
        hops=3,
        traceparent=traceparent,
        named=dict(record.headers),
    )


async def test_the_request_is_the_record_with_the_headers_of_the_seam(
    runner: Runner, target: AlgorithmTarget
) -> None:
    record = delivery(key=b"\x00key\xff", value=b'{"a":  1}')
    assert await target.invoke(run(record, TRACEPARENT)) == SUCCEEDED
    (asked,) = runner.asked
    assert (asked.path, asked.query) == ("/v1/algo/acme/Digits/1.2.3", "")
    assert asked.body == b'{"a":  1}'
    expected = {
        "Authorization": "Bearer secret",
        "Content-Type": "application/json",
        "X-Eventflows-Account": "account-1",
        "X-Eventflows-Request-Id": "req-1",
        "X-Eventflows-Flow": "flow-1",
        "X-Eventflows-Attempt": "2",
        "X-Eventflows-Hops": "3",
        "X-Eventflows-Mode": "live",
        "X-Eventflows-Position": "9",
        "traceparent": TRACEPARENT,
    }
    assert {name: asked.headers.get(name) for name in expected} == expected
    assert b64decode(asked.headers["X-Eventflows-Record-Key"]) == b"\x00key\xff"


async def test_a_tombstone_without_a_key_runs_with_null(
    runner: Runner, target: AlgorithmTarget
) -> None:
    assert await target.invoke(run(delivery(key=None, value=None))) == SUCCEEDED
    (asked,) = runner.asked
    assert asked.body == b"null"
    assert "X-Eventflows-Record-Key" not in asked.headers


@pytest.mark.parametrize("named", [(), (("content-type", b"text/plain"),)])
async def test_an_empty_value_reaches_the_algorithm_empty(
    runner: Runner, target: AlgorithmTarget, named: Headers
) -> None:
    assert await target.invoke(run(delivery(value=b"", headers=named))) == SUCCEEDED
    (asked,) = runner.asked
    assert (asked.body, asked.headers["Content-Type"]) == (b"", "text/plain")


async def test_a_key_too_long_for_a_header_is_left_out(
    runner: Runner, target: AlgorithmTarget
) -> None:
    assert await target.invoke(run(delivery(key=b"k" * 100_000))) == SUCCEEDED
    assert "X-Eventflows-Record-Key" not in runner.asked[0].headers


async def test_names_are_quoted_and_the_flows_timeout_goes_along(
    runner: Runner, pool: HttpPool
) -> None:
    odd = AlgorithmName(algorithm_id="a", owner="ac/me", name="Di gits?")
    spec = replace(
        SUBSCRIBER, target=AlgorithmTargetSpec(algorithm=odd, version="1.0.0"), timeout_s=7
    )
    target = algorithm_target(spec, pool)
    assert await target.invoke(run()) == SUCCEEDED
    (asked,) = runner.asked
    assert (asked.path, asked.query) == ("/v1/algo/ac%2Fme/Di%20gits%3F/1.0.0", "timeout=7")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (
            Answer(body=b'{"error": {"message": "no", "error_type": "InputError"}}'),
            "ALGORITHM_ERROR",
        ),
        (Answer(body=b'{"error": {"message": "no", "error_type": "TimeoutError"}}'), "TIMED_OUT"),
        (Answer(body=b"{}", headers={"X-Eventflows-Outcome": "failed"}), "UNREACHABLE"),
        (Answer(status=429, headers={"Retry-After": "4"}), "OVERLOADED"),
        (Answer(status=503), "UNREACHABLE"),
        (Answer(status=413), "REFUSED"),
        (Answer(status=302, headers={"Location": "/"}), "UNREACHABLE"),
        (Answer(cut=True), "NO_ANSWER"),
        (Answer(headers={"X-Eventflows-Outcome": "succeeded"}, body=b"not looked at"), "SUCCEEDED"),
    ],
)
async def test_each_answer_is_an_outcome(
    runner: Runner, target: AlgorithmTarget, answer: Answer, kind: str
) -> None:
    runner.answers.append(answer)
    assert (await target.invoke(run())).kind is OutcomeKind[kind]


async def test_retry_after_arrives(runner: Runner, target: AlgorithmTarget) -> None:
    runner.answers.append(Answer(status=429, headers={"Retry-After": "4"}))
    assert (await target.invoke(run())).retry_after_s == 4.0


async def test_a_runner_that_never_answers_is_given_up_in_time(
    runner: Runner, pool: HttpPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(algorithm_targets, "ANSWER_MARGIN_S", -0.8)
    target = algorithm_target(replace(SUBSCRIBER, timeout_s=1), pool)
    runner.answers.append(Answer(hang=True))
    outcome = await target.invoke(run())
    assert outcome.kind is OutcomeKind.NO_ANSWER
    assert outcome.error == "no answer of the runner: no answer in time"


async def test_many_slow_calls_of_one_flow_keep_no_other_waiting(
    runner: Runner, target: AlgorithmTarget
) -> None:
    runner.answers.extend([Answer(hang=True)] * SLOW_CALLS)
    slow = [asyncio.create_task(target.invoke(run())) for _ in range(SLOW_CALLS)]
    try:
        async with asyncio.timeout(30):
            while len(runner.asked) < SLOW_CALLS:
                await asyncio.sleep(0.01)
            assert await target.invoke(run()) == SUCCEEDED
    finally:
        for call in slow:
            call.cancel()
        await asyncio.wait(slow)


async def test_a_large_result_passes(runner: Runner, target: AlgorithmTarget) -> None:
    body = json.dumps({"result": "x" * 15_000_000, "metadata": {}}).encode()
    runner.answers.append(Answer(body=body))
    assert await target.invoke(run()) == SUCCEEDED


async def test_an_endless_answer_is_not_read_to_the_end_nor_tried_again(runner: Runner) -> None:
    limits = PoolLimits(connection=ConnectionLimits(answer=AnswerLimits(body_bytes_max=1_000)))
    async with runner_pool(runner.url, limits=limits) as pool:
        target = algorithm_target(SUBSCRIBER, pool)
        runner.answers.append(Answer(body=b'{"result": "' + b"x" * 10_000_000 + b'"}'))
        outcome = await target.invoke(run())
        assert (outcome.kind, outcome.error_type) == (OutcomeKind.ALGORITHM_ERROR, "AnswerTooLarge")
        assert pool.open_count == 0
        assert await target.invoke(run()) == SUCCEEDED


async def test_a_request_id_or_trace_that_would_break_out_of_its_header_is_refused(
    runner: Runner, target: AlgorithmTarget
) -> None:
    for odd in ("x\r\nX-Eventflows-Account: other", "x\n", "é", "\x00"):
        for sent in (run(traceparent=odd), run()._replace(request_id=odd)):
            outcome = await target.invoke(sent)
            assert (outcome.kind, outcome.error_type) == (OutcomeKind.REFUSED, "InvalidHeader")
    assert runner.asked == []


async def test_the_token_is_in_no_outcome() -> None:
    async with runner_pool("http://127.0.0.1:1") as pool:
        target = algorithm_target(SUBSCRIBER, pool, token="secret-token")
        assert "secret-token" not in repr(await target.invoke(run()))
