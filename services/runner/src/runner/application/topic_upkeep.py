"""Makes the completions topic of every algorithm that a flow follows, so that the flow finds it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator, Sequence

from catalog.catalog import Catalog
from kernel.backoff import delay_s
from kernel.errors import EventflowsError

from runner.ports import Completions, Configuration

RETRY_FIRST_S = 0.5
RETRY_LONGEST_S = 10.0

_log = logging.getLogger(__name__)


async def keep_topics(
    configuration: Configuration, changes: AsyncIterator[int], completions: Completions
) -> None:
    """For every change of the catalog, for ever. A topic that cannot be made is tried again, and
    holds up no other; one that was made is not asked for again."""
    catalog = configuration.catalog
    missing: list[str] = []
    position = 0
    async for _ in changes:
        attempt = 0
        while True:
            # Newest first: they must not wait behind what has failed before.
            missing = list(dict.fromkeys([*_followed_since(catalog, position), *missing]))
            position = catalog.position
            missing = await _prepare(catalog, missing, completions)
            if not missing:
                break
            attempt += 1
            await asyncio.sleep(
                delay_s(
                    attempt,
                    first_s=RETRY_FIRST_S,
                    longest_s=RETRY_LONGEST_S,
                    random=random.random,
                )
            )


def _followed_since(catalog: Catalog, position: int) -> Iterator[str]:
    """The algorithms of flows that were enabled after the position, newest first."""
    for flow_id in reversed(catalog.enabled_flow_ids()):
        flow = catalog.flow(flow_id)
        if flow is None:
            continue
        if flow.enabled_position <= position:
            return
        yield flow.algorithm_id


async def _prepare(
    catalog: Catalog, algorithm_ids: Sequence[str], completions: Completions
) -> list[str]:
    """Prepare those that are followed now; give back those that could not be."""
    failed: list[str] = []
    reason = ""
    for algorithm_id in algorithm_ids:
        if not catalog.is_followed(algorithm_id):
            continue
        try:
            await completions.prepare(algorithm_id)
        except EventflowsError as error:
            failed.append(algorithm_id)
            reason = error.message
    if failed:
        _log.warning("%d completions topics are missing, the last one: %s", len(failed), reason)
    return failed
