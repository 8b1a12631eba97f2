"""How we ask a broker for records: Kafka's Fetch, with only what has changed since the last answer.

A broker keeps a session for whoever asks it again and again (KIP-227, since Kafka 1.1): it knows
which partitions are read and from where, so a request names those that have moved, and an answer
those that have records, another end, or an error. aiokafka 0.14 knows the fields and asks for
everything each time; it also takes ten times as long to write and to read them (ADR 0017).

What is not sure to have arrived begins a new session, which says everything again. A broker that
keeps none for us, or is too old to, is asked in full each time.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

FETCH_KEY: Final = 1
"""Of Kafka's protocol."""
VERSION_MIN: Final = 4
"""Kafka 0.11: the first with records that have headers."""
VERSION_MAX: Final = 11
"""Kafka 2.3; newer ones name topics by their ids."""
LOG_STARTS_SINCE: Final = 5
SESSIONS_SINCE: Final = 7
LEADER_EPOCHS_SINCE: Final = 9
RACKS_SINCE: Final = 11
BYTES_MIN: Final = 1
"""The broker answers as soon as there is something."""
OFFSET_BYTES: Final = 8
NO_SESSION: Final = 0
NEW_EPOCH: Final = 0
EPOCH_MAX: Final = 2**31 - 1
UNKNOWN: Final = -1
"""Of a replica, a leader's epoch, a log's start: a consumer has no word on them."""

CORRELATION_BYTES: Final = 4
"""What stands before an answer on the wire, after its length."""

_HEADER: Final = struct.Struct(">ihhih")
_LIMITS: Final = struct.Struct(">iiiib")
_SESSION: Final = struct.Struct(">ii")
_COUNT: Final = struct.Struct(">i")
_LENGTH: Final = struct.Struct(">h")
_TOP: Final = struct.Struct(">ihi")
_ABORTED: Final = struct.Struct(">qq")
_WANTED_OLD: Final = struct.Struct(">iqi")
_WANTED_5: Final = struct.Struct(">iqqi")
_WANTED_9: Final = struct.Struct(">iiqqi")
_FOUND: Final = struct.Struct(">ihqq")


class FetchedPartition(NamedTuple):
    """What a broker says of one partition: `records` as they came, up to the end `highwater`.

    `stable` is the end for those who read what is committed, `aborted` pairs of a producer and the
    offset at which its aborted transaction begins.
    """

    partition: int
    error_code: int
    highwater: int
    stable: int
    aborted: list[tuple[int, int]]
    records: bytes


class FetchAnswer(NamedTuple):
    """One answer; with an `error_code` of its own it says nothing of any partition."""

    error_code: int
    session_id: int
    partitions: list[FetchedPartition]


class FetchSession:
    """What one broker knows of what we read of one topic. One request at a time."""

    def __init__(self, topic: str, *, read_committed: bool, bytes_max: int) -> None:
        name = topic.encode()
        self._topic = _LENGTH.pack(len(name)) + name
        self._isolation = int(read_committed)
        self._bytes_max = bytes_max
        self.partition_bytes_max = bytes_max
        """What of each partition an answer may have; a change is told with what is told anew."""
        self._id = NO_SESSION
        self._epoch = NEW_EPOCH
        self._told: Mapping[int, int] = {}
        self._asked: Mapping[int, int] = {}

    def request(self, wanted: Mapping[int, int], *, version: int, wait_ms: int) -> bytes:
        """Ask for these partitions from these offsets on, the first one first, and for no others.

        `answered` or `lost` follows, before the next one.
        """
        self._asked, told = wanted, self._told
        limits = _LIMITS.pack(UNKNOWN, wait_ms, BYTES_MIN, self._bytes_max, self._isolation)
        if version < SESSIONS_SINCE:
            return limits + self._changed(wanted, version)
        changed = {n: at for n, at in wanted.items() if told.get(n) != at} if told else wanted
        return b"".join(
            (
                limits,
                _SESSION.pack(self._id, self._epoch),
                self._changed(changed, version),
                self._rows([_COUNT.pack(number) for number in told.keys() - wanted.keys()]),
                b"" if version < RACKS_SINCE else _LENGTH.pack(0),
            )
        )

    def answered(self, answer: FetchAnswer) -> None:
        """It arrived and was answered: the broker knows it, if it keeps a session for us."""
        if answer.error_code or answer.session_id == NO_SESSION:
            self.lost()
            return
        self._id = answer.session_id
        self._epoch = self._epoch + 1 if self._epoch < EPOCH_MAX else NEW_EPOCH + 1
        self._told = self._asked

    def lost(self) -> None:
        """Nobody knows what the broker knows. The next request ends this session and begins one."""
        self._epoch = NEW_EPOCH
        self._told = {}

    def _changed(self, wanted: Mapping[int, int], version: int) -> bytes:
        limit, unknown = self.partition_bytes_max, UNKNOWN
        if version >= LEADER_EPOCHS_SINCE:
            pack = _WANTED_9.pack
            return self._rows([pack(n, unknown, at, unknown, limit) for n, at in wanted.items()])
        if version >= LOG_STARTS_SINCE:
            pack = _WANTED_5.pack
            return self._rows([pack(n, at, unknown, limit) for n, at in wanted.items()])
        return self._rows([_WANTED_OLD.pack(n, at, limit) for n, at in wanted.items()])

    def _rows(self, rows: list[bytes]) -> bytes:
        """An array of topics with this one in it, or with none."""
        if not rows:
            return _COUNT.pack(0)
        return b"".join((_COUNT.pack(1), self._topic, _COUNT.pack(len(rows)), *rows))


def framed(body: bytes, *, version: int, correlation_id: int, client_id: bytes) -> bytes:
    """A request as it goes over the wire."""
    size_bytes = _HEADER.size - _COUNT.size + len(client_id) + len(body)
    head = _HEADER.pack(size_bytes, FETCH_KEY, version, correlation_id, len(client_id))
    return head + client_id + body


def read_answer(data: bytes, *, version: int, begin: int) -> FetchAnswer:
    """The answer that stands in `data` from `begin` on. Raises struct.error for half a one."""
    if version >= SESSIONS_SINCE:
        _, error_code, session_id = _TOP.unpack_from(data, begin)
        at = begin + _TOP.size
    else:
        error_code, session_id, at = 0, NO_SESSION, begin + _COUNT.size
    (topics,) = _COUNT.unpack_from(data, at)
    at += _COUNT.size
    partitions: list[FetchedPartition] = []
    for _ in range(topics):
        (length,) = _LENGTH.unpack_from(data, at)
        (count,) = _COUNT.unpack_from(data, at + _LENGTH.size + length)
        at += _LENGTH.size + length + _COUNT.size
        for _ in range(count):
            partition, at = _read_partition(data, at, version)
            partitions.append(partition)
    return FetchAnswer(error_code, session_id, partitions)


def _read_partition(data: bytes, at: int, version: int) -> tuple[FetchedPartition, int]:
    number, error_code, highwater, stable = _FOUND.unpack_from(data, at)
    at += _FOUND.size + (OFFSET_BYTES if version >= LOG_STARTS_SINCE else 0)
    (count,) = _COUNT.unpack_from(data, at)
    at += _COUNT.size
    aborted = []
    for _ in range(count):  # -1: there can be none
        aborted.append(_ABORTED.unpack_from(data, at))
        at += _ABORTED.size
    at += _COUNT.size if version >= RACKS_SINCE else 0  # a nearer replica: none without a rack
    (size_bytes,) = _COUNT.unpack_from(data, at)
    at += _COUNT.size
    end = at + max(0, size_bytes)
    fetched = FetchedPartition(number, error_code, highwater, stable, aborted, data[at:end])
    return fetched, end
