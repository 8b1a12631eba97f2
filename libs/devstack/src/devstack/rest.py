"""A caller of the REST API with one key: what a person's curl does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

TIMEOUT_S = 330.0  # a build may take minutes
KNOWN_TIMEOUT_S = 10.0
KNOWN_PAUSE_S = 0.02


class RestRefused(Exception):
    """An answer that is not 2xx. `status` and the decoded `body` tell why."""

    def __init__(self, what: str, status: int, body: Any) -> None:
        super().__init__(f"{what}: {status} {json.dumps(body)[:2000]}")
        self.status = status
        self.body = body


class Rest:
    """Calls paths below `url` with `Authorization: Simple <key>`, JSON in and out."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url
        headers = {"Authorization": f"Simple {key}"} if key else {}
        self._session = aiohttp.ClientSession(
            headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
        )

    async def call(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> Any:
        """The decoded JSON answer, None when it is empty. Raises RestRefused."""
        status, answer = await self.answer(method, path, body, headers=headers)
        if not 200 <= status < 300:
            raise RestRefused(f"{method} {path}", status, answer)
        return answer

    async def answer(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and decoded body, whatever the status is."""
        sent = {} if body is None else {"json": body}
        async with self._session.request(
            method, self._url + path, headers=headers, **sent
        ) as response:
            text = await response.text()
            self.seen(response.headers, text)
            return response.status, json.loads(text) if text else None

    def seen(self, headers: Mapping[str, str], text: str) -> None:
        """Called with every answer; for those who keep them."""

    async def get(self, path: str) -> Any:
        return await self.call("GET", path)

    async def post(self, path: str, body: Any) -> Any:
        return await self.call("POST", path, body)

    async def put(self, path: str, body: Any) -> Any:
        return await self.call("PUT", path, body)

    async def wait_known(self, *, timeout_s: float = KNOWN_TIMEOUT_S) -> None:
        """Return when the API knows our key, which was made elsewhere a moment ago.

        Raises TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            while (await self.answer("GET", "/v1/users?limit=1"))[0] == HTTPStatus.UNAUTHORIZED:
                await asyncio.sleep(KNOWN_PAUSE_S)

    async def close(self) -> None:
        """Release the connections. Harmless twice."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
