"""What every tracing promises, asked of memory and of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from router.adapters.memory_tracing import MemoryTracing
from router.adapters.otel_tracing import OtelTracing
from router.domain.delivery import Run
from router.domain.outcome import SUCCEEDED, OutcomeKind, failed
from router.domain.trace_context import BROKEN_OFF, TRACEPARENT_HEADER, is_sampled
from router.ports import DeliveryTrace, Tracing

from tests.support.router_flows import delivery

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-00"
NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
RUN = Run(delivery=delivery(), request_id="req-1", attempt=1, hops=1, traceparent=SAMPLED, named={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A span that has ended. `parent_id` is empty where a trace begins."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A tracing, and all of its spans that ended; who asks for these closes it."""

    tracing: Tracing
    spans: Callable[[], Awaitable[Sequence[Seen]]]

    def receive(self, traceparent: str = "") -> DeliveryTrace | None:
        """Of a record with that header, if it is not empty."""
        headers = ((TRACEPARENT_HEADER, traceparent.encode()),) if traceparent else ()
        return self.tracing.receive(delivery(headers=headers), flow_id="flow-1")

    def received(self, traceparent: str = SAMPLED) -> DeliveryTrace:
        """Of one that is traced."""
        trace = self.receive(traceparent)
        assert trace is not None
        return trace

    async def named(self, name: str) -> list[Seen]:
        """Those of that name."""
        return [span for span in await self.spans() if span.name == name]


MakeStage = Callable[..., Stage]


@pytest.fixture(params=["memory", "opentelemetry"])
def make_stage(request: pytest.FixtureRequest) -> MakeStage:
    """Makes a tracing that begins traces by `ratio` where the number drawn is `chance`."""
    return _memory_stage if request.param == "memory" else _opentelemetry_stage


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """It begins no trace of its own."""
    return make_stage()


def _memory_stage(*, ratio: float = 0.0, chance: float = 0.5) -> Stage:
    tracing = MemoryTracing(ratio=ratio, chance=lambda: chance)

    async def spans() -> Sequence[Seen]:
        await tracing.close()
        return [
            Seen(
                name=span.name,
                trace_id=span.trace_id,
                span_id=span.span_id,
                parent_id=span.parent_id,
                outcome=span.outcome,
            )
            for span in tracing.spans()
        ]

    return Stage(tracing=tracing, spans=spans)


def _opentelemetry_stage(*, ratio: float = 0.0, chance: float = 0.5) -> Stage:
    exporter = InMemorySpanExporter()
    tracing = OtelTracing(exporter, worker_id="one", ratio=ratio, chance=lambda: chance)

    async def spans() -> Sequence[Seen]:
        await tracing.close()
        return [_seen(span) for span in exporter.get_finished_spans()]

    return Stage(tracing=tracing, spans=spans)


def _seen(span: ReadableSpan) -> Seen:
    return Seen(
        name=span.name,
        trace_id=f"{span.context.trace_id:032x}",
        span_id=f"{span.context.span_id:016x}",
        parent_id="" if span.parent is None else f"{span.parent.span_id:016x}",
        outcome=str((span.attributes or {}).get("eventflows.outcome", "")),
    )


async def test_a_record_that_is_sampled_is_traced_below_its_own_trace(stage: Stage) -> None:
    stage.received(SAMPLED).done()
    (span,) = await stage.spans()
    assert (span.name, span.trace_id, span.parent_id) == ("receive", TRACE_ID, PARENT_ID)


async def test_a_record_that_is_not_sampled_is_not_traced(make_stage: MakeStage) -> None:
    stage = make_stage(ratio=1.0)
    assert stage.receive(UNSAMPLED) is None
    assert await stage.spans() == []


@pytest.mark.parametrize("traceparent", ["", "of a form that nobody knows"])
@pytest.mark.parametrize(("chance", "is_traced"), [(0.24, True), (0.25, False)])
async def test_without_a_trace_of_its_own_chance_decides(
    make_stage: MakeStage, traceparent: str, chance: float, is_traced: bool
) -> None:
    stage = make_stage(ratio=0.25, chance=chance)
    trace = stage.receive(traceparent)
    assert (trace is not None) is is_traced
    if trace is not None:
        trace.done()
    assert [span.parent_id for span in await stage.spans()] == [""] * is_traced


async def test_two_records_without_a_trace_begin_two(make_stage: MakeStage) -> None:
    stage = make_stage(ratio=1.0)
    for _ in range(2):
        stage.received("").done()
    assert len({span.trace_id for span in await stage.spans()}) == 2


async def test_what_goes_along_with_an_attempt_names_the_attempt(stage: Stage) -> None:
    trace = stage.received()
    runs = [trace.run(RUN) for _ in range(2)]
    for run in runs:
        run.ended(SUCCEEDED)
    trace.done()
    (receive,) = await stage.named("receive")
    told = [run.traceparent.split("-") for run in runs]
    seen = await stage.named("run")
    assert [span.span_id for span in seen] == [span_id for _, _, span_id, _ in told]
    assert len({receive.span_id, *(span.span_id for span in seen)}) == 3
    assert {trace_id for _, trace_id, _, _ in told} == {TRACE_ID}
    assert {span.parent_id for span in seen} == {receive.span_id}
    assert all(is_sampled(run.traceparent) for run in runs)


async def test_an_attempt_tells_what_it_came_to(stage: Stage) -> None:
    trace = stage.received()
    for outcome in (SUCCEEDED, failed(OutcomeKind.REFUSED, "no", reason="loop"), None):
        trace.run(RUN).ended(outcome)
    words = [span.outcome for span in await stage.named("run")]
    assert words == ["succeeded", "loop", BROKEN_OFF]


async def test_the_settling_is_a_step_of_its_own(stage: Stage) -> None:
    trace = stage.received()
    trace.done()
    trace.settled(began=NOW, ended=NOW)
    (receive,), (settle,) = await stage.named("receive"), await stage.named("settle")
    assert (settle.trace_id, settle.parent_id) == (TRACE_ID, receive.span_id)


async def test_a_delivery_that_goes_back_to_the_broker_has_no_end(stage: Stage) -> None:
    stage.received().run(RUN).ended(None)
    assert [span.name for span in await stage.spans()] == ["run"]


async def test_closing_is_harmless_twice_and_breaks_no_delivery(stage: Stage) -> None:
    trace = stage.received()
    run = trace.run(RUN)
    await stage.tracing.close()
    await stage.tracing.close()
    run.ended(SUCCEEDED)
    trace.done()
    trace.settled(began=NOW, ended=NOW)
    stage.receive(SAMPLED)
