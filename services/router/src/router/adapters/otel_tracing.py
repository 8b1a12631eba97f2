"""Spans of OpenTelemetry, sent by OTLP over HTTP: receive ─▶ run (each attempt), settle.

A record whose `traceparent` is sampled is traced, below it; one whose is not sampled is not; of
those without one as many as the ratio says begin a trace. So what costs is decided here, before any
span is made. Spans are sent by a thread of the library; what its queue does not hold is lost.

No span holds a key or a value of a record, nor what an algorithm said of a failure: that may quote
them. Of a failure its type is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from router.domain.delivery import Delivery, Run
from router.domain.outcome import Outcome, OutcomeKind
from router.domain.trace_context import (
    BROKEN_OFF,
    TRACEPARENT_HEADER,
    is_traced,
    traceparent_of,
)
from router.ports import DeliveryTrace, RunTrace

QUEUE_SPANS_MAX: Final = 4_096
BATCH_SPANS_MAX: Final = 512
SEND_INTERVAL_S: Final = 1.0
SEND_TIMEOUT_S: Final = 3.0
CLOSE_TIMEOUT_S: Final = 5.0
_PATH: Final = "/v1/traces"
_PROPAGATOR: Final = TraceContextTextMapPropagator()


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Sends to a collector at `http://host:port`."""
    return OTLPSpanExporter(endpoint=endpoint.rstrip("/") + _PATH, timeout=SEND_TIMEOUT_S)


class OtelTracing:
    """Port `Tracing`. `chance` gives numbers in [0, 1) for records without a trace of their own."""

    def __init__(
        self, exporter: SpanExporter, *, worker_id: str, ratio: float, chance: Callable[[], float]
    ) -> None:
        resource = Resource.create(
            {"service.name": "eventflows-router", "service.instance.id": worker_id}
        )
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE_SPANS_MAX,
                max_export_batch_size=BATCH_SPANS_MAX,
                schedule_delay_millis=SEND_INTERVAL_S * 1000,
                export_timeout_millis=SEND_TIMEOUT_S * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("eventflows.router")
        self._ratio = ratio
        self._chance = chance
        self._closing: asyncio.Future[None] | None = None

    def receive(self, delivery: Delivery, *, flow_id: str) -> DeliveryTrace | None:
        """Decide, and begin the delivery's span."""
        traceparent = traceparent_of(dict(delivery.headers)) if delivery.headers else ""
        if not is_traced(traceparent, ratio=self._ratio, chance=self._chance):
            return None
        span = self._tracer.start_span(
            "receive",
            context=_PROPAGATOR.extract({TRACEPARENT_HEADER: traceparent}),
            kind=SpanKind.CONSUMER,
            attributes={
                "eventflows.flow.id": flow_id,
                "messaging.system": "kafka",
                "messaging.operation.type": "receive",
                "messaging.destination.name": delivery.topic,
                "messaging.destination.partition.id": str(delivery.partition),
                "messaging.kafka.offset": delivery.offset,
            },
        )
        return _DeliveryTrace(self._tracer, span)

    async def close(self) -> None:
        """Send what is left; whatever takes longer than `CLOSE_TIMEOUT_S` is lost."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(asyncio.to_thread(self._provider.shutdown))
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.shield(self._closing)


class _DeliveryTrace:
    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span, Context())

    def run(self, run: Run) -> RunTrace:
        span = self._tracer.start_span(
            "run",
            context=self._context,
            kind=SpanKind.CLIENT,
            attributes={
                "eventflows.request.id": run.request_id,
                "eventflows.attempt": run.attempt,
            },
        )
        return _RunTrace(span)

    def done(self) -> None:
        self._span.end()

    def settled(self, *, began: datetime, ended: datetime) -> None:
        span = self._tracer.start_span(
            "settle",
            context=self._context,
            kind=SpanKind.CLIENT,
            attributes={"messaging.operation.type": "settle"},
            start_time=_ns(began),
        )
        span.end(_ns(ended))


class _RunTrace:
    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(span, Context()))
        self._traceparent = carrier[TRACEPARENT_HEADER]

    @property
    def traceparent(self) -> str:
        return self._traceparent

    def ended(self, outcome: Outcome | None) -> None:
        word = BROKEN_OFF if outcome is None else outcome.word
        self._span.set_attribute("eventflows.outcome", word)
        if outcome is not None and outcome.kind is not OutcomeKind.SUCCEEDED:
            self._span.set_attribute("error.type", outcome.error_type or word)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def _ns(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000) * 1_000
