"""Back to an earlier version: what brings an aggregate there, under the rules of any command.

    as it was then, as it is now ──▶ nothing to do
                                     the events of one of the aggregate's own commands
                                     refused: what is over for good does not come back

A revert is decided like any command, by a decider of its own for each aggregate, which hands on to
the aggregate's decider wherever a command of it does what is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from catalog.events import Event, TopicAccessSet
from catalog.kinds import AggregateKind
from kernel.decider import Decider
from kernel.errors import EventflowsError, StateForbids, TooLarge

from registry.domain import (
    account,
    aggregates,
    algorithm,
    connection,
    dead_letter_task,
    flow,
    topic_access,
)
from registry.domain.aggregates import Aggregate

REVOKED_MAX: Final = 100
"""Keys that one revert may revoke: so many events one command may have."""

OF_KIND: Final[Mapping[AggregateKind, Aggregate]] = MappingProxyType(
    {
        AggregateKind.ACCOUNT: aggregates.ACCOUNT,
        AggregateKind.ALGORITHM: aggregates.ALGORITHM,
        AggregateKind.CONNECTION: aggregates.CONNECTION,
        AggregateKind.TOPIC_ACCESS: aggregates.TOPIC_ACCESS,
        AggregateKind.FLOW: aggregates.FLOW,
        AggregateKind.DEAD_LETTER_TASK: aggregates.DEAD_LETTER_TASK,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """Let the aggregate be as in its state `then`.

    `command` is the aggregate's own that does it, None where none does; `refusal` is what other
    aggregates say against that command now.
    """

    then: Any
    command: Any = None
    refusal: EventflowsError | None = None


def reverting(aggregate: Aggregate) -> Aggregate:
    """The same aggregate with a decider for `Revert`, which raises what its own raises."""
    decider: Decider[Revert, Any, Event] = Decider(
        initial=aggregate.decider.initial,
        decide=partial(_decide, aggregate),
        evolve=aggregate.decider.evolve,
    )
    return replace(aggregate, decider=decider)


def command_to(then: Any, saved: TopicAccessSet | None) -> Any:
    """The command that leads to a state; None where none does. `saved` is the event that saved a
    topic's grants, or another of its stream: a state of grants does not know its topic."""
    match then:
        case connection.Connection():
            return _update_connection(then)
        case flow.Flow():
            return _set_flow(then)
        case frozenset() if saved is not None:
            grants = (
                saved.grants if frozenset(saved.grants) == then else tuple(sorted(then, key=str))
            )
            return topic_access.SetTopicAccess(
                connection_id=saved.connection_id, topic=saved.topic, grants=grants
            )
        case _:
            return None


def _decide(aggregate: Aggregate, revert: Revert, now: Any) -> Sequence[Event]:
    then = revert.then
    match now:
        case account.Account():
            return _revoke_newer_keys(then, now)
        case _ if _settled(then, now) == now:
            return []
        case algorithm.Algorithm():
            raise StateForbids(
                "builds and published versions of an algorithm stay: build and publish the earlier "
                "commit again, or let flows ask for the earlier version"
            )
        case dead_letter_task.DeadLetterTask():
            raise StateForbids(
                "what a dead letter task has redriven or purged stays so: cancel the task, or ask "
                "for another one"
            )
        case connection.Connection():
            _check_connection(then, now)
        case flow.Flow():
            _check_flow(then, now)
    if revert.refusal is not None:
        raise revert.refusal
    return aggregate.decider.decide(revert.command, now)


def _settled(then: Any, now: Any) -> Any:
    """The state to go back to. A pause is no setting: the one that stands, or none, is kept."""
    if isinstance(then, flow.Flow) and isinstance(now, flow.Flow):
        return replace(then, paused=now.paused)
    return then


def _revoke_newer_keys(then: account.Account, now: account.Account) -> Sequence[Event]:
    """A key is never taken back from revocation; one that was not there then is revoked."""
    before, live = then.keys.keys() - then.revoked, now.keys.keys() - now.revoked
    if lost := before - live:
        labels = sorted(now.keys[key_id].label or key_id for key_id in lost)
        raise StateForbids(
            f"a revoked API key does not come back ({', '.join(labels[:3])}"
            f"{', …' if len(labels) > 3 else ''}): create a new key"
        )
    newer = [key_id for key_id in now.keys if key_id in live - before]
    if len(newer) > REVOKED_MAX:
        raise TooLarge(
            f"{len(newer)} API keys would be revoked, at most {REVOKED_MAX} can be at once: "
            "go back in steps"
        )
    account_id = now.created.account_id
    return [
        event
        for key_id in newer
        for event in account.decide(account.RevokeApiKey(account_id=account_id, key_id=key_id), now)
    ]


def _check_connection(then: connection.Connection, now: connection.Connection) -> None:
    if now.deleted:
        raise StateForbids("this connection was deleted for good: create another one")
    needed = connection.needs_credentials(then.now.security_protocol, then.now.client_certificate)
    if needed and then.now.credentials is None:
        raise StateForbids(
            "at that version the connection had no credentials, they had been shredded: "
            "choose another version, or shred them again"
        )


def _check_flow(then: flow.Flow, now: flow.Flow) -> None:
    if now.deleted:
        raise StateForbids("this listener was deleted for good: create another one")
    if now.shreddings > then.shreddings:
        raise StateForbids(
            "the credentials that the listener had at that version were shredded for good: "
            "delete it and create another one"
        )


def _update_connection(then: connection.Connection) -> connection.UpdateConnection:
    return connection.UpdateConnection(
        connection_id=then.now.connection_id,
        name=then.now.name,
        bootstrap_servers=then.now.bootstrap_servers,
        security_protocol=then.now.security_protocol,
        sasl_mechanism=then.now.sasl_mechanism,
        ca_certificate=then.now.ca_certificate,
        credentials=then.now.credentials,
        client_certificate=then.now.client_certificate,
        group_prefix=then.now.group_prefix,
    )


def _set_flow(then: flow.Flow) -> flow.EnableFlow | flow.DisableFlow:
    settings = then.settings
    if settings is None:
        return flow.DisableFlow(flow_id=then.created.flow_id)
    return flow.EnableFlow(
        wire=then.created,
        algorithm_version=settings.algorithm_version,
        dead_letter_topic=settings.dead_letter_topic,
        concurrency_max=settings.concurrency_max,
        allow_cycle=settings.allow_cycle,
        timeout_s=settings.timeout_s,
        delivery=settings.delivery,
    )
