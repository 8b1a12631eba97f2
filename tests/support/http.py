"""Plain GETs for pages of our own services."""

from __future__ import annotations

from typing import Any

import aiohttp

TIMEOUT_S = 5.0


async def get_json(url: str) -> Any:
    """The decoded body, whatever the status is."""
    async with _session() as session, session.get(url) as answer:
        return await answer.json(content_type=None)


async def get_text(url: str) -> str:
    """The body as text."""
    async with _session() as session, session.get(url) as answer:
        return await answer.text()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
