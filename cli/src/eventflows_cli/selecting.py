"""Which dead letters are meant: the options that `dlq list`, `redrive` and `purge` share."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from eventflows.events.v1.events_pb2 import DeadLetterSelection, FailureClass
from kernel.errors import InvalidInput, StateForbids, TooLarge

from eventflows_cli.words import FAILURES

PANEL: Final = "Which dead letters"
OFFSET_MAX: Final = 2**63 - 1
OFFSET_DIGITS_MAX: Final = 19
PARTITION_MAX: Final = 2**31 - 1
_PARAMETER: Final = "chosen"
_OPTIONS: Final = {
    "selection.error_type": "--error-type",
    "selection.letter_ids": "--letter",
    "selection.partitions": "--partition",
    "selection.record_key": "--key",
    "selection.topic": "--topic",
    "own_topic": "--own-topic",
}


def with_selection(function: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    """The same function, its parameter `chosen` made of the options of `_selection`."""
    shared = inspect.signature(_selection, eval_str=True).parameters
    own = inspect.signature(function, eval_str=True)

    async def selecting(run: Any, **given: Any) -> int:
        chosen = _selection(**{name: given.pop(name) for name in shared})
        return await function(run, chosen=chosen, **given)

    kept = [one for name, one in own.parameters.items() if name != _PARAMETER]
    selecting.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[*kept, *shared.values()]
    )
    selecting.__doc__ = function.__doc__
    return selecting


@contextmanager
def by_options() -> Iterator[None]:
    """Have a refusal name what it is about by the option that was given, not by our field."""
    try:
        yield
    except (InvalidInput, TooLarge, StateForbids) as error:
        message = error.message
        for field, option in _OPTIONS.items():
            message = message.replace(field, option)
        raise type(error)(message) from error


def _selection(
    *,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Given up then or later.", rich_help_panel=PANEL),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Given up before.", rich_help_panel=PANEL)
    ] = None,
    failure: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help=", ".join(FAILURES), rich_help_panel=PANEL),
    ] = None,
    error_type: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Of an algorithm's error.", rich_help_panel=PANEL),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of the record.", rich_help_panel=PANEL)
    ] = None,
    key_hex: Annotated[
        str | None, typer.Option(metavar="HEX", help="The same.", rich_help_panel=PANEL)
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Of the source.", rich_help_panel=PANEL)] = None,
    partition: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            max=PARTITION_MAX,
            help="Of the source; may be given again.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    offsets: Annotated[
        str | None,
        typer.Option(metavar="FIRST:LAST", help="Of the source.", rich_help_panel=PANEL),
    ] = None,
    letter: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Exactly this; may be given again.", rich_help_panel=PANEL),
    ] = None,
) -> DeadLetterSelection:
    first, last = _offsets(offsets)
    chosen = DeadLetterSelection(
        failure=_failure(failure),
        error_type=error_type or "",
        record_key=_key(key, key_hex),
        topic=topic or "",
        partitions=partition or (),
        offset_first=first,
        offset_last=last,
        letter_ids=letter or (),
    )
    if since is not None:
        chosen.since.FromDatetime(_time(since, "--since"))
    if until is not None:
        chosen.until.FromDatetime(_time(until, "--until"))
        if since is not None and chosen.since.ToDatetime() >= chosen.until.ToDatetime():
            raise InvalidInput("--since must be before --until")
    return chosen


def _failure(word: str | None) -> FailureClass.ValueType:
    if word is not None and word not in FAILURES:
        raise InvalidInput(f"--failure must be one of {', '.join(FAILURES)}")
    return FailureClass.Value(f"FAILURE_CLASS_{(word or 'unspecified').upper()}")


def _key(text: str | None, digits: str | None) -> bytes:
    if text is not None and digits is not None:
        raise InvalidInput("--key and --key-hex name the same thing: leave one of them out")
    try:
        return bytes.fromhex(digits) if digits is not None else (text or "").encode()
    except ValueError as error:
        raise InvalidInput(f"--key-hex {digits!r} is not made of hex digits") from error


def _offsets(text: str | None) -> tuple[int, int]:
    """Both inclusive; both 0: every offset. An open end is the last that can be."""
    if text is None:
        return 0, 0
    first, colon, last = text.partition(":")
    if not colon or not all(
        one == "" or (one.isascii() and one.isdigit() and len(one) <= OFFSET_DIGITS_MAX)
        for one in (first, last)
    ):
        raise InvalidInput(f"--offsets {text!r} is no FIRST:LAST, for example 1000:2000 or 1000:")
    low, high = int(first or 0), int(last) if last else OFFSET_MAX
    if not low <= high <= OFFSET_MAX or not high:
        raise InvalidInput(f"--offsets {text}: FIRST must not be above LAST, and LAST not be 0")
    return low, high


def _time(text: str, option: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{option} {text!r} is no time such as 2026-11-24T09:30:00Z") from error
    if time.tzinfo is None:
        raise InvalidInput(f"{option} {text} has no zone: write {text}Z for UTC, or its offset")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInput(f"{option} {text} is before or after all times") from error
