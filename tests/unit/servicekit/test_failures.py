"""The table covers the kernel's whole tree, and both directions agree."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from kernel import errors
from kernel.errors import EventflowsError, Overloaded, TimedOut, TooLarge, Unavailable
from servicekit.failures import (
    FAILURES,
    class_of_status,
    error_envelope,
    error_from_status,
    failure_of,
    grpc_status,
    http_status,
    raise_from_status,
    trailing_metadata,
)

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, EventflowsError)
]


def example(kind: type[EventflowsError], **more: Any) -> EventflowsError:
    extra: dict[str, Any] = {"retry_after_s": 2.5} if issubclass(kind, Overloaded) else {}
    return kind("Do something else.", **extra, **more)


def status_error(
    status: grpc.StatusCode, details: str = "", *metadata: tuple[str, str]
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        status, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details, None
    )


def test_every_error_of_the_kernel_has_a_row_and_every_row_an_error() -> None:
    assert set(FAILURES) == set(CLASSES)


def test_no_two_errors_share_a_grpc_status() -> None:
    assert len({failure.grpc for failure in FAILURES.values()}) == len(FAILURES)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_comes_out_as_it_went_in(kind: type[EventflowsError]) -> None:
    sent = example(kind, code=1002)
    received = error_from_status(
        status_error(grpc_status(sent), sent.message, *trailing_metadata(sent))
    )
    assert type(received) is kind
    assert (received.message, received.code) == (sent.message, 1002)
    assert class_of_status(grpc_status(sent)) is kind


def test_the_time_to_wait_travels_with_overloaded() -> None:
    sent = Overloaded("Later.", retry_after_s=2.5)
    received = error_from_status(
        status_error(grpc_status(sent), sent.message, *trailing_metadata(sent))
    )
    assert isinstance(received, Overloaded)
    assert received.retry_after_s == 2.5


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.InvalidInput, 400),
        (errors.Unauthenticated, 401),
        (errors.NotAllowed, 403),
        (errors.NotFound, 404),
        (errors.AlreadyExists, 409),
        (errors.StateForbids, 409),
        (errors.VersionConflict, 412),
        (errors.TooLarge, 413),
        (errors.Overloaded, 429),
        (errors.EventflowsError, 500),
        (errors.Unavailable, 503),
        (errors.TimedOut, 504),
    ],
)
def test_http_statuses(kind: type[EventflowsError], status: int) -> None:
    assert http_status(example(kind)) == status


def test_a_class_without_a_row_counts_as_its_parent() -> None:
    class Slower(TimedOut):
        pass

    assert failure_of(Slower("Wait.")) == FAILURES[TimedOut]


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED]
)
def test_a_refused_service_token_is_not_the_users_fault(status: grpc.StatusCode) -> None:
    received = error_from_status(status_error(status, "Send the service token."))
    assert type(received) is EventflowsError
    assert http_status(received) == 500


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.CANCELLED, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimedOut),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.UNIMPLEMENTED, EventflowsError),
        (grpc.StatusCode.UNKNOWN, EventflowsError),
    ],
)
def test_what_grpc_itself_says_keeps_its_addresses_inside(
    status: grpc.StatusCode, kind: type[EventflowsError]
) -> None:
    received = error_from_status(status_error(status, "ipv4:10.0.0.1:7000: connection refused"))
    assert type(received) is kind
    assert "10.0.0.1" not in received.message


def test_a_message_too_large_for_grpc_is_not_called_overload() -> None:
    words = "SERVER: Received message larger than max (5 vs. 4)"
    received = error_from_status(status_error(grpc.StatusCode.RESOURCE_EXHAUSTED, words))
    assert type(received) is TooLarge


@pytest.mark.parametrize("value", ["", "-1", "9.5", "9004x", "٣"])
def test_a_code_that_is_no_number_is_taken_for_none(value: str) -> None:
    received = error_from_status(status_error(grpc.StatusCode.NOT_FOUND, "x", ("ef-code", value)))
    assert received.code == EventflowsError.code


def test_raising_keeps_the_status_as_the_cause() -> None:
    status = status_error(grpc.StatusCode.NOT_FOUND, "No such flow.", ("ef-code", "9004"))
    with pytest.raises(errors.NotFound, match="No such flow") as caught:
        raise_from_status(status)
    assert caught.value.__cause__ is status


def test_the_envelope_has_the_shape_of_algorithmia() -> None:
    error = errors.NotFound("No such algorithm.", code=1000)
    assert error_envelope(error) == {"error": {"code": 1000, "message": "No such algorithm."}}
    assert error_envelope(error, request_id="req-1")["error"]["id"] == "req-1"
