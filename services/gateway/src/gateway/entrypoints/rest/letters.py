"""Dead letters over REST: of one flow for its owner, of the whole cluster for admins."""

from __future__ import annotations

from collections.abc import Mapping

from catalog.events import DeadLetterSelection
from kernel.errors import InvalidInput

from gateway.application import dead_letter_requests, dead_letter_tasks, dead_letters
from gateway.application.algorithms import AlgorithmRef
from gateway.application.dead_letter_requests import PurgeWish, RedriveWish
from gateway.application.dead_letter_tasks import TaskRecord
from gateway.application.dead_letters import LetterCount
from gateway.domain import letter_selection
from gateway.domain.fields import algorithm_reference
from gateway.entrypoints.rest import present_letters, wire, wire_letters
from gateway.entrypoints.rest.call import Answer, Call, etag
from gateway.entrypoints.rest.operation import PAGE_QUERY, KeyKind, Operation, reads, takes

ACCEPTED = 202
NO_STORE: Mapping[str, str] = {"Cache-Control": "no-store"}
"""They are the customer's records: no cache on the way keeps them."""


async def list_dead_letters(call: Call) -> Answer:
    """List dead letters, newest first; a page may be short and not the last."""
    wanted = dead_letters.LetterFilter(
        flow=_flow(call),
        selection=_asked_in_query(call),
        state=call.query("state"),
        own_topic=_own_topic(call),
    )
    found = await dead_letters.list_letters(
        call.gateway, call.caller, _algorithm(call), wanted, call.page
    )
    body = wire_letters.DeadLetters(
        marker=found.page.marker,
        next_link=call.next_link(found.page.marker),
        results=[present_letters.letter(one) for one in found.page.items],
        truncated=found.truncated,
    )
    return Answer(body=body, headers=NO_STORE)


async def get_dead_letter(call: Call) -> Answer:
    """Show a dead letter whole: its bytes, headers and history."""
    found = await dead_letters.get_letter(
        call.gateway,
        call.caller,
        call.algorithm_if_named,
        _flow(call),
        call.path("letter"),
        own_topic=_own_topic(call),
    )
    return Answer(body=present_letters.whole_letter(found), headers=NO_STORE)


async def redrive_dead_letters(
    call: Call, body: wire_letters.Redrive | wire_letters.RedriveOfFlow
) -> Answer:
    """Send dead letters through their flow again; with `dry_run` only count them."""
    wish = RedriveWish(
        flow=_flow_of(call, body),
        chosen=_asked_in_body(body.selection),
        algorithm_version=body.algorithm_version or "",
        rate_per_s=body.rate_per_s or 0.0,
        own_topic=body.own_topic or False,
    )
    gateway, caller, algorithm = call.gateway, call.caller, call.algorithm_if_named
    if body.dry_run:
        return _counted(await dead_letter_requests.redrive_count(gateway, caller, algorithm, wish))
    record = await dead_letter_requests.redrive(gateway, caller, algorithm, wish, call.intent())
    return _accepted(record)


async def purge_dead_letters(
    call: Call, body: wire_letters.Purge | wire_letters.PurgeOfFlow
) -> Answer:
    """Forget dead letters; with `dry_run` only count them."""
    wish = PurgeWish(
        flow=_flow_of(call, body),
        chosen=_asked_in_body(body.selection),
        own_topic=body.own_topic or False,
    )
    gateway, caller, algorithm = call.gateway, call.caller, call.algorithm_if_named
    if body.dry_run:
        return _counted(await dead_letter_requests.purge_count(gateway, caller, algorithm, wish))
    record = await dead_letter_requests.purge(gateway, caller, algorithm, wish, call.intent())
    return _accepted(record)


async def list_dead_letter_tasks(call: Call) -> Answer:
    """List redrives and purges, newest first."""
    page = dead_letter_tasks.list_tasks(
        call.gateway, call.caller, call.algorithm_if_named, _flow(call), call.page
    )
    return call.page_answer(page, present_letters.task)


async def get_dead_letter_task(call: Call) -> Answer:
    """Show how far a redrive or a purge is."""
    record = await dead_letter_tasks.get_task(
        call.gateway, call.caller, call.algorithm_if_named, _flow(call), call.path("task")
    )
    return Answer(body=present_letters.task(record), headers=etag(record.stream_version))


async def cancel_dead_letter_task(call: Call, _body: wire.Empty) -> Answer:
    """Do nothing more for a redrive or a purge; what it did stays done."""
    record = await dead_letter_tasks.cancel_task(
        call.gateway,
        call.caller,
        call.algorithm_if_named,
        _flow(call),
        call.path("task"),
        call.intent(),
    )
    return Answer(body=present_letters.task(record), headers=etag(record.stream_version))


def _counted(count: LetterCount) -> Answer:
    body = wire_letters.DeadLetterCount(letters=count.letters, truncated=count.truncated)
    return Answer(body=body)


def _accepted(record: TaskRecord) -> Answer:
    headers = etag(record.stream_version)
    return Answer(body=present_letters.task(record), status=ACCEPTED, headers=headers)


def _flow(call: Call) -> str:
    """That of an owner's path, else of the query, else empty."""
    return str(call.request.path_params.get("flow", call.query("flow")))


def _flow_of(call: Call, body: wire_letters.Redrive | wire_letters.Purge) -> str:
    of_flow = (wire_letters.RedriveOfFlow, wire_letters.PurgeOfFlow)
    return body.flow if isinstance(body, of_flow) else call.path("flow")


def _algorithm(call: Call) -> AlgorithmRef | None:
    named = call.query("algorithm")
    if call.algorithm_if_named is None and named:
        return AlgorithmRef(*algorithm_reference(named))
    return call.algorithm_if_named


def _own_topic(call: Call) -> bool:
    word = call.query("own_topic")
    if word not in ("", "true", "false"):
        raise InvalidInput("own_topic must be true or false")
    return word == "true"


def _asked_in_query(call: Call) -> DeadLetterSelection:
    partitions = [
        letter_selection.number(one, field="partition")
        for one in call.query("partition").split(",")
    ]
    return letter_selection.selection(
        since=call.query("since"),
        until=call.query("until"),
        failure=call.query("failure"),
        error_type=call.query("error_type"),
        key=letter_selection.key_bytes(call.query("key"), call.query("key_base64")),
        topic=call.query("topic"),
        partitions=[one for one in partitions if one is not None],
        offset_first=letter_selection.number(call.query("offset_first"), field="offset_first"),
        offset_last=letter_selection.number(call.query("offset_last"), field="offset_last"),
    )


def _asked_in_body(body: wire_letters.SelectionBody | None) -> DeadLetterSelection:
    asked = body or wire_letters.SelectionBody()
    return letter_selection.selection(
        since=asked.since or "",
        until=asked.until or "",
        failure=asked.failure or "",
        error_type=asked.error_type or "",
        key=letter_selection.key_bytes(asked.key or "", asked.key_base64 or ""),
        topic=asked.topic or "",
        partitions=asked.partitions or (),
        offset_first=asked.offset_first,
        offset_last=asked.offset_last,
        letters=asked.letters or (),
    )


_FILTERS = (
    "state", "since", "until", "failure", "error_type", "key", "key_base64", "topic", "partition",
    "offset_first", "offset_last", "own_topic",
)  # fmt: skip


def _below(path: str, key: KeyKind) -> tuple[Operation, ...]:
    """`tasks` before `{letter}`, which would fit it too."""
    of_flow = key is KeyKind.ADMIN  # whose path names no flow
    which = ("flow",) if of_flow else ()
    task, tasks = wire_letters.DeadLetterTask, f"{path}/tasks"
    return (
        reads(
            path, list_dead_letters, key=key, answer=wire_letters.DeadLetters, live=True,
            query=(*which, *(("algorithm",) if of_flow else ()), *_FILTERS, *PAGE_QUERY),
        ),
        takes(
            "POST", f"{path}/redrive", redrive_dead_letters, key=key, status=ACCEPTED, answer=task,
            body=wire_letters.RedriveOfFlow if of_flow else wire_letters.Redrive,
            dry_answer=wire_letters.DeadLetterCount,
        ),
        takes(
            "POST", f"{path}/purge", purge_dead_letters, key=key, status=ACCEPTED, answer=task,
            body=wire_letters.PurgeOfFlow if of_flow else wire_letters.Purge,
            dry_answer=wire_letters.DeadLetterCount,
        ),
        reads(
            tasks, list_dead_letter_tasks, key=key, answer=wire.Page[task],  # type: ignore[valid-type]
            query=(*which, *PAGE_QUERY),
        ),
        reads(f"{tasks}/{{task}}", get_dead_letter_task, key=key, answer=task, single=True),
        takes(
            "POST", f"{tasks}/{{task}}/cancel", cancel_dead_letter_task, key=key, body=wire.Empty,
            answer=task,
        ),
        reads(
            f"{path}/{{letter}}", get_dead_letter, key=key, answer=wire_letters.WholeDeadLetter,
            live=True, query=(*which, "own_topic"),
        ),
    )  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    *_below("/v1/algorithms/{algorithm_id}/event-flows/{flow}/dead-letters", KeyKind.STANDARD),
    *_below("/v1/algorithms/{owner}/{name}/event-flows/{flow}/dead-letters", KeyKind.STANDARD),
    *_below("/v1/admin/dead-letters", KeyKind.ADMIN),
)
