"""What faust-streaming 0.15.3 does with a record that is not finished (ADR 0001).

*Lost* means: the committed offset lies past a record whose work was never finished, and a worker
that starts again never takes it. Every test names what was measured, also where it is bad: a
release of Faust that mends it breaks the test, and the ADR is read again.
"""

from __future__ import annotations

import pytest

from tests.fault.faust_hazards.conftest import Hazard

pytestmark = pytest.mark.fault

COUNT = 20
EXIT_TIMEOUT_S = 20.0


def records(**special: bytes) -> list[bytes]:
    """COUNT records, `at_5=b"slow"` puts a special one at offset 5."""
    values = [b"quick"] * COUNT
    for name, value in special.items():
        values[int(name.removeprefix("at_"))] = value
    return values


async def processed_after_restart(hazard: Hazard) -> set[int]:
    """What is done once a new worker, with nothing slow or bad, has reached a new last record."""
    last = hazard.produced
    await hazard.produce(b"quick")
    hazard.start(slow_s=0.0, raises=False)
    await hazard.until(lambda: last in hazard.done)
    return hazard.done


async def test_safe_concurrency_one_killed_in_flight_takes_the_record_again(
    hazard: Hazard,
) -> None:
    await hazard.produce(*records(at_5=b"slow"))
    worker = hazard.start()
    await hazard.until(lambda: 5 in hazard.noted("began"))
    await hazard.until_committed(5)
    worker.kill()
    assert await hazard.committed() == 5
    assert await processed_after_restart(hazard) == set(range(COUNT + 1))


async def test_safe_sigterm_waits_for_the_record_in_flight_and_commits_it(hazard: Hazard) -> None:
    await hazard.produce(*records(at_5=b"slow"))
    worker = hazard.start(slow_s=2.0)
    await hazard.until(lambda: 5 in hazard.noted("began"))
    assert await worker.terminate(timeout_s=EXIT_TIMEOUT_S) == 0
    assert 5 in hazard.done
    assert await hazard.committed() == max(hazard.done) + 1
    assert await processed_after_restart(hazard) == set(range(COUNT + 1))


async def test_lost_the_record_of_an_agent_that_raises(hazard: Hazard) -> None:
    await hazard.produce(*records(at_5=b"bad"))
    worker = hazard.start()
    await hazard.until(lambda: hazard.done == set(range(COUNT)) - {5})
    await hazard.until_committed(COUNT)
    worker.kill()
    assert 5 not in await processed_after_restart(hazard)


async def test_lost_the_rest_of_the_batch_of_a_take_that_raises(hazard: Hazard) -> None:
    await hazard.produce(*records(at_5=b"bad"))
    worker = hazard.start("take")
    await hazard.until(lambda: hazard.done == set(range(COUNT)) - {5, 6, 7, 8, 9})
    await hazard.until_committed(COUNT)
    worker.kill()
    assert not {5, 6, 7, 8, 9} & await processed_after_restart(hazard)


@pytest.mark.parametrize("slow", [0, 5])
async def test_lost_a_slow_record_beside_others_with_concurrency_four_and_a_kill(
    hazard: Hazard, slow: int
) -> None:
    await hazard.produce(*records(**{f"at_{slow}": b"slow"}))
    worker = hazard.start(concurrency=4)
    await hazard.until(lambda: hazard.done == set(range(COUNT)) - {slow})
    await hazard.until_committed(COUNT)
    worker.kill()
    assert slow not in await processed_after_restart(hazard)


@pytest.mark.parametrize("slow", [0, 5])
async def test_lost_a_slow_record_beside_others_with_noack_and_a_kill(
    hazard: Hazard, slow: int
) -> None:
    await hazard.produce(*records(**{f"at_{slow}": b"slow"}))
    worker = hazard.start("noack")
    await hazard.until(lambda: hazard.done == set(range(COUNT)) - {slow})
    await hazard.until_committed(COUNT)
    worker.kill()
    assert slow not in await processed_after_restart(hazard)


async def test_safe_two_slow_records_side_by_side_hold_the_commit_back(hazard: Hazard) -> None:
    await hazard.produce(*records(at_5=b"slow", at_6=b"slow"))
    worker = hazard.start("noack")
    await hazard.until(lambda: hazard.done == set(range(COUNT)) - {5, 6})
    await hazard.until_committed(5)
    worker.kill()
    assert await hazard.committed() == 5
    assert await processed_after_restart(hazard) == set(range(COUNT + 1))


async def test_broken_the_order_of_an_agent_with_concurrency_four(hazard: Hazard) -> None:
    await hazard.produce(*records(at_5=b"slow"))
    hazard.start(concurrency=4, slow_s=1.0)
    await hazard.until(lambda: hazard.done == set(range(COUNT)))
    order = hazard.noted("done")
    assert order.index(5) > order.index(6)
