"""A caller of an ASGI application without a socket: one request, one whole answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message

from tests.unit.gateway.instructions import says_what_to_do


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status, headers and the whole body."""

    status: int
    headers: Headers
    content: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.content)

    @property
    def error(self) -> Any:
        """What the envelope holds."""
        return self.json["error"]


@dataclass(frozen=True, slots=True)
class AsgiClient:
    """Calls `app`, with `Authorization: Simple <key>` where a key is given.

    Every refusal that comes must tell its reader what to do.
    """

    app: ASGIApp

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        chunks: Iterable[bytes] | None = None,
    ) -> Answer:
        """`body` is sent as JSON, `chunks` as they are."""
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if key is not None:
            sent["authorization"] = f"Simple {key}"
        parts = list(chunks or [])
        if body is not None:
            parts = [json.dumps(body).encode()]
            sent.setdefault("content-type", "application/json")
        answer = await self._exchange(method, path, sent, parts)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            _check_sentence(answer)
        return answer

    async def _exchange(
        self, method: str, path: str, headers: dict[str, str], parts: list[bytes]
    ) -> Answer:
        plain, _, query = path.partition("?")
        messages: list[Message] = [
            {"type": "http.request", "body": part, "more_body": True} for part in parts
        ]
        messages.append({"type": "http.request", "body": b"", "more_body": False})
        inbox = iter(messages)
        outbox: list[Message] = []

        async def receive() -> Message:
            return next(inbox, {"type": "http.disconnect"})

        async def send(message: Message) -> None:
            outbox.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(plain),
            "raw_path": plain.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(n.encode(), v.encode()) for n, v in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await self.app(scope, receive, send)
        start, *rest = outbox
        return Answer(
            status=start["status"],
            headers=Headers(raw=start["headers"]),
            content=b"".join(message.get("body", b"") for message in rest),
        )


def _check_sentence(answer: Answer) -> None:
    """The body of a run's answer is the runner's own, which needs no `error`."""
    error = answer.json.get("error") if answer.content else None
    if error is not None:
        message = error if isinstance(error, str) else error["message"]
        assert says_what_to_do(message), message
