"""From the catalog to the spec of a pump, for every kind of flow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from catalog.catalog import Catalog
from catalog.events import (
    ApiType,
    ConnectionCredentialsShredded,
    ConnectionUpdated,
    DeliverySettings,
    FlowEnabled,
    SecretRef,
)
from catalog.identifiers import completions_topic
from router.application.plans import BlockedFlow, FlowPlans
from router.domain.flow_spec import (
    CONCURRENCY_DEFAULT,
    CONCURRENCY_MAX,
    INTERNAL_CONNECTION,
    PARALLELISM_MAX,
    AlgorithmName,
    AlgorithmTargetSpec,
    FlowSpec,
    KafkaSourceSpec,
    KafkaTargetSpec,
    same_flow,
)
from router.domain.run_mode import RunMode, Steering

from tests.support.event_log import EventLog, id_of

ECHO = AlgorithmName(algorithm_id=id_of("acme/echo"), owner="acme", name="echo")
SUM = AlgorithmName(algorithm_id=id_of("acme/sum"), owner="acme", name="sum")


class Feed:
    """A catalog that a log tells."""

    def __init__(self, log: EventLog) -> None:
        self.catalog: Catalog = log.catalog()

    async def changes(self) -> AsyncIterator[int]:
        yield self.catalog.position


@pytest.fixture
def log() -> EventLog:
    """Two algorithms and a connection."""
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/echo", "1.0.0", "1.1.0")
    log.algorithm("acme/sum", "2.0.0")
    log.connection("cluster")
    return log


def plans_of(log: EventLog, *, complete: bool = True) -> FlowPlans:
    return FlowPlans(Feed(log), group_prefix="prefix", is_complete=lambda: complete)


def spec_of_flow(log: EventLog, flow_id: str) -> FlowSpec:
    plan = plans_of(log).plan(flow_id)
    assert isinstance(plan, FlowSpec), plan
    return plan


def test_a_subscriber_flow_reads_its_topic_and_runs_its_algorithm(log: EventLog) -> None:
    flow_id = log.subscribe("cluster", "images", "acme/echo")
    spec = spec_of_flow(log, flow_id)
    assert spec.source == KafkaSourceSpec(
        connection_id=id_of("cluster"), topic="images", group_id=f"prefix-{flow_id}"
    )
    assert spec.target == AlgorithmTargetSpec(algorithm=ECHO, version="1.1.0")
    assert (spec.algorithm, spec.version) == (ECHO, "1.1.0")
    assert spec.account_id == id_of("acme")
    assert (spec.dead_letter_topic, spec.dead_letter_connection_id) == (None, None)
    assert spec.registry_position == len(log.recorded)
    assert spec.enabled_position == len(log.recorded)


def test_a_publisher_flow_reads_the_completions_and_writes_its_topic(log: EventLog) -> None:
    flow_id = log.publish_to("cluster", "labels", "acme/echo")
    spec, flow = spec_of_flow(log, flow_id), log.catalog().flow(flow_id)
    assert flow is not None
    assert spec.source == KafkaSourceSpec(
        connection_id=INTERNAL_CONNECTION,
        topic=completions_topic(id_of("acme/echo")),
        group_id=f"prefix-{flow_id}",
        wanted_since=flow.enabled_time,
    )
    assert spec.source.wanted_since is not None
    assert spec.target == KafkaTargetSpec(connection_id=id_of("cluster"), topic="labels")


def test_a_chain_flow_reads_the_completions_of_one_and_runs_the_other(log: EventLog) -> None:
    spec = spec_of_flow(log, log.chain("acme/echo", "acme/sum"))
    assert spec.source.topic == completions_topic(id_of("acme/echo"))
    assert (spec.algorithm, spec.version) == (ECHO, "1.1.0")
    assert spec.target == AlgorithmTargetSpec(algorithm=SUM, version="2.0.0")


def test_a_dead_letter_topic_is_one_of_the_flows_own_connection(log: EventLog) -> None:
    flow_id = log.grant("cluster", "images", "acme/echo", ApiType.SUBSCRIBER)
    log.grant("cluster", "broken", "acme/echo", ApiType.DEAD_LETTER)
    log.enable(flow_id, dead_letters="broken")
    spec = spec_of_flow(log, flow_id)
    assert spec.dead_letter_topic == "broken"
    assert spec.dead_letter_connection_id == id_of("cluster")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(0, CONCURRENCY_DEFAULT), (7, 7), (CONCURRENCY_MAX + 1, CONCURRENCY_MAX)],
)
def test_settings_of_a_flow_reach_its_spec_within_limits(
    log: EventLog, given: int, wanted: int
) -> None:
    flow_id = log.subscribe("cluster", "images", "acme/echo")
    settings = FlowEnabled(
        flow_id=flow_id, algorithm_version="1.0.0", concurrency_max=given, timeout_s=30
    )
    log.add(flow_id, settings)
    spec = spec_of_flow(log, flow_id)
    assert (spec.concurrency_max, spec.timeout_s, spec.version) == (wanted, 30, "1.0.0")


def test_settings_that_no_pump_can_run_block_the_flow_and_no_other(log: EventLog) -> None:
    flow_id = log.subscribe("cluster", "images", "acme/echo")
    log.add(flow_id, FlowEnabled(flow_id=flow_id, concurrency_max=-1))
    other_id = log.subscribe("cluster", "other", "acme/echo")
    plans = plans_of(log)
    blocked = plans.plan(flow_id)
    assert isinstance(blocked, BlockedFlow)
    assert "concurrency_max" in blocked.reason
    assert isinstance(plans.plan(other_id), FlowSpec)


def test_a_flow_whose_grant_is_gone_is_blocked_with_the_reason(log: EventLog) -> None:
    flow_id = log.subscribe("cluster", "images", "acme/echo")
    log.set_access("cluster", "images")
    plan = plans_of(log).plan(flow_id)
    assert isinstance(plan, BlockedFlow)
    assert "images" in plan.reason


def test_a_disabled_flow_has_no_plan_and_is_known(log: EventLog) -> None:
    flow_id = log.subscribe("cluster", "images", "acme/echo")
    log.disable(flow_id)
    plans = plans_of(log)
    assert plans.plan(flow_id) is None
    assert plans.is_known(flow_id)
    assert plans.enabled() == ()
    assert not plans.is_known("nobody")


def test_no_flow_is_enabled_before_the_log_was_read_to_its_head(log: EventLog) -> None:
    flow_id = log.subscribe("cluster", "images", "acme/echo")
    assert plans_of(log, complete=False).enabled() == ()
    assert plans_of(log).enabled() == (flow_id,)


def catch_up(feed: Feed, log: EventLog) -> None:
    for recorded in log.recorded[feed.catalog.position :]:
        feed.catalog.apply(recorded)


def test_a_followed_plan_is_kept_until_something_touches_it(log: EventLog) -> None:
    flow_id, other_id = (log.subscribe("cluster", t, "acme/echo") for t in ("images", "other"))
    log.algorithm("acme/apart", "1.0.0")
    apart_id = log.subscribe("cluster", "apart", "acme/apart")
    feed = Feed(log)
    plans = FlowPlans(feed, group_prefix="prefix", is_complete=lambda: True)
    assert plans.touched() == {flow_id, other_id, apart_id}
    before = plans.follow(flow_id), plans.follow(apart_id)
    assert plans.touched() == set()
    log.publish("acme/echo", "3.0.0")
    catch_up(feed, log)
    assert plans.touched() == {flow_id}, "one that is not followed has no plan to be wrong"
    after = plans.follow(flow_id)
    assert isinstance(after, FlowSpec)
    assert after.version == "3.0.0"
    assert plans.follow(apart_id) is before[1]
    plans.forget(flow_id)
    log.publish("acme/echo", "4.0.0")
    catch_up(feed, log)
    assert plans.touched() == set()


def test_a_circle_that_opens_touches_the_flow_that_closed_it(log: EventLog) -> None:
    """Its own record, algorithm, topic and connection are what they were before."""
    first_id = log.subscribe("cluster", "images", "acme/echo")
    last_id = log.publish_to("cluster", "images", "acme/echo")
    feed = Feed(log)
    plans = FlowPlans(feed, group_prefix="prefix", is_complete=lambda: True)
    plans.touched()
    assert isinstance(plans.follow(last_id), BlockedFlow)
    log.disable(first_id)
    catch_up(feed, log)
    assert plans.touched() == {first_id, last_id}
    assert isinstance(plans.follow(last_id), FlowSpec)


def test_what_happens_to_a_flow_itself_touches_it_followed_or_not(log: EventLog) -> None:
    flow_id = log.subscribe("cluster", "images", "acme/echo")
    feed = Feed(log)
    plans = FlowPlans(feed, group_prefix="prefix", is_complete=lambda: True)
    plans.touched()
    for change in (log.pause, log.resume, log.disable, log.enable, log.delete):
        change(flow_id)
        catch_up(feed, log)
        assert plans.touched() == {flow_id}, change
        assert plans.touched() == set()


def test_a_pause_steers_the_flow_and_leaves_its_plan(log: EventLog) -> None:
    flow_id = log.subscribe("cluster", "images", "acme/echo")
    assert plans_of(log).steering(flow_id) == Steering()
    before = spec_of_flow(log, flow_id)
    log.pause(flow_id, drain=True, reason="the model is being replaced")
    steering = plans_of(log).steering(flow_id)
    assert steering == Steering(mode=RunMode.DRAINED, reason="the model is being replaced")
    assert same_flow(spec_of_flow(log, flow_id), before)
    log.resume(flow_id)
    assert plans_of(log).steering(flow_id) == Steering(resumed_position=len(log.recorded))
    log.pause(flow_id)
    assert plans_of(log).steering(flow_id).mode is RunMode.PAUSED
    assert plans_of(log).steering("nobody") == Steering()


def test_a_flow_has_as_many_instances_as_its_settings_say(log: EventLog) -> None:
    flow_id = log.subscribe("cluster", "images", "acme/echo")
    assert plans_of(log).instances(flow_id) == 1
    for asked, given in ((3, 3), (PARALLELISM_MAX + 1, PARALLELISM_MAX)):
        settings = FlowEnabled(flow_id=flow_id, delivery=DeliverySettings(parallelism=asked))
        log.add(flow_id, settings)
        assert plans_of(log).instances(flow_id) == given
    assert plans_of(log, complete=False).instances(flow_id) == 0
    log.disable(flow_id)
    assert plans_of(log).instances(flow_id) == 0


def test_what_a_client_is_made_of_makes_a_new_spec_and_a_new_name_does_not(log: EventLog) -> None:
    log.connection("secured", secured=True)
    flow_id = log.subscribe("secured", "images", "acme/echo")
    before = spec_of_flow(log, flow_id)
    connection = log.catalog().connection(id_of("secured"))
    assert connection is not None
    stands = ConnectionUpdated(
        connection_id=id_of("secured"),
        name="another name",
        bootstrap_servers=connection.bootstrap_servers,
        security_protocol=connection.security_protocol,
        sasl_mechanism=connection.sasl_mechanism,
        ca_certificate=connection.ca_certificate,
        credentials=connection.credentials,
    )
    log.add(id_of("secured"), stands)
    assert same_flow(spec_of_flow(log, flow_id), before)
    secret = SecretRef(secret_id=id_of("another secret"), fingerprint=b"12345678")
    for changed in (
        replace(stands, credentials=secret),
        replace(stands, bootstrap_servers=("other:9093",)),
        replace(stands, ca_certificate="pem"),
        replace(stands, sasl_mechanism="PLAIN"),
    ):
        log.add(id_of("secured"), changed)
        assert not same_flow(spec_of_flow(log, flow_id), before), changed


def test_after_a_shredding_the_flow_is_blocked_until_credentials_come(log: EventLog) -> None:
    log.connection("secured", secured=True)
    flow_id = log.subscribe("secured", "images", "acme/echo")
    log.add(id_of("secured"), ConnectionCredentialsShredded(connection_id=id_of("secured")))
    plan = plans_of(log).plan(flow_id)
    assert isinstance(plan, BlockedFlow)
    assert "no credentials: let an admin enter" in plan.reason
