"""Spans in memory, for tests: their ids are counted, and nothing is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from router.domain.delivery import Delivery, Run
from router.domain.outcome import Outcome
from router.domain.trace_context import BROKEN_OFF, is_traced, traceparent_of
from router.ports import DeliveryTrace, RunTrace


@dataclass(slots=True, kw_only=True)
class MemorySpan:
    """One step of a delivery. `parent_id` is empty where a trace begins."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    outcome: str = ""
    is_ended: bool = False

    @property
    def traceparent(self) -> str:
        """What goes along with it, so that what is done below it belongs to it."""
        return f"00-{self.trace_id}-{self.span_id}-01"


class MemoryTracing:
    """Port `Tracing`. `chance` gives numbers in [0, 1) for records without a trace of their own."""

    def __init__(self, *, ratio: float = 0.0, chance: Callable[[], float] = lambda: 0.5) -> None:
        self._ratio = ratio
        self._chance = chance
        self._spans: list[MemorySpan] = []

    def spans(self, name: str = "") -> Sequence[MemorySpan]:
        """All that have ended, in the order of their beginning; of that name only."""
        return [span for span in self._spans if span.is_ended and name in ("", span.name)]

    def receive(self, delivery: Delivery, *, flow_id: str) -> DeliveryTrace | None:
        """Decide, and begin the delivery's span."""
        traceparent = traceparent_of(dict(delivery.headers))
        if not is_traced(traceparent, ratio=self._ratio, chance=self._chance):
            return None
        if traceparent:
            _, trace_id, parent_id, _ = traceparent.split("-")
        else:
            trace_id, parent_id = f"{len(self._spans) + 1:032x}", ""
        return _DeliveryTrace(self, self.begin("receive", trace_id, parent_id))

    def begin(self, name: str, trace_id: str, parent_id: str) -> MemorySpan:
        """A span with an id of its own."""
        span = MemorySpan(
            name=name,
            trace_id=trace_id,
            span_id=f"{len(self._spans) + 1:016x}",
            parent_id=parent_id,
        )
        self._spans.append(span)
        return span

    async def close(self) -> None:
        """Nothing is left."""


class _DeliveryTrace:
    def __init__(self, tracing: MemoryTracing, span: MemorySpan) -> None:
        self._tracing = tracing
        self._span = span

    def run(self, run: Run) -> RunTrace:
        return _RunTrace(self._below("run"))

    def done(self) -> None:
        self._span.is_ended = True

    def settled(self, *, began: datetime, ended: datetime) -> None:
        self._below("settle").is_ended = True

    def _below(self, name: str) -> MemorySpan:
        return self._tracing.begin(name, self._span.trace_id, self._span.span_id)


class _RunTrace:
    def __init__(self, span: MemorySpan) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        return self._span.traceparent

    def ended(self, outcome: Outcome | None) -> None:
        self._span.outcome = BROKEN_OFF if outcome is None else outcome.word
        self._span.is_ended = True
