"""States of aggregates in the words of the people who run a cluster, field by field.

Left out is what only programs need: ids, positions, times. An entry of a list is a field of its
own, so that lists compare as sets. Secrets are never told: only whether there is one, and whether
it is another than before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias, assert_never

from catalog.aggregates import State
from catalog.events import BrokerKind, FlowEnabled, FlowKind, SecretRef, SecurityProtocol
from catalog.kinds import AggregateKind
from catalog.records import (
    Account,
    Algorithm,
    ApiKey,
    Build,
    Connection,
    DeadLetterTask,
    DeadLetterTaskKind,
    DeadLetterTaskState,
    Flow,
    TopicAccess,
    Version,
)

from registry.domain import delivery_words

VALUE_LENGTH_MAX: Final = 200
COMMIT_SHOWN_CHARACTERS: Final = 12
DIGEST_SHOWN_CHARACTERS: Final = 16


class Ref(NamedTuple):
    """An aggregate in the middle of a text; it is named when the text is shown."""

    kind: AggregateKind
    id: str


class Told(NamedTuple):
    """A field's name and value. `secret` tells two secrets apart and is never shown."""

    field: str
    value: tuple[str | Ref, ...]
    secret: bytes = b""


Key: TypeAlias = tuple[str, str]
"""A field; of a list also which entry."""
Naming: TypeAlias = Callable[[Ref], str]

_BROKERS: Final = {
    BrokerKind.UNSPECIFIED: "unknown",
    BrokerKind.KAFKA: "Apache Kafka",
    BrokerKind.SQS: "Amazon SQS",
    BrokerKind.SERVICE_BUS: "Azure Service Bus",
}
_PROTOCOLS: Final = {
    SecurityProtocol.UNSPECIFIED: "unknown",
    SecurityProtocol.PLAINTEXT: "PLAINTEXT",
    SecurityProtocol.SASL_SSL: "SASL_SSL",
    SecurityProtocol.SSL: "SSL",
    SecurityProtocol.SASL_PLAINTEXT: "SASL_PLAINTEXT",
}


def described(state: State) -> Mapping[Key, Told]:
    """Every field that says something, in the order in which people read them."""
    return {(told.field, entry): told for entry, told in _fields(state) if any(told.value)}


def shown(told: Told | None, naming: Naming) -> str:
    """The value as text, at most VALUE_LENGTH_MAX characters; empty for a field that is not."""
    if told is None:
        return ""
    text = "".join(part if isinstance(part, str) else naming(part) for part in told.value)
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[: VALUE_LENGTH_MAX - 1]}…"


def name_of(state: State, naming: Naming) -> str:
    """What people call it, such as `acme/digits ← orders on plant (subscriber)`."""
    match state:
        case Account():
            return state.username
        case Algorithm():
            return state.full_name
        case Connection():
            return state.name
        case TopicAccess():
            connection = naming(Ref(AggregateKind.CONNECTION, state.connection_id))
            return f"{state.topic} on {connection}"
        case Flow():
            return _flow_name(state, naming)
        case DeadLetterTask():
            return f"{_word(state.kind)} of {naming(Ref(AggregateKind.FLOW, state.flow_id))}"
        case _:
            assert_never(state)


_Entry: TypeAlias = tuple[str, Told]


def _fields(state: State) -> Iterator[_Entry]:
    match state:
        case Account():
            return _account(state)
        case Algorithm():
            return _algorithm(state)
        case Connection():
            return _connection(state)
        case TopicAccess():
            return _topic_access(state)
        case Flow():
            return _flow(state)
        case DeadLetterTask():
            return _dead_letter_task(state)
        case _:
            assert_never(state)


def _account(account: Account) -> Iterator[_Entry]:
    yield _one("user name", account.username)
    yield _one("kind", _word(account.kind))
    yield _one("e-mail", account.email)
    yield _one("full name", account.fullname)
    yield _one("company", account.company_name)
    yield _one("role in the company", account.company_role)
    for key in account.keys:
        yield key.key_id, Told("API key", (_key(key),))


def _key(key: ApiKey) -> str:
    return f"{key.label or 'without a label'} ({_word(key.key_type)}, {key.mask})"


def _algorithm(algorithm: Algorithm) -> Iterator[_Entry]:
    yield _one("owner", algorithm.owner_name)
    yield _one("name", algorithm.name)
    yield _one("label", algorithm.label)
    yield _one("summary", algorithm.summary)
    yield _one("tagline", algorithm.tagline)
    yield _one("source", _word(algorithm.source_kind))
    yield _one("source address", algorithm.source_url)
    yield _one("source visibility", algorithm.source_visibility)
    yield _one("license", algorithm.license)
    yield _one("network access", algorithm.network_access)
    yield _one("pipelines", _yes_or_no(algorithm.pipeline_enabled))
    yield _one("environment", algorithm.algorithm_environment)
    for build in algorithm.builds:
        yield build.build_id, Told("build", (_build(build),))
    for version in algorithm.versions:
        yield version.version, Told("version", (_version(version),))


def _build(build: Build) -> str:
    outcome = "succeeded" if build.succeeded else "failed"
    commit = build.commit_sha[:COMMIT_SHOWN_CHARACTERS]
    return f"{outcome}, commit {commit}" if commit else outcome


def _version(version: Version) -> str:
    commit = version.commit_sha[:COMMIT_SHOWN_CHARACTERS]
    return f"{version.version} ({_word(version.callability)}, commit {commit})"


def _connection(connection: Connection) -> Iterator[_Entry]:
    yield _one("name", connection.name)
    for server in connection.bootstrap_servers:
        yield server, Told("bootstrap server", (server,))
    yield _one("security protocol", _PROTOCOLS[connection.security_protocol])
    yield _one("SASL mechanism", connection.sasl_mechanism)
    yield _one("CA certificate", _digest(connection.ca_certificate))
    yield _one("client certificate", _digest(connection.client_certificate))
    yield _one("prefix of consumer groups", connection.group_prefix)
    yield _credentials(connection.credentials)


def _topic_access(access: TopicAccess) -> Iterator[_Entry]:
    yield "", Told("connection", (Ref(AggregateKind.CONNECTION, access.connection_id),))
    yield _one("topic", access.topic)
    for grant in access.grants:
        what = (Ref(AggregateKind.ALGORITHM, grant.algorithm_id), f" as {_word(grant.api_type)}")
        yield f"{grant.algorithm_id} {grant.api_type.name}", Told("grant", what)


def _flow(flow: Flow) -> Iterator[_Entry]:
    yield _one("direction", _word(flow.kind))
    yield "", Told("owner", (Ref(AggregateKind.ACCOUNT, flow.owner_id),))
    yield "", Told("algorithm", (Ref(AggregateKind.ALGORITHM, flow.algorithm_id),))
    if flow.target_algorithm_id:
        yield "", Told("target", (Ref(AggregateKind.ALGORITHM, flow.target_algorithm_id),))
    if (channel := flow.channel) is not None:
        yield _one("broker", _BROKERS[channel.broker])
        if channel.connection_id:
            yield "", Told("connection", (Ref(AggregateKind.CONNECTION, channel.connection_id),))
        is_topic = channel.broker is BrokerKind.KAFKA
        yield _one("topic" if is_topic else "queue", channel.name)
        yield _one("role", channel.role_arn)
        yield _credentials(channel.credentials)
    yield _one("enabled", _yes_or_no(flow.settings is not None))
    if flow.paused is not None:
        yield _one("paused", "yes, after draining" if flow.paused.drain else "yes")
        yield _one("paused because", flow.paused.reason)
    if flow.last_settings is not None:
        yield from _settings(flow.last_settings)


def _settings(settings: FlowEnabled) -> Iterator[_Entry]:
    """Those that it has, or had when it was disabled: disabling changes none of them."""
    yield _one("algorithm version", settings.algorithm_version or "newest published")
    yield _one("dead letter topic", settings.dead_letter_topic or "internal dead letters")
    yield _one("runs at the same time", str(settings.concurrency_max or "router's default"))
    yield _one("cycle allowed", _yes_or_no(settings.allow_cycle))
    yield _one("timeout", f"{settings.timeout_s} s" if settings.timeout_s else "runner's default")
    if settings.delivery is not None:
        for entry, field, words in delivery_words.of_settings(settings.delivery):
            yield entry, Told(field, (words,))


def _dead_letter_task(task: DeadLetterTask) -> Iterator[_Entry]:
    yield _one("kind", _word(task.kind))
    yield "", Told("flow", (Ref(AggregateKind.FLOW, task.flow_id),))
    yield _one("dead letters", delivery_words.of_selection(task.selection))
    if task.kind is DeadLetterTaskKind.REDRIVE:
        yield _one("algorithm version", task.algorithm_version or "the flow's")
        yield _one("records a second", f"{task.rate_per_s:g}")
        if task.own_topic:
            yield _one("in the flow's own topic", "yes")
    yield _one("state", _word(task.state))
    if task.state is DeadLetterTaskState.FINISHED:
        yield _one("succeeded", str(task.succeeded))
        yield _one("failed", str(task.failed))
        yield _one("problem", task.problem)


def _flow_name(flow: Flow, naming: Naming) -> str:
    algorithm = naming(Ref(AggregateKind.ALGORITHM, flow.algorithm_id))
    if flow.channel is None:
        target = naming(Ref(AggregateKind.ALGORITHM, flow.target_algorithm_id))
        return f"{algorithm} → {target} ({_word(flow.kind)})"
    if flow.channel.broker is not BrokerKind.KAFKA:
        return f"{algorithm} ← {flow.channel.name} (listener)"
    arrow = "→" if flow.kind is FlowKind.PUBLISHER else "←"
    connection = naming(Ref(AggregateKind.CONNECTION, flow.channel.connection_id))
    return f"{algorithm} {arrow} {flow.channel.name} on {connection} ({_word(flow.kind)})"


def _one(field: str, value: str) -> _Entry:
    return "", Told(field, (value,))


def _credentials(reference: SecretRef | None) -> _Entry:
    if reference is None:
        return _one("credentials", "")
    return "", Told("credentials", ("set",), reference.fingerprint)


def _digest(text: str) -> str:
    if not text:
        return ""
    return f"SHA-256 {sha256(text.encode()).hexdigest()[:DIGEST_SHOWN_CHARACTERS]}"


def _word(number: IntEnum) -> str:
    return number.name.lower().replace("_", " ")


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
