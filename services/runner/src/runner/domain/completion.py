"""The fact that a run ended, as it stands in `completions.<algorithm id>` (ARCHITECTURE.md)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from runner.domain.run import ContentType, Execution, Payload, RunRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One record: key and value as bytes, headers in ASCII."""

    algorithm_id: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def completion_of(
    request: RunRequest,
    execution: Execution,
    *,
    algorithm_id: str,
    version: str,
    position: int,
) -> Completion:
    """The record of a run. `version` is the semantic one, or the commit of an unpublished build;
    `position` is that of the catalog under which the run began."""
    outcome = execution.outcome
    if isinstance(outcome, Payload):
        status, content_type, value = "succeeded", outcome.content_type, outcome.data
    else:
        status, content_type = "failed", ContentType.JSON
        value = msgspec.json.encode(
            {
                "message": outcome.message,
                "error_type": outcome.error_type,
                "stacktrace": outcome.stacktrace,
            }
        )
    headers = {
        "ef-status": status,
        "ef-version": version,
        "ef-mode": request.mode,
        "ef-request-id": request.request_id,
        "ef-content-type": str(content_type),
        "ef-hops": str(request.carried.hops),
        "ef-position": str(position),
        "ef-account": request.account_id,
        "traceparent": request.carried.traceparent,
    }
    return Completion(
        algorithm_id=algorithm_id,
        key=request.request_id.encode() if request.record_key is None else request.record_key,
        value=value,
        headers=tuple((name, text.encode("ascii")) for name, text in headers.items() if text),
    )
