"""The JSON of dead letters, their redrives and purges; the rules are those of `wire`.

Bytes come as base64, and as text too where they are UTF-8.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.entrypoints.rest.wire import Body, Number, Text, Time
from gateway.entrypoints.rest.wire_flows import Failure

Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Rate = Annotated[float, Meta(ge=0, le=1_000_000)]


class SelectionBody(Body, frozen=True):
    """Which dead letters of a flow; every field that is given narrows it down."""

    since: Text = None
    until: Text = None
    failure: Failure = None
    error_type: Text = None
    key: Text = None
    key_base64: Text = None
    topic: Text = None
    partitions: list[Number] | None = None
    offset_first: Offset | None = None
    offset_last: Offset | None = None
    letters: list[str] | None = None


class Redrive(Body, frozen=True):
    """Send them through their flow again. Without a version: the flow's, `latest`: the one that
    was published last when this is asked for. The rate is a ceiling, of 10 a second by default.
    `own_topic`: those in the flow's own dead letter topic, not those in the internal one."""

    selection: SelectionBody | None = None
    algorithm_version: Text = None
    rate_per_s: Rate | None = None
    own_topic: bool | None = None
    dry_run: bool | None = None


class Purge(Body, frozen=True):
    """Forget them. `own_topic` is refused: what a topic of yours keeps is yours to set."""

    selection: SelectionBody | None = None
    own_topic: bool | None = None
    dry_run: bool | None = None


class RedriveOfFlow(Redrive, frozen=True, kw_only=True):
    """The same of the flow with this id."""

    flow: str


class PurgeOfFlow(Purge, frozen=True, kw_only=True):
    """The same of the flow with this id."""

    flow: str


class DeadLetterCount(Struct, frozen=True):
    """How many a redrive or a purge would take now. `truncated`: a scan of a flow's own topic ended
    at its limit, and there may be more."""

    letters: int
    truncated: bool


class DeadLetter(Struct, frozen=True):
    """A delivery that was given up. Topic, partition and offset are those of the source."""

    id: str
    letter_topic: str
    flow: str
    algorithm: str
    algorithm_version: str
    topic: str
    partition: int
    offset: int
    record_time: Time | None
    key: str | None
    key_base64: str | None
    value_bytes: int
    reason: str
    error_type: str
    error: str
    attempts: int
    first_time: Time | None
    given_up_time: Time | None
    request_id: str
    generation: int
    state: str
    state_time: Time | None
    task: str | None
    resource_type: Literal["dead_letter"] = "dead_letter"


class DeadLetters(Struct, frozen=True):
    """A page. `truncated`: a scan of a flow's own topic ended at its limit, narrow it down."""

    marker: str | None
    next_link: str | None
    results: list[DeadLetter]
    truncated: bool


class RecordHeader(Struct, frozen=True):
    """A header of the original record."""

    name: str
    value: str | None
    value_base64: str


class FailedAttempt(Struct, frozen=True):
    """One attempt; `summary` stands for older ones that are left out."""

    attempt: int
    at: Time | None
    outcome: str
    error: str


class WholeDeadLetter(DeadLetter, frozen=True, kw_only=True):
    """With the original bytes; `value` is null for a tombstone and for what is no text.
    `truncated`: value or headers are longer than an answer may be, and this is their beginning."""

    value: str | None
    value_base64: str | None
    headers: list[RecordHeader]
    history: list[FailedAttempt]
    truncated: bool


class Selection(Struct, frozen=True):
    """What was asked for; null: not narrowed down by it."""

    since: Time | None
    until: Time | None
    failure: str | None
    error_type: str | None
    key: str | None
    key_base64: str | None
    topic: str | None
    partitions: list[int]
    offset_first: int | None
    offset_last: int | None
    letters: list[str]


class DeadLetterTask(Struct, frozen=True):
    """A redrive or a purge: `requested`, then `waiting` or `working`, at last `cancelled` or
    `finished`. `failed` ones are dead letters once more; `left` is null while it is not known."""

    id: str
    kind: Literal["redrive", "purge"]
    flow: str
    algorithm: str
    selection: Selection
    algorithm_version: str | None
    rate_per_s: float | None
    own_topic: bool
    state: str
    reason: str
    succeeded: int
    failed: int
    left: int | None
    worker: str | None
    requested_at: Time | None
    ended_at: Time | None
    resource_type: Literal["dead_letter_task"] = "dead_letter_task"
