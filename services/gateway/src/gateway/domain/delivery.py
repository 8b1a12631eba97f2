"""How a flow's records are delivered, in the words of the API.

Words for defaults are stored as the default itself, so that a flow that never said anything and one
that said the default are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from catalog.events import (
    DeliveryOrder,
    DeliverySettings,
    FailureClass,
    GiveUp,
    RetryRule,
    StartAt,
)

from gateway.domain import fields

PARALLELISM_DEFAULT: Final = 1
ORDERS: Final = {
    "key": DeliveryOrder.UNSPECIFIED,
    "partition": DeliveryOrder.PARTITION,
    "none": DeliveryOrder.NONE,
}
STARTS: Final = {"earliest": StartAt.UNSPECIFIED, "latest": StartAt.LATEST}
FAILURES: Final[Mapping[str, FailureClass]] = {
    failure.name.lower(): failure
    for failure in FailureClass
    if failure is not FailureClass.UNSPECIFIED
}
GIVE_UPS: Final = {
    "dead_letter": GiveUp.UNSPECIFIED,
    "halt_key": GiveUp.HALT_KEY,
    "halt_flow": GiveUp.HALT_FLOW,
}
ORDER_NAMES: Final = {value: name for name, value in ORDERS.items()} | {DeliveryOrder.KEY: "key"}
START_NAMES: Final = {value: name for name, value in STARTS.items()} | {
    StartAt.EARLIEST: "earliest"
}
FAILURE_NAMES: Final[Mapping[FailureClass, str]] = {value: name for name, value in FAILURES.items()}
GIVE_UP_NAMES: Final = {value: name for name, value in GIVE_UPS.items()} | {
    GiveUp.DEAD_LETTER: "dead_letter"
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRule:
    """A retry rule as it is sent; empty and 0: the default of the failure's class."""

    failure: str = ""
    error_type: str = ""
    attempts_max: int = 0
    age_max_s: int = 0
    delay_first_ms: int = 0
    delay_longest_ms: int = 0
    factor: float = 0.0
    give_up: str = ""


def delivery(
    *,
    order: str = "",
    parallelism: int = 0,
    start: str = "",
    read_committed: bool = False,
    retries: tuple[AskedRule, ...] = (),
) -> DeliverySettings:
    """The settings behind these words; empty and 0: the default. Raises InvalidInput."""
    return DeliverySettings(
        order=_word(order or "key", ORDERS, field="order"),
        parallelism=0 if parallelism == PARALLELISM_DEFAULT else parallelism,
        start=_word(start or "earliest", STARTS, field="start"),
        read_committed=read_committed,
        retries=tuple(_rule(rule, f"retries[{number}]") for number, rule in enumerate(retries)),
    )


def failure_class(word: str, *, field: str = "failure") -> FailureClass:
    """The class of failed attempts; empty: every class. Raises InvalidInput."""
    return _word(word, FAILURES, field=field) if word else FailureClass.UNSPECIFIED


def _rule(asked: AskedRule, place: str) -> RetryRule:
    return RetryRule(
        failure=failure_class(asked.failure, field=f"{place}.failure"),
        error_type=asked.error_type,
        attempts_max=asked.attempts_max,
        age_max_s=asked.age_max_s,
        delay_first_ms=asked.delay_first_ms,
        delay_longest_ms=asked.delay_longest_ms,
        factor=asked.factor,
        give_up=_word(asked.give_up or "dead_letter", GIVE_UPS, field=f"{place}.give_up"),
    )


def _word(word: str, choices: Mapping[str, T], *, field: str) -> T:
    return choices[fields.one_of(word, choices, field=field)]
