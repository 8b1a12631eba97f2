"""`Builder` for algorithms behind a URL: nothing is built, but a version must name something."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from catalog.records import Algorithm

from runner.ports import BuildReport, Clock


class EndpointBuilder:
    """The commit is the SHA-1 of the URL: 40 hex digits that change when the URL does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def build(self, algorithm: Algorithm, commit_sha: str) -> BuildReport:
        """See `ports.Builder`. Succeeds for an http or https URL; the endpoint is not called."""
        now, at = self._clock.now(), urlsplit(algorithm.source_url)
        succeeded = at.scheme in ("http", "https") and bool(at.hostname)
        digest = hashlib.sha1(algorithm.source_url.encode(), usedforsecurity=False).hexdigest()
        log = (
            f"Runs are sent to {at.scheme}://{at.hostname}."
            if succeeded
            else "The source must be an http:// or https:// URL."
        )
        return BuildReport(
            succeeded=succeeded,
            commit_sha=digest,
            log_tail=log,
            started_at=now,
            finished_at=now,
        )
