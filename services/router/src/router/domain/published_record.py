"""The record that a publisher flow writes for a completion. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from router.domain.content_type import CONTENT_TYPE_HEADER, completion_content_type
from router.domain.delivery import Headers, Run
from router.domain.hops import HOPS_HEADER
from router.domain.trace_context import TRACEPARENT_HEADER

REQUEST_ID_HEADER = "ef-request-id"


class PublishedRecord(NamedTuple):
    """Key and value are the completion's own bytes; None: null."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def run_told_of(headers: Mapping[str, bytes]) -> str:
    """The request id of the run that a completion tells of; empty if it names none."""
    return (headers.get(REQUEST_ID_HEADER) or b"").decode("utf-8", "replace")


def published_record(run: Run) -> PublishedRecord:
    """What stands in the topic once the run has succeeded."""
    delivery = run.delivery
    named = run.named
    headers: Headers = (
        (CONTENT_TYPE_HEADER, completion_content_type(named)),
        (REQUEST_ID_HEADER, named.get(REQUEST_ID_HEADER) or run.request_id.encode()),
        (HOPS_HEADER, b"%d" % run.hops),
    )
    if run.traceparent:
        headers += ((TRACEPARENT_HEADER, run.traceparent.encode()),)
    return PublishedRecord(delivery.key, delivery.value, headers)
