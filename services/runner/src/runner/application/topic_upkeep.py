"""Makes the completions topic of every algorithm that a flow follows, so that the flow finds it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator

from kernel.backoff import delay_s
from kernel.errors import EventflowsError

from runner.ports import Completions, Configuration

RETRY_FIRST_S = 0.5
RETRY_LONGEST_S = 10.0

_log = logging.getLogger(__name__)


async def keep_topics(
    configuration: Configuration, changes: AsyncIterator[int], completions: Completions
) -> None:
    """For every change of the catalog, for ever. A failure is tried again, newest state first."""
    async for _ in changes:
        attempt = 0
        while not await _prepare_all(configuration, completions):
            attempt += 1
            await asyncio.sleep(
                delay_s(
                    attempt,
                    first_s=RETRY_FIRST_S,
                    longest_s=RETRY_LONGEST_S,
                    random=random.random,
                )
            )


async def _prepare_all(configuration: Configuration, completions: Completions) -> bool:
    catalog = configuration.catalog
    flows = (catalog.flow(flow_id) for flow_id in catalog.enabled_flow_ids())
    algorithm_ids = {flow.algorithm_id for flow in flows if flow is not None}
    for algorithm_id in sorted(algorithm_ids):
        if not catalog.is_followed(algorithm_id):
            continue
        try:
            await completions.prepare(algorithm_id)
        except EventflowsError as error:
            _log.warning("a completions topic is missing: %s", error.message)
            return False
    return True
