"""One id for all attempts of a run."""

from tests.support.router_flows import COMPLETION, PUBLISHER
from tests.support.router_pumps import UNREACHABLE, running_pump


async def test_promise_4_all_attempts_share_the_request_id_and_are_counted() -> None:
    async with running_pump() as bench:
        bench.target.answers[b"one"].extend([UNREACHABLE, UNREACHABLE])
        bench.broker.append(b"one", headers=(("ef-hops", b"9"), ("ef-hops", b"3")))
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1)
        runs = bench.target.runs
        assert [run.attempt for run in runs] == [1, 2, 3]
        assert len({run.request_id for run in runs}) == 1
        assert {run.hops for run in runs} == {4}, "of a repeated header the last one counts"


async def test_promise_4_what_is_published_has_the_id_of_the_run_that_it_tells_of() -> None:
    async with running_pump(PUBLISHER) as bench:
        bench.broker.append(b"result", headers=COMPLETION)
        await bench.until_settled(1)
        assert [run.request_id for run in bench.target.runs] == ["req-1"]
