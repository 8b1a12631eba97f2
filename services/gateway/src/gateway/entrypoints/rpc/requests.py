"""What every call over gRPC has: the intent behind it, the moment that it asks for, its page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from servicekit.server_interceptors import Context

from gateway.application.algorithms import AlgorithmRef
from gateway.application.gateway import Gateway
from gateway.domain import intent as intents
from gateway.domain.fields import algorithm_reference
from gateway.domain.moment import exact_time
from gateway.domain.paging import (
    LIMIT_DEFAULT,
    Page,
    PageRequest,
    checked,
    kept_moment,
    moment_and_marker,
)
from gateway.entrypoints.rpc.authentication import current_caller, current_request_id

IDEMPOTENCY_METADATA = "idempotency-key"
AS_OF_POSITION_METADATA = "x-eventflows-as-of-position"
AS_OF_TIME_METADATA = "x-eventflows-as-of-time"


class Wishes:
    """Makes the intent behind a call."""

    def __init__(self, random_uuid: Callable[[], UUID] = uuid4) -> None:
        self._random_uuid = random_uuid

    def intent(
        self, context: Context, operation: str, *, expected_version: int | None = None
    ) -> intents.Intent:
        """Raises InvalidInput for a bad `idempotency-key`."""
        given: dict[str, Any] = dict(context.invocation_metadata() or ())
        return intents.intent(
            account_id=current_caller().account.account_id,
            operation=operation,
            idempotency_key=given.get(IDEMPOTENCY_METADATA),
            random_uuid=self._random_uuid,
            request_id=current_request_id(),
            expected_versions=None if expected_version is None else (expected_version,),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The gateway that reads as of the moment that was asked for, and the marker without it."""

    gateway: Gateway
    marker: str

    def next(self, page: Page[Any]) -> str:
        """The marker of the next page, which is of the same moment; empty on the last one."""
        return kept_moment(page.marker, self.gateway.moment) or ""


async def asked_as_of(gateway: Gateway, context: Context, as_of: str, marker: str = "") -> Asked:
    """Tells the resolved moment in the initial metadata. Raises what `Gateway.at` raises."""
    wanted, place = moment_and_marker(as_of or None, marker)
    if wanted is None:
        return Asked(gateway=gateway, marker=place)
    then = await gateway.at(wanted)
    if then.moment is not None:
        await context.send_initial_metadata(
            (
                (AS_OF_POSITION_METADATA, str(then.moment.position)),
                (AS_OF_TIME_METADATA, exact_time(then.moment.time)),
            )
        )
    return Asked(gateway=then, marker=place)


def page_of(limit: int, marker: str) -> PageRequest:
    """Raises InvalidInput (5003)."""
    return checked(PageRequest(limit=limit or LIMIT_DEFAULT, marker=marker))


def algorithm_of(name: str) -> AlgorithmRef:
    """Raises InvalidInput for what is no `owner/name`."""
    return AlgorithmRef(*algorithm_reference(name))


def algorithm_if_named(name: str) -> AlgorithmRef | None:
    """The same; None for an empty one, which an admin may leave it."""
    return algorithm_of(name) if name else None


def expected_version_of(request: Any) -> int | None:
    """What the caller expects the stream to be at; None: anything."""
    return request.expected_version if request.HasField("expected_version") else None
