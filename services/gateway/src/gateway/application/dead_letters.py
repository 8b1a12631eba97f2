"""Dead letters: what flows gave up on, as the router's index (or the flow's own topic) has them.

They are the customer's records, so an owner sees those of a flow of an algorithm of their own, and
an admin sees all. They are live: the log knows of redrives and purges, not of single letters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from catalog.codec import fill
from catalog.events import DeadLetterSelection
from catalog.records import Flow
from eventflows.router.v1 import router_pb2
from kernel.errors import InvalidInput, NotFound

from gateway.application.algorithms import AlgorithmRef, algorithm_of
from gateway.application.event_flows import flow_in_reach
from gateway.application.gateway import Gateway
from gateway.domain import fields
from gateway.domain.caller import Caller, Standard
from gateway.domain.letter_selection import is_letter_id
from gateway.domain.paging import Page, PageRequest, bad_marker, marker_at, place_of

STATES = {
    "open": router_pb2.DEAD_LETTER_STATE_OPEN,
    "redriven": router_pb2.DEAD_LETTER_STATE_REDRIVEN,
    "purged": router_pb2.DEAD_LETTER_STATE_PURGED,
}
STATE_NAMES = {value: name for name, value in STATES.items()}
QUESTIONS_MAX = 20
"""To the router for one page over the flows of an algorithm; the page is short then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which dead letters to list. Empty words: `open` ones, of all flows (which an admin may)."""

    flow: str = ""
    selection: DeadLetterSelection = field(default_factory=DeadLetterSelection)
    state: str = ""
    own_topic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterPage:
    """A page of them. `truncated`: a scan ended at its limit, and there may be more."""

    page: Page[router_pb2.DeadLetter]
    truncated: bool


async def list_letters(
    gateway: Gateway,
    caller: Caller,
    ref: AlgorithmRef | None,
    wanted: LetterFilter,
    page: PageRequest,
) -> LetterPage:
    """Newest first; of several flows of one algorithm flow by flow, and a page may be short.

    Raises NotFound, NotAllowed, InvalidInput, StateForbids (no index, no broker), Unavailable.
    """
    if wanted.state:
        fields.one_of(wanted.state, STATES, field="state")
    flow_ids = _flow_ids(gateway, caller, ref, wanted)
    place, token = _place(page.marker, flow_ids)
    found: list[router_pb2.DeadLetter] = []
    truncated = False
    for _ in range(QUESTIONS_MAX):
        if place == len(flow_ids) or len(found) >= page.limit:
            break
        request = router_pb2.ListDeadLettersRequest(
            flow_id=flow_ids[place],
            state=STATES.get(wanted.state, router_pb2.DEAD_LETTER_STATE_UNSPECIFIED),
            page_size=page.limit - len(found),
            page_token=token,
            own_topic=wanted.own_topic,
        )
        fill(wanted.selection, request.selection)
        answer = await gateway.router.list_dead_letters(request)
        found += answer.letters
        truncated |= answer.truncated
        token = answer.next_page_token
        place += not token
    marker = marker_at((flow_ids[place], token)) if place < len(flow_ids) else None
    return LetterPage(page=Page(items=tuple(found), marker=marker), truncated=truncated)


async def get_letter(
    gateway: Gateway,
    caller: Caller,
    ref: AlgorithmRef | None,
    flow_id: str,
    letter_id: str,
    *,
    own_topic: bool,
) -> router_pb2.GetDeadLetterResponse:
    """One of them whole: its bytes and its history.

    An admin needs `flow_id` with `own_topic` alone. Raises as `list_letters`.
    """
    if own_topic and not flow_id:
        raise InvalidInput("flow is needed with own_topic: add the id of the flow")
    asked = _asked_flow(gateway, caller, ref, flow_id)
    if not is_letter_id(letter_id):
        raise _no_such_letter()
    try:
        answer = await gateway.router.get_dead_letter(
            router_pb2.GetDeadLetterRequest(letter_id=letter_id, flow_id=asked, own_topic=own_topic)
        )
    except NotFound as error:
        raise _no_such_letter() from error
    if asked not in ("", answer.letter.flow_id):
        raise _no_such_letter()  # of another flow, of which this caller learns nothing
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterCount:
    """`truncated`: a scan ended at its limit, and there may be more."""

    letters: int
    truncated: bool = False


async def count_letters(
    gateway: Gateway, flow: Flow, chosen: DeadLetterSelection, *, own_topic: bool = False
) -> LetterCount:
    """How many open ones a flow has. Raises StateForbids (no index, no topic), Unavailable."""
    request = router_pb2.CountDeadLettersRequest(flow_id=flow.flow_id, own_topic=own_topic)
    fill(chosen, request.selection)
    counted = await gateway.router.count_dead_letters(request)
    return LetterCount(letters=counted.letters, truncated=counted.truncated)


def _flow_ids(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, wanted: LetterFilter
) -> tuple[str, ...]:
    """The flows to ask for, one after the other; an empty id stands for all of the cluster."""
    if wanted.own_topic and not wanted.flow:
        raise InvalidInput("flow is needed with own_topic: add the id of the flow")
    if isinstance(caller, Standard) or wanted.flow or ref is None:
        return (_asked_flow(gateway, caller, ref, wanted.flow),)
    algorithm = algorithm_of(gateway.catalog, ref)
    flows = gateway.catalog.flows_of_algorithm(algorithm.algorithm_id)
    return tuple(sorted(flow.flow_id for flow in flows))


def _asked_flow(gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, flow_id: str) -> str:
    """The flow's id. An admin may name one that is gone: its dead letters are still there."""
    if isinstance(caller, Standard) or (flow_id and ref is not None):
        return flow_in_reach(gateway.catalog, caller, ref, flow_id).flow_id
    if flow_id and not fields.is_uuid(flow_id):
        raise InvalidInput("flow must be the id of an event flow: use one of GET …/event-flows")
    return flow_id.lower()


def _place(marker: str, flow_ids: tuple[str, ...]) -> tuple[int, str]:
    """Which of the flows a page begins with, and the router's own mark in it."""
    if not marker:
        return 0, ""
    match place_of(marker):
        case (str() as flow_id, str() as token) if flow_id in flow_ids:
            return flow_ids.index(flow_id), token
        case _:
            raise bad_marker()


def _no_such_letter() -> NotFound:
    return NotFound(
        "there is no dead letter of this id here: GET …/dead-letters lists them, with "
        "own_topic=true those in the flow's own topic"
    )
