"""The id of a run depends on what identifies a delivery, and on nothing else."""

from uuid import uuid5

import pytest
from catalog.identifiers import EVENTFLOWS_NAMESPACE
from hypothesis import given
from hypothesis import strategies as st
from router.domain.request_id import request_id

from tests.support.router_flows import delivery


def test_every_attempt_and_every_worker_derives_the_same_id() -> None:
    # Written down: if another release derived another, no repeat window would see a repeat.
    made = request_id(delivery(5), flow_id="flow-1", generation=0)
    assert made == "req-39f632dc-2f2e-52c3-a2b3-d9f5aacec3a8"
    assert made == request_id(delivery(5)._replace(epoch=99), flow_id="flow-1", generation=0)


@pytest.mark.parametrize(
    "other",
    [
        request_id(delivery(6), flow_id="flow-1", generation=0),
        request_id(delivery(5, partition=1), flow_id="flow-1", generation=0),
        request_id(delivery(5, topic="other"), flow_id="flow-1", generation=0),
        request_id(delivery(5, timestamp_ms=1), flow_id="flow-1", generation=0),
        request_id(delivery(5), flow_id="flow-2", generation=0),
        request_id(delivery(5), flow_id="flow-1", generation=1),
    ],
)
def test_another_delivery_flow_or_generation_has_another_id(other: str) -> None:
    assert other != request_id(delivery(5), flow_id="flow-1", generation=0)


@given(st.text(), st.integers(0, 2**40), st.text(max_size=20))
def test_the_id_is_the_uuid_v5_that_the_library_makes(
    topic: str, offset: int, flow_id: str
) -> None:
    record = delivery(offset, topic=topic)
    name = f"run/{flow_id}/3/{topic}/0/{offset}/{record.timestamp_ms}"
    made = request_id(record, flow_id=flow_id, generation=3)
    assert made == f"req-{uuid5(EVENTFLOWS_NAMESPACE, name)}"
