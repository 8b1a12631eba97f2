"""Spans of a delivery: below the record's own trace, around every attempt, up to the settling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from router.adapters import otel_tracing
from router.adapters.memory_tracing import MemoryTracing
from router.adapters.otel_tracing import OtelTracing, otlp_exporter
from router.domain.outcome import OutcomeKind, failed
from router.domain.trace_context import BROKEN_OFF, TRACEPARENT_HEADER

from tests.support.router_flows import COMPLETION, PUBLISHER, delivery
from tests.support.router_pumps import running_pump

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE_ID}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE_ID}-b7ad6b7169203331-00"
CRASHED = failed(OutcomeKind.CRASHED, "out of memory", error_type="SystemExit")


def headers(traceparent: str) -> tuple[tuple[str, bytes], ...]:
    return ((TRACEPARENT_HEADER, traceparent.encode()),)


def span_of(traceparent: str) -> str:
    return traceparent.split("-")[2]


async def test_a_sampled_record_is_followed_from_its_receipt_to_its_settling() -> None:
    tracing = MemoryTracing()
    async with running_pump(tracing=tracing) as bench:
        bench.broker.append(b"one", headers=headers(SAMPLED))
        await bench.until_settled(1)
        await bench.until_committed(1)
    receive, run, settle = tracing.spans()
    assert [span.name for span in tracing.spans()] == ["receive", "run", "settle"]
    assert receive.parent_id == span_of(SAMPLED)
    assert run.parent_id == settle.parent_id == receive.span_id
    assert {span.trace_id for span in (receive, run, settle)} == {TRACE_ID}


async def test_the_target_is_told_the_step_that_it_works_below() -> None:
    tracing = MemoryTracing()
    async with running_pump(tracing=tracing) as bench:
        bench.broker.append(b"one", headers=headers(SAMPLED))
        await bench.until_settled(1)
        told = bench.target.runs[0].traceparent
    (run,) = tracing.spans("run")
    assert told == run.traceparent


async def test_what_a_publisher_writes_carries_the_trace_on() -> None:
    tracing = MemoryTracing()
    async with running_pump(PUBLISHER, tracing=tracing) as bench:
        bench.broker.append(b"one", headers=(*headers(SAMPLED), *COMPLETION))
        await bench.until_settled(1)
        (record,) = bench.target.records
    (run,) = tracing.spans("run")
    assert dict(record.headers)[TRACEPARENT_HEADER].decode() == run.traceparent


async def test_every_attempt_is_a_span_with_its_outcome() -> None:
    tracing = MemoryTracing()
    async with running_pump(tracing=tracing) as bench:
        bench.target.answers[b"one"].append(CRASHED)
        bench.broker.append(b"one", headers=headers(SAMPLED))
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1)
    assert [span.outcome for span in tracing.spans("run")] == ["crashed", "succeeded"]
    assert len(tracing.spans("receive")) == 1


async def test_an_attempt_that_is_broken_off_ends_its_span() -> None:
    tracing = MemoryTracing()
    async with running_pump(tracing=tracing) as bench:
        bench.target.hold(b"one")
        bench.broker.append(b"one", headers=headers(SAMPLED))
        await bench.target.until_runs(1)
    (run,) = tracing.spans("run")
    assert run.outcome == BROKEN_OFF


async def test_a_record_that_nobody_wants_to_trace_keeps_what_it_carries() -> None:
    tracing = MemoryTracing(ratio=1.0)
    async with running_pump(tracing=tracing) as bench:
        bench.broker.append(b"one", headers=headers(UNSAMPLED))
        await bench.until_settled(1)
        assert bench.target.runs[0].traceparent == UNSAMPLED
    assert tracing.spans() == []


async def test_without_tracing_a_record_without_a_trace_has_none() -> None:
    async with running_pump() as bench:
        bench.broker.append(b"one")
        bench.broker.append(b"two", headers=headers(SAMPLED))
        await bench.until_settled(2)
        told = {run.delivery.value: run.traceparent for run in bench.target.runs}
    assert told == {b"one": "", b"two": SAMPLED}


@pytest.mark.parametrize(("chance", "traced"), [(0.24, 1), (0.25, 0), (0.99, 0)])
async def test_of_records_without_a_trace_as_many_begin_one_as_the_ratio_says(
    chance: float, traced: int
) -> None:
    tracing = MemoryTracing(ratio=0.25, chance=lambda: chance)
    async with running_pump(tracing=tracing) as bench:
        bench.broker.append(b"one")
        await bench.until_settled(1)
        assert bool(bench.target.runs[0].traceparent) is bool(traced)
    assert [span.parent_id for span in tracing.spans("receive")] == [""] * traced


async def test_spans_tell_where_a_record_stood_and_how_an_attempt_failed_but_no_value() -> None:
    exporter = InMemorySpanExporter()
    tracing = OtelTracing(exporter, worker_id="one", ratio=1.0, chance=lambda: 0.0)
    quoting = replace(CRASHED, error="'secret' cannot be read")
    async with running_pump(tracing=tracing) as bench:
        bench.target.answers[b"secret"].append(quoting)
        bench.broker.append(b"secret", key=b"secret key", headers=(("own", b"secret"),))
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1)
    await tracing.close()
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
    receive, first, second = (span for span in spans if span.name in ("receive", "run"))
    assert (receive.attributes or {})["messaging.kafka.offset"] == 0
    assert (first.attributes or {})["error.type"] == "SystemExit"
    assert first.status.status_code is StatusCode.ERROR
    assert ((second.attributes or {})["eventflows.attempt"], second.status.is_ok) == (2, True)
    assert "secret" not in "".join(span.to_json() for span in spans)


class NoCollector(SpanExporter):
    """Takes as long as it likes."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise ConnectionError("nobody listens")

    def shutdown(self) -> None:
        """Nothing is held."""


async def test_a_collector_that_is_away_stops_no_delivery_and_no_worker() -> None:
    tracing = OtelTracing(NoCollector(), worker_id="one", ratio=1.0, chance=lambda: 0.0)
    async with running_pump(tracing=tracing) as bench:
        bench.broker.append(b"one")
        await bench.until_settled(1)
    async with asyncio.timeout(otel_tracing.CLOSE_TIMEOUT_S + 1):
        await tracing.close()
        await tracing.close()


@pytest.fixture
async def collector() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP server that takes what OTLP sends; its address and the bodies."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing is written."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", bodies
    finally:
        await asyncio.to_thread(server.shutdown)
        thread.join()
        server.server_close()


async def test_a_collector_gets_the_spans_before_the_worker_ends(
    collector: tuple[str, list[bytes]],
) -> None:
    endpoint, bodies = collector
    tracing = OtelTracing(otlp_exporter(endpoint), worker_id="one", ratio=1.0, chance=lambda: 0.0)
    trace = tracing.receive(delivery(7), flow_id="a")
    assert trace is not None
    trace.done()
    await tracing.close()
    sent = ExportTraceServiceRequest.FromString(bodies[0])
    (resource_spans,) = sent.resource_spans
    names = {one.key: one.value.string_value for one in resource_spans.resource.attributes}
    assert (names["service.name"], names["service.instance.id"]) == ("eventflows-router", "one")
    assert [span.name for span in resource_spans.scope_spans[0].spans] == ["receive"]
