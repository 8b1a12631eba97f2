"""The record that a publisher flow writes for a completion. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from router.domain.content_type import CONTENT_TYPE_HEADER, completion_content_type
from router.domain.delivery import Headers, Run
from router.domain.hops import HOPS_HEADER
from router.domain.trace_context import TRACEPARENT_HEADER

REQUEST_ID_HEADER = "ef-request-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRecord:
    """Key and value are the completion's own bytes; None: null."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def published_record(run: Run) -> PublishedRecord:
    """What stands in the topic once the run has succeeded.

    A record with neither key nor value gets an empty value: aiokafka cannot send it otherwise.
    """
    delivery = run.delivery
    value = b"" if delivery.key is None and delivery.value is None else delivery.value
    request_id = delivery.header(REQUEST_ID_HEADER) or run.request_id.encode()
    headers: Headers = (
        (CONTENT_TYPE_HEADER, completion_content_type(delivery).encode()),
        (REQUEST_ID_HEADER, request_id),
        (HOPS_HEADER, str(run.hops).encode()),
    )
    if run.traceparent:
        headers += ((TRACEPARENT_HEADER, run.traceparent.encode()),)
    return PublishedRecord(key=delivery.key, value=value, headers=headers)
