"""Which dead letters are meant, from options to the contract's message."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from eventflows.events.v1 import events_pb2
from eventflows.router.v1 import router_pb2
from eventflows_cli.commands import dead_letters
from eventflows_cli.selecting import OFFSET_MAX, with_selection
from eventflows_cli.words import FAILURES, FlowState, LetterState
from google.protobuf.json_format import ParseDict
from kernel.errors import InvalidInput
from registry.domain import dead_letter_task


@with_selection
async def nothing(run: Any, *, which: str, chosen: events_pb2.DeadLetterSelection) -> int:
    """Keeps what was chosen."""
    run.append((which, chosen))
    return 0


async def chosen(**given: Any) -> events_pb2.DeadLetterSelection:
    options = {
        name: one.default
        for name, one in inspect.signature(nothing).parameters.items()
        if one.default is not inspect.Parameter.empty
    }
    kept: list[Any] = []
    assert await nothing(kept, which="f", **{**options, **given}) == 0
    ((which, selection),) = kept
    assert which == "f"
    return selection  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"since": "2026-11-24T10:00:00+01:00"}, {"since": "2026-11-24T09:00:00Z"}),
        ({"until": "2026-11-24T10:00:00Z"}, {"until": "2026-11-24T10:00:00Z"}),
        ({"failure": "no_answer"}, {"failure": "FAILURE_CLASS_NO_ANSWER"}),
        ({"error_type": "Oops", "topic": "t"}, {"errorType": "Oops", "topic": "t"}),
        ({"key": "abc"}, {"recordKey": "YWJj"}),
        ({"key_hex": "ff00"}, {"recordKey": "/wA="}),
        ({"partition": [1, 2], "letter": ["0-1"]}, {"partitions": [1, 2], "letterIds": ["0-1"]}),
        ({"offsets": "5:9"}, {"offsetFirst": 5, "offsetLast": 9}),
        ({"offsets": "5:"}, {"offsetFirst": 5, "offsetLast": OFFSET_MAX}),
        ({"offsets": ":9"}, {"offsetLast": 9}),
    ],
)
async def test_options_narrow_down(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert await chosen(**given) == ParseDict(expected, events_pb2.DeadLetterSelection())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"since": "yesterday"}, "--since 'yesterday' is no time"),
        ({"until": "2026-11-24T10:00:00"}, "--until 2026-11-24T10:00:00 has no zone"),
        (
            {"since": "2026-11-24T10:00:00Z", "until": "2026-11-24T10:00:00Z"},
            "--since must be before",
        ),
        ({"since": "0001-01-01T00:00:00+23:00"}, "is before or after all times"),
        ({"failure": "bad luck"}, "--failure must be one of algorithm_error"),
        ({"key": "a", "key_hex": "61"}, "name the same thing"),
        ({"key_hex": "xx"}, "is not made of hex digits"),
        ({"offsets": "5"}, "is no FIRST:LAST"),
        ({"offsets": f"{'9' * 5_000}:"}, "is no FIRST:LAST"),
        ({"offsets": "9:5"}, "FIRST must not be above LAST"),
        ({"offsets": "0:0"}, "LAST not be 0"),
        ({"offsets": "-1:5"}, "is no FIRST:LAST"),
    ],
)
async def test_a_wrong_option_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        await chosen(**given)


def names_of(kind: Any) -> set[str]:
    """The words of an enumeration, in lower case and without their prefix."""
    prefix = kind.keys()[0].removesuffix("UNSPECIFIED")
    return {name.removeprefix(prefix).lower() for name in kind.keys()[1:]}


def test_the_rates_are_those_that_the_registry_takes() -> None:
    ours = (
        dead_letters.RATE_MIN_PER_S,
        dead_letters.RATE_DEFAULT_PER_S,
        dead_letters.RATE_MAX_PER_S,
    )
    theirs = (dead_letter_task.RATE_MIN_PER_S, dead_letter_task.RATE_DEFAULT_PER_S)
    assert ours == (*theirs, dead_letter_task.RATE_MAX_PER_S)


def test_the_words_are_those_of_the_contracts() -> None:
    assert set(FAILURES) == names_of(events_pb2.FailureClass)
    assert set(LetterState) == names_of(router_pb2.DeadLetterState)
    assert set(FlowState) == names_of(router_pb2.FlowState) | {"disabled", "enabled", "unknown"}
