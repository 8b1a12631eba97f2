"""Completions as a source."""

from dataclasses import replace

from catalog.events import FlowKind
from router.domain.flow_spec import AlgorithmTargetSpec

from tests.support.router_flows import (
    ALGORITHM,
    COMPLETION,
    PUBLISHER,
    with_header,
)
from tests.support.router_pumps import running_pump


async def test_completions_that_are_not_for_the_flow_are_settled_without_a_run() -> None:
    async with running_pump(PUBLISHER) as bench:
        bench.broker.append(b"failed", headers=with_header(COMPLETION, "ef-status", b"failed"))
        bench.broker.append(b"old", headers=with_header(COMPLETION, "ef-position", b"6"))
        bench.broker.append(b"mine", headers=COMPLETION)
        await bench.until_committed(3)
        assert bench.target.values == [b"mine"]
        assert bench.target.runs[0].hops == 1, "publishing is no run of an algorithm"


async def test_a_chain_flow_runs_another_algorithm_with_one_hop_more() -> None:
    chain = replace(
        PUBLISHER,
        kind=FlowKind.CHAIN,
        target=AlgorithmTargetSpec(algorithm=ALGORITHM, version="2.0.0"),
    )
    async with running_pump(chain) as bench:
        bench.broker.append(b"mine", headers=COMPLETION)
        await bench.until_committed(1)
        assert bench.target.runs[0].hops == 2
