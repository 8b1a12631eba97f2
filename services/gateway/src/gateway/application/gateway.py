"""What every operation works with: the catalog to read, the ports to act, and who the caller is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from catalog.catalog import Catalog
from catalog.events import KeyType
from eventflows.registry.v1 import registry_pb2
from kernel.errors import TimedOut, Unauthenticated, Unavailable

from gateway.domain.caller import UNKNOWN_KEY, Admin, Caller, Standard, key_digest
from gateway.domain.intent import Intent
from gateway.ports import CatalogView, Command, Registry, RouterLive, Runner

READ_OWN_WRITE_TIMEOUT_S = 3.0
CATALOG_STALE_MAX_DEFAULT_S = 300.0
NOTABLE_AGE_S = 2.0
"""The registry speaks every second: after twice that the catalog may have missed changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The ports and settings of all operations. `choose` picks unpredictably (`secrets.choice`)."""

    view: CatalogView
    registry: Registry
    router: RouterLive
    runner: Runner
    public_url: str
    choose: Callable[[Sequence[str]], str]
    catalog_stale_max_s: float = CATALOG_STALE_MAX_DEFAULT_S

    @property
    def catalog(self) -> Catalog:
        """What is known now."""
        return self.view.catalog

    def check_fresh(self) -> None:
        """Raises Unavailable when the catalog is too old to decide who may do what."""
        staleness_s = self.view.staleness_s()
        if not self.view.caught_up.is_set():
            raise Unavailable("the gateway is starting and has not read the catalog yet: try again")
        if staleness_s > self.catalog_stale_max_s:
            raise Unavailable(
                f"the registry was last heard {staleness_s:.0f} s ago, which is more than "
                f"{self.catalog_stale_max_s:g} s: try again when it runs"
            )

    def notable_age_s(self) -> float | None:
        """The catalog's age where callers should know of it; None while it is fresh."""
        age_s = self.view.staleness_s()
        return age_s if NOTABLE_AGE_S < age_s < math.inf else None

    def authenticate(self, authorization: str | None) -> Caller:
        """Who calls. Raises Unauthenticated for a missing or unknown key."""
        owner = self.catalog.key_owner(key_digest(authorization))
        if owner is None:
            raise Unauthenticated(UNKNOWN_KEY)
        account, key = owner
        if key.key_type is KeyType.ADMIN:
            return Admin(account=account)
        return Standard(account=account)

    async def send(
        self, command: Command, caller: Caller, intent: Intent
    ) -> registry_pb2.CommandResult:
        """Send a command on behalf of the caller, then wait until our own catalog has its outcome.

        The wait is bounded: what happened has happened, so a catalog that lags makes the answer
        older, not an error. Raises what `Registry.send` raises.
        """
        command.context.command_id = str(intent.command_id)
        command.context.actor = caller.account.account_id
        if intent.expected_version is not None:
            command.context.expected_version = intent.expected_version
        result = await self.registry.send(command)
        with suppress(TimedOut):
            await self.view.wait_for(result.position, timeout_s=READ_OWN_WRITE_TIMEOUT_S)
        return result
