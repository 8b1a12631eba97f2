"""What every operation works with: the catalog to read, the ports to act, and who the caller is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from catalog.catalog import Catalog
from catalog.events import KeyType
from eventflows.registry.v1 import registry_pb2
from kernel.errors import (
    EventflowsError,
    NotFound,
    StateForbids,
    TimedOut,
    Unauthenticated,
    Unavailable,
    VersionConflict,
)

from gateway.application.moments import Moments
from gateway.domain.caller import UNKNOWN_KEY, Admin, Caller, Standard, key_digest
from gateway.domain.intent import Intent
from gateway.domain.moment import AsOf, Moment
from gateway.ports import CatalogView, Command, Log, Registry, RouterLive, Runner, Then

READ_OWN_WRITE_TIMEOUT_S = 3.0
CATALOG_STALE_MAX_DEFAULT_S = 300.0
NOTABLE_AGE_S = 2.0
"""The registry speaks every second: after twice that the catalog may have missed changes."""
CODE_KEY_REUSED = 9011
NEVER_THERE = 0
"""The version of a stream without events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The ports and settings of all operations. `choose` picks unpredictably (`secrets.choice`).

    `then` is set on the copy that answers reads as of a moment (`at`): what is shown is of then,
    who may see it is decided now.
    """

    view: CatalogView
    moments: Moments
    registry: Registry
    log: Log
    router: RouterLive
    runner: Runner
    public_url: str
    choose: Callable[[Sequence[str]], str]
    catalog_stale_max_s: float = CATALOG_STALE_MAX_DEFAULT_S
    then: Then | None = None

    @property
    def catalog(self) -> Catalog:
        """What reads are answered from: what is known now, or what was true then."""
        return self.view.catalog if self.then is None else self.then.catalog

    @property
    def moment(self) -> Moment | None:
        """The past moment that reads are answered as of; None: now."""
        return None if self.then is None else self.then.moment

    async def at(self, as_of: AsOf) -> Self:
        """The same gateway with reads as of a moment. Raises what `Moments.at` raises."""
        return replace(self, then=await self.moments.at(as_of))

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
        owner = self.view.catalog.key_owner(key_digest(authorization))
        if owner is None:
            raise Unauthenticated(UNKNOWN_KEY)
        account, key = owner
        if key.key_type is KeyType.ADMIN:
            return Admin(account=account, key_id=key.key_id)
        return Standard(account=account, key_id=key.key_id)

    async def send(
        self, command: Command, caller: Caller, intent: Intent
    ) -> registry_pb2.CommandResult:
        """Send a command on behalf of the caller, then wait until our own catalog has its outcome.

        The wait is bounded: what happened has happened, so a catalog that lags makes the answer
        older, not an error. Raises what `Registry.send` raises.
        """
        _put_context(command, caller, intent)
        result = await self._send_expecting(command, intent.expected_versions)
        with suppress(TimedOut):
            await self.view.wait_for(result.position, timeout_s=READ_OWN_WRITE_TIMEOUT_S)
        return result

    async def reach_head(self) -> None:
        """Wait, for a bounded time, until our own catalog has what the log holds now."""
        head = await self.log.head()
        with suppress(TimedOut):
            await self.view.wait_for(head.position, timeout_s=READ_OWN_WRITE_TIMEOUT_S)

    async def did_before(self, command: Command, caller: Caller, intent: Intent) -> bool:
        """Did this very wish, sent earlier, remove what the command names? Changes nothing.

        The registry has no question for that. But a command that expects a stream without events
        cannot remove anything, and only a command id that is known makes it say so.
        """
        if not intent.repeatable:
            return False
        _put_context(command, caller, intent)
        command.context.expected_version = NEVER_THERE
        try:
            return (await self.registry.send(command)).replayed
        except StateForbids as error:
            return error.code == CODE_KEY_REUSED
        except (VersionConflict, NotFound):
            return False

    async def _send_expecting(
        self, command: Command, versions: tuple[int, ...] | None
    ) -> registry_pb2.CommandResult:
        """The first of the versions that is right counts; the registry takes one at a time.

        An earlier try of the same wish may have met another of them: then that one is its repeat.
        """
        if versions is None:
            return await self._send(command)
        refused: EventflowsError = VersionConflict(
            "If-Match holds no ETag of this resource: read it again, then decide again"
        )
        for version in versions:
            command.context.expected_version = version
            try:
                return await self._send(command)
            except VersionConflict as error:
                refused = error
            except StateForbids as error:
                if error.code != CODE_KEY_REUSED:
                    raise
                refused = error
        raise refused

    async def _send(self, command: Command) -> registry_pb2.CommandResult:
        try:
            return await self.registry.send(command)
        except StateForbids as error:
            if error.code == CODE_KEY_REUSED:
                raise key_reused() from error
            raise


def key_reused() -> StateForbids:
    """An Idempotency-Key that came with another request before."""
    return StateForbids(
        "this Idempotency-Key was used for another request: send a fresh one, or the request that "
        "it was used for",
        code=CODE_KEY_REUSED,
    )


def _put_context(command: Command, caller: Caller, intent: Intent) -> None:
    command.context.command_id = str(intent.command_id)
    command.context.actor = caller.account.account_id
    command.context.key_id = caller.key_id
    command.context.correlation_id = intent.request_id
