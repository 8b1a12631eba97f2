"""An operation of the REST API: one row of the table that routes and OpenAPI are both made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias, TypeVar

from starlette.responses import Response

from gateway.entrypoints.rest.call import AS_OF_PARAMETER, Answer, Call
from gateway.entrypoints.rest.wire import Body

B = TypeVar("B", bound=Body)
Handler: TypeAlias = Callable[[Call, Any], Awaitable[Answer | Response]]


class KeyKind(Enum):
    """Which kind of key an operation wants."""

    NONE = "none"
    STANDARD = "standard"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `body` None: the body is not read (by this machinery).

    `idempotent` takes Idempotency-Key, `conditional` takes If-Match, `as_of` reads the past too,
    `entity_tag`: its answer has the ETag to send in If-Match. `dry_answer`: what a body with
    `dry_run` gets, with 200; nothing is changed then.
    """

    method: str
    path: str
    name: str
    summary: str
    key: KeyKind
    handler: Handler
    body: type[Body] | None = None
    answer: Any = None
    status: int = 200
    query: tuple[str, ...] = ()
    required_query: tuple[str, ...] = ()
    idempotent: bool = False
    conditional: bool = False
    as_of: bool = False
    entity_tag: bool = False
    dry_answer: Any = None


PAGE_QUERY = ("limit", "marker")


def reads(
    path: str,
    handler: Callable[[Call], Awaitable[Answer | Response]],
    *,
    key: KeyKind,
    answer: Any,
    query: tuple[str, ...] = (),
    required_query: tuple[str, ...] = (),
    single: bool = False,
    live: bool = False,
) -> Operation:
    """A GET without a body. Its summary is the first line of the handler's docstring.

    `single`: it shows one thing, with its ETag. `live`: what it says has no past.
    """

    async def handle(call: Call, _body: None) -> Answer | Response:
        return await handler(call)

    return Operation(
        method="GET", path=path, name=handler.__name__, summary=_summary(handler), key=key,
        handler=handle, answer=answer, query=query if live else (*query, AS_OF_PARAMETER),
        required_query=required_query, as_of=not live, entity_tag=single,
    )  # fmt: skip


def takes(
    method: str,
    path: str,
    handler: Callable[[Call, B], Awaitable[Answer | Response]],
    *,
    key: KeyKind,
    body: type[B],
    answer: Any = None,
    status: int = 200,
    changes: bool = True,
    dry_answer: Any = None,
) -> Operation:
    """A POST or PUT with a JSON body of this type, which changes one stream of the log.

    Not `changes`: a question with a body.
    """
    return Operation(
        method=method, path=path, name=handler.__name__, summary=_summary(handler), key=key,
        handler=handler, body=body, answer=answer, status=status, idempotent=changes,
        conditional=changes, entity_tag=changes, dry_answer=dry_answer,
    )  # fmt: skip


def deletes(
    path: str,
    handler: Callable[[Call], Awaitable[Answer | Response]],
    *,
    key: KeyKind,
    status: int,
    stays: bool = False,
) -> Operation:
    """A DELETE, with an empty answer. `stays`: what remains has a new ETag, which it tells."""

    async def handle(call: Call, _body: None) -> Answer | Response:
        return await handler(call)

    return Operation(
        method="DELETE", path=path, name=handler.__name__, summary=_summary(handler), key=key,
        handler=handle, status=status, idempotent=True, conditional=True, entity_tag=stays,
    )  # fmt: skip


def _summary(handler: Callable[..., object]) -> str:
    return (handler.__doc__ or "").strip().splitlines()[0]
