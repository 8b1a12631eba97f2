"""Flow specs and deliveries for the tests of the router's delivery."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from catalog.events import FlowKind
from catalog.records import FlowChange
from router.domain.delivery import Delivery, Headers
from router.domain.flow_spec import (
    AlgorithmName,
    AlgorithmTargetSpec,
    FlowSpec,
    KafkaSourceSpec,
    KafkaTargetSpec,
)

ALGORITHM = AlgorithmName(algorithm_id="a-1", owner="acme", name="Digits")

SUBSCRIBER = FlowSpec(
    flow_id="flow-1",
    kind=FlowKind.SUBSCRIBER,
    algorithm=ALGORITHM,
    version="1.2.3",
    account_id="account-1",
    source=KafkaSourceSpec(connection_id="c-1", topic="topic", group_id="eventflows-flow-1"),
    target=AlgorithmTargetSpec(algorithm=ALGORITHM, version="1.2.3"),
    enabled_position=7,
    registry_position=9,
)

PUBLISHER = replace(
    SUBSCRIBER,
    kind=FlowKind.PUBLISHER,
    source=KafkaSourceSpec(
        connection_id="internal", topic="completions.a-1", group_id="eventflows-flow-1"
    ),
    target=KafkaTargetSpec(connection_id="c-1", topic="results"),
)

COMPLETION: Headers = (
    ("ef-status", b"succeeded"),
    ("ef-version", b"1.2.3"),
    ("ef-mode", b"live"),
    ("ef-request-id", b"req-1"),
    ("ef-content-type", b"json"),
    ("ef-hops", b"1"),
    ("ef-position", b"8"),
)


class KnownHistory:
    """Port `FlowHistory` of a flow whose changes the test says; everything is known of it."""

    def __init__(self, *changes: FlowChange) -> None:
        self.known = changes or (FlowChange(7, "1.2.3"),)

    async def reach(self, position: int) -> None:
        """At once."""

    def changes(self) -> Sequence[FlowChange]:
        return self.known


def delivery(offset: int = 0, **fields: Any) -> Delivery:
    """A record of partition 0 with the key `k`, but for what `fields` say."""
    given: dict[str, Any] = {
        "topic": "topic",
        "partition": 0,
        "offset": offset,
        "timestamp_ms": 1_000 + offset,
        "key": b"k",
        "value": f"value-{offset}".encode(),
        "epoch": 1,
    }
    return Delivery(**(given | fields))


def with_header(headers: Headers, name: str, value: bytes) -> Headers:
    """The same headers with one of them changed."""
    return tuple((have, value if have == name else old) for have, old in headers)
