"""What a record of a dead letter topic says of a delivery that was given up. Pure.

Such a topic is our internal one or a flow's own, where anything else may stand too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from router.domain.dead_letter import HEADER_PREFIX, NULL_VALUE, original_headers
from router.domain.delivery import Delivery, Headers
from router.domain.outcome import OutcomeKind

KEY_PREFIX_BYTES: Final = 1_024
"""Of a longer key the index keeps the beginning, and a hash of the whole."""
ERROR_CHARACTERS_MAX: Final = 512
TEXT_CHARACTERS_MAX: Final = 512
KEY_HASH_BYTES: Final = 16
BIGINT_MAX: Final = 2**63 - 1
INT_MAX: Final = 2**31 - 1

_KINDS: Final = frozenset(kind.value for kind in OutcomeKind)


class NotALetter(ValueError):
    """A record that is neither letter nor mark of any kind, or a damaged one; the text says why."""


class LetterState(Enum):
    """What has become of a letter."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DIED_AGAIN = "died_again"
    PURGED = "purged"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterId:
    """Where a letter stands in its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> LetterId:
        """From `<partition>-<offset>`. Raises ValueError."""
        partition, dash, offset = text.partition("-")
        if not dash:
            raise ValueError("a letter id is <partition>-<offset>")
        return cls(
            partition=_number(partition, INT_MAX, "partition"),
            offset=_number(offset, BIGINT_MAX, "offset"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A letter as the index knows it: everything but value, headers and history.

    `topic`, `source_partition` and `source_offset` are the original's coordinates, `record_time_ms`
    its timestamp. `key` is the first `KEY_PREFIX_BYTES` of its key (None: it had none), `key_hash`
    speaks for the whole. `failure` is the class of the last failure. `born_in_task` is the redrive
    that it died in (empty: none); `task_id` the task that changed its state. `written_ms` is the
    letter's own timestamp.
    """

    letter_id: LetterId
    flow_id: str
    algorithm: str
    version: str
    topic: str
    source_partition: int
    source_offset: int
    record_time_ms: int
    key: bytes | None
    key_hash: bytes
    value_bytes: int
    failure: OutcomeKind
    reason: str
    error_type: str
    error: str
    attempts: int
    first_time: datetime
    given_up_time: datetime
    request_id: str
    generation: int
    born_in_task: str
    written_ms: int
    state: LetterState = LetterState.OPEN
    state_time: datetime | None = None
    task_id: str = ""


def letter_of(record: Delivery) -> Letter:
    """The letter that a record is. Raises NotALetter."""
    facts = facts_of(record.headers)
    if "flow" not in facts or "mark" in facts:
        raise NotALetter("it has no header ef-dl-flow: nobody of ours wrote it")
    with reading():
        reason = facts.get("reason", "")
        failure = facts.get("class", reason)
        return Letter(
            letter_id=LetterId(partition=record.partition, offset=record.offset),
            flow_id=word_of(facts["flow"]),
            algorithm=facts.get("algorithm", ""),
            version=facts.get("version", ""),
            topic=word_of(facts["topic"]),
            source_partition=_number(facts["partition"], INT_MAX, "partition"),
            source_offset=_number(facts["offset"], BIGINT_MAX, "offset"),
            record_time_ms=time_ms_of(facts.get("timestamp-ms", "-1")),
            key=None if record.key is None else record.key[:KEY_PREFIX_BYTES],
            key_hash=hash_of_key(record.key),
            value_bytes=len(record.value or b""),
            failure=OutcomeKind(failure if failure in _KINDS else OutcomeKind.REFUSED),
            reason=reason,
            error_type=facts.get("error-type", ""),
            error=facts.get("error", "")[:ERROR_CHARACTERS_MAX],
            attempts=_number(facts.get("attempts", "1"), INT_MAX, "attempts"),
            first_time=_time(facts.get("first-at") or facts["last-at"]),
            given_up_time=_time(facts["last-at"]),
            request_id=facts.get("request-id", ""),
            generation=_number(facts.get("generation", "0"), INT_MAX, "generation"),
            born_in_task=facts.get("task", ""),
            written_ms=record.timestamp_ms,
        )


def original_of(record: Delivery) -> Delivery:
    """The delivery that died, as its source handed it out. Raises NotALetter."""
    letter = letter_of(record)
    nothing = record.header(NULL_VALUE) is not None and record.key is None
    return Delivery(
        topic=letter.topic,
        partition=letter.source_partition,
        offset=letter.source_offset,
        timestamp_ms=letter.record_time_ms,
        key=record.key,
        value=None if nothing else record.value,
        headers=original_headers(record.headers),
        epoch=0,
    )


def hash_of_key(key: bytes | None) -> bytes:
    """Tells keys apart, the absent one from the empty one too."""
    if key is None:
        return bytes(KEY_HASH_BYTES)
    return hashlib.blake2b(key, digest_size=KEY_HASH_BYTES).digest()


@contextmanager
def reading() -> Iterator[None]:
    """Raises NotALetter for a fact that is missing or cannot be read."""
    try:
        yield
    except KeyError as error:
        raise NotALetter(f"the header ef-dl-{error.args[0]} is missing") from error
    except (ValueError, OverflowError, OSError) as error:
        raise NotALetter(f"a header cannot be read: {error}") from error


def facts_of(headers: Headers) -> Mapping[str, str]:
    """Our headers by the rest of their names; the last of a name counts, texts are bounded."""
    return {
        name.removeprefix(HEADER_PREFIX): _text(value or b"")  # Kafka has headers without a value
        for name, value in headers
        if name.startswith(HEADER_PREFIX)
    }


def _text(value: bytes) -> str:
    """NUL stands in no column of PostgreSQL."""
    text = value[: 4 * TEXT_CHARACTERS_MAX].decode("utf-8", "replace").replace("\0", "\ufffd")
    return text[:TEXT_CHARACTERS_MAX]


def word_of(text: str) -> str:
    """The text. Raises ValueError for an empty one."""
    if not text:
        raise ValueError("it is empty")
    return text


def _number(text: str, largest: int, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(BIGINT_MAX)):
        raise ValueError(f"the {what} is no number")
    number = int(text)
    if number > largest:
        raise ValueError(f"the {what} is too large")
    return number


def time_ms_of(text: str) -> int:
    """A timestamp as a record has it. Raises ValueError."""
    number = int(text)
    if not -BIGINT_MAX <= number <= BIGINT_MAX:
        raise ValueError("the timestamp is too large")
    return number


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time.astimezone(UTC)
