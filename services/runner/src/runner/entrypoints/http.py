"""Runs by HTTP: `POST /v1/algo/{owner}/{name}[/{version}]`, and `GET /healthz`."""

from __future__ import annotations

import logging
from uuid import uuid4

from aiohttp import web
from kernel.errors import (
    EventflowsError,
    InvalidInput,
    NotAllowed,
    Overloaded,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from servicekit.failures import error_envelope, http_status
from servicekit.identity import RUN_CALLERS, Identities

from runner.application.background_runs import BackgroundRuns
from runner.application.readiness import Readiness
from runner.application.run_algorithm import RunAlgorithm
from runner.domain import wire
from runner.domain.limits import INPUT_BYTES_MAX, OVERLOAD_RETRY_AFTER_S
from runner.domain.run import RunRequest
from runner.domain.sessions import Session, Sessions

NAME_CHARACTERS_MAX = 100
VERSION_CHARACTERS_MAX = 64

_log = logging.getLogger(__name__)


class HttpEntry:
    """Reads calls, hands them to the application, writes its answers."""

    def __init__(
        self,
        *,
        identities: Identities,
        sessions: Sessions,
        runs: RunAlgorithm,
        background: BackgroundRuns,
        readiness: Readiness,
    ) -> None:
        self._identities = identities
        self._sessions = sessions
        self._runs = runs
        self._background = background
        self._readiness = readiness

    def application(self) -> web.Application:
        """The aiohttp application. Bodies are read in chunks under our own limit."""
        app = web.Application()
        run = "/v1/algo/{owner}/{name}"
        app.router.add_get("/healthz", self._health)
        for path in (run, run + "/", run + "/{version}", run + "/{version}/"):
            app.router.add_post(path, self._run)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        try:
            self._readiness.require()
        except EventflowsError as error:
            return _refused(error)
        return web.json_response({"status": "ready"})

    async def _run(self, request: web.Request) -> web.Response:
        try:
            return await self._answer(request)
        except EventflowsError as error:
            return _refused(error)
        except Exception:  # noqa: BLE001  logged; the caller gets an envelope, not a bare 500
            _log.exception("a run failed in the runner itself")
            return _refused(EventflowsError("The runner failed: its log says more."))

    async def _answer(self, request: web.Request) -> web.Response:
        self._require_caller(request)
        self._runs.require_ready()
        options, head = wire.read_options(request.query), wire.read_head(request.headers)
        session = self._sessions.open(head.account_id)
        handed_over = False
        try:
            body = await _bounded_body(request, session)
            run = _run_request(request, head, options, body)
            if options.output is wire.OutputMode.VOID:
                self._background.accept(run, session)
                handed_over = True
                return _run_response(wire.accepted(run.request_id), run)
            return _run_response(wire.answer(await self._runs.run(run), options), run)
        finally:
            if not handed_over:
                session.close()

    def _require_caller(self, request: web.Request) -> None:
        role = self._identities.role_of(request.headers.get("Authorization"))
        if role is None:
            raise Unauthenticated("authorization required")
        if role not in RUN_CALLERS:
            raise NotAllowed(f"The role {role} may not run algorithms.")


def _run_request(
    request: web.Request, head: wire.Head, options: wire.Options, body: bytes
) -> RunRequest:
    path = request.match_info
    owner, name, version = path["owner"], path["name"], path.get("version", "")
    if max(len(owner), len(name)) > NAME_CHARACTERS_MAX or len(version) > VERSION_CHARACTERS_MAX:
        raise InvalidInput(f"Names and versions have at most {NAME_CHARACTERS_MAX} characters.")
    return wire.run_request(
        head,
        options,
        wire.read_payload(head, body),
        owner_name=owner,
        algorithm_name=name,
        version=version,
        fresh_request_id=f"req-{uuid4()}",
    )


async def _bounded_body(request: web.Request, session: Session) -> bytes:
    """The body, whole or chunked. Raises TooLarge as soon as it is known to be."""
    if (request.content_length or 0) > INPUT_BYTES_MAX:
        raise _too_large()
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in request.content.iter_any():
        size_bytes += len(chunk)
        if size_bytes > INPUT_BYTES_MAX:
            raise _too_large()
        session.hold(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large() -> TooLarge:
    return TooLarge(f"The input is larger than {INPUT_BYTES_MAX} bytes: send less.")


def _refused(error: EventflowsError) -> web.Response:
    response = _response(
        wire.refusal(error, status=http_status(error), envelope=error_envelope(error))
    )
    if isinstance(error, Overloaded):
        response.headers["Retry-After"] = _seconds(error.retry_after_s)
    elif isinstance(error, Unavailable):
        response.headers["Retry-After"] = _seconds(OVERLOAD_RETRY_AFTER_S)
    return response


def _run_response(answer: wire.WireAnswer, run: RunRequest) -> web.Response:
    """A header names the request id that we gave out. Who gave one knows it, and gets alike heads:
    the router does not parse a head again that it has read before (ADR 0011)."""
    response = _response(answer)
    if not run.repeatable:
        response.headers[wire.REQUEST_ID] = run.request_id
    return response


def _response(answer: wire.WireAnswer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def _seconds(value_s: float) -> str:
    """RFC 9110: whole seconds."""
    return str(max(1, round(value_s)))
