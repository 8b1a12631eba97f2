"""Records made of a real batch."""

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from router.adapters.kafka_fetch_session import FetchedPartition
from router.adapters.kafka_fetched import fetched, maker
from router.domain.delivery import Delivery, Headers

ALIKE = ("ef-status", b"succeeded")


def records_with(*headers: Headers) -> list[Delivery]:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1_000)
    for offset, each in enumerate(headers):
        builder.append(offset, 0, b"k", b"v", list(each))
    found = FetchedPartition(3, 0, 9, 9, [], bytes(builder.build()))
    deliveries: list[Delivery] = []
    held = fetched("t", found, position=0, read_committed=False)
    assert held.hand_out(deliveries, 100, maker("t", 1))
    return deliveries


def test_each_record_has_its_own_headers_in_their_order_with_repeats_and_nulls() -> None:
    headers: list[Headers] = [
        (),
        (ALIKE, ("ef-request-id", b"1")),
        (ALIKE, ("ef-request-id", b"2")),
        (ALIKE, ("ef-request-id", b"2"), ALIKE),
        (("ef-request-id", b"2"), ALIKE, ALIKE),
        (("empty", b""), ("null", None), ALIKE),  # type: ignore[list-item]
        (),
        (ALIKE,),
    ]
    assert [each.headers for each in records_with(*headers)] == headers


def test_a_header_that_stood_in_the_record_before_is_kept_once() -> None:
    first, _, third = records_with(
        (ALIKE, ("ef-request-id", b"1")), (), (ALIKE, ("ef-request-id", b"2"))
    )
    assert first.headers[0] is third.headers[0]
