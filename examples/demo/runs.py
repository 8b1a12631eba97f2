"""How often the algorithm ran, by the runner's own count."""

from __future__ import annotations

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

METRIC = "eventflows_runner_runs_total"
TIMEOUT_S = 5.0


async def runs_of(metrics_url: str) -> int:
    """Sum over all outcomes of the runner's counter of runs."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(metrics_url) as page:
        families = list(text_string_to_metric_families(await page.text()))
    return int(sum(s.value for family in families for s in family.samples if s.name == METRIC))
