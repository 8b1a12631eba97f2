"""A spec that cannot run is refused when it is made."""

from dataclasses import replace
from typing import Any

import pytest
from router.domain.flow_spec import TIMEOUT_DEFAULT_S, TIMEOUT_MAX_S

from tests.support.router_flows import PUBLISHER, SUBSCRIBER


@pytest.mark.parametrize(
    "change",
    [
        {"concurrency_max": 0},
        {"concurrency_max": 1_001},
        {"timeout_s": -1},
        {"timeout_s": TIMEOUT_MAX_S + 1},
        {"dead_letter_topic": "letters"},
        {"target": PUBLISHER.target},
    ],
)
def test_a_spec_that_cannot_run_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|together|cannot"):
        replace(SUBSCRIBER, **change)


def test_a_flow_without_a_timeout_has_the_runners_default() -> None:
    assert SUBSCRIBER.call_timeout_s == TIMEOUT_DEFAULT_S
    assert replace(SUBSCRIBER, timeout_s=3).call_timeout_s == 3
