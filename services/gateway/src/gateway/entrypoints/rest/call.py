"""One REST request on its way to a handler, and what the handler gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request

from gateway.application.algorithms import AlgorithmRef
from gateway.application.gateway import Gateway
from gateway.domain.caller import Admin, Caller, Standard, admin, standard
from gateway.domain.intent import Intent, intent
from gateway.domain.paging import Page, PageRequest, kept_moment, page_request
from gateway.entrypoints.rest import wire
from gateway.entrypoints.rest.preconditions import expected_versions

IDEMPOTENCY_HEADER = "idempotency-key"
IF_MATCH_HEADER = "if-match"
AS_OF_PARAMETER = "as_of"

R = TypeVar("R")
W = TypeVar("W")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A status, a JSON body (None: empty) and further headers."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request with its caller, who is known before the body is read.

    `gateway` reads as of the moment that was asked for; `marker` is without that moment.
    """

    gateway: Gateway
    caller: Caller
    request: Request
    request_id: str
    random_uuid: Callable[[], UUID]
    marker: str = ""

    @property
    def admin(self) -> Admin:
        """The caller. Raises NotAllowed for a standard key."""
        return admin(self.caller)

    @property
    def standard(self) -> Standard:
        """The caller. Raises NotAllowed for an admin key."""
        return standard(self.caller)

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str) -> str:
        """A parameter of the query, empty when it is absent."""
        return self.request.query_params.get(name, "")

    @cached_property
    def algorithm(self) -> AlgorithmRef:
        """The algorithm that the path names, by owner and name or by id."""
        params = self.request.path_params
        if "algorithm_id" in params:
            return AlgorithmRef(str(params["algorithm_id"]))
        return AlgorithmRef(str(params["owner"]), str(params.get("name", "")))

    @property
    def algorithm_if_named(self) -> AlgorithmRef | None:
        """The same; None where the path names none, as those for admins."""
        params = self.request.path_params
        return self.algorithm if "algorithm_id" in params or "owner" in params else None

    @property
    def page(self) -> PageRequest:
        """The page that the query asks for. Raises InvalidInput (5002, 5003)."""
        return page_request(limit=self.request.query_params.get("limit"), marker=self.marker)

    def intent(self) -> Intent:
        """The wish behind this request; new each time without `Idempotency-Key`."""
        request = self.request
        return intent(
            account_id=self.caller.account.account_id,
            operation=f"{request.method} {request.url.path}",
            idempotency_key=request.headers.get(IDEMPOTENCY_HEADER),
            random_uuid=self.random_uuid,
            request_id=self.request_id,
            expected_versions=expected_versions(request.headers.getlist(IF_MATCH_HEADER)),
        )

    def page_answer(self, page: Page[R], show: Callable[[R], W]) -> Answer:
        """A page of records, with the link to the next one, which is of the same moment."""
        marker = kept_moment(page.marker, self.gateway.moment)
        return Answer(
            body=wire.Page(
                marker=marker,
                next_link=self.next_link(marker),
                results=[show(item) for item in page.items],
            )
        )

    def next_link(self, marker: str | None) -> str | None:
        """Where the page behind this marker is; None: there is none."""
        if marker is None:
            return None
        # The marker keeps the moment, as the registry resolved it.
        query = [
            (k, v)
            for k, v in self.request.query_params.multi_items()
            if k not in ("marker", AS_OF_PARAMETER)
        ]
        path = f"{self.gateway.public_url}{self.request.url.path}"
        return f"{path}?{urlencode([*query, ('marker', marker)])}"


def etag(version: int) -> dict[str, str]:
    """The header that tells the version of what is shown."""
    return {"ETag": f'"{version}"'}
