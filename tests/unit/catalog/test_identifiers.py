"""Derived ids never change: ids in every log depend on them."""

from catalog.events import ApiType
from catalog.identifiers import completions_topic, granted_flow_id, topic_access_id

CONNECTION = "3b9d4f43-0b9e-4b1f-8e1f-0d6b8f3f2a10"
ALGORITHM = "8c1c8e0f-5c0b-4c56-9d3e-6a4a4d0a7f11"


def test_the_id_of_a_topics_access_stays_what_it_always_was() -> None:
    found = topic_access_id(connection_id=CONNECTION, topic="images")
    assert found == "645f2253-1758-5bb6-ab1d-8a15d359372d"


def test_the_id_of_a_granted_flow_stays_what_it_always_was() -> None:
    found = granted_flow_id(
        connection_id=CONNECTION,
        topic="images",
        algorithm_id=ALGORITHM,
        api_type=ApiType.SUBSCRIBER,
    )
    assert found == "b4c80713-b1bb-59af-9697-1beb569a57e8"


def test_both_directions_have_different_flows() -> None:
    ids = {
        granted_flow_id(
            connection_id=CONNECTION, topic="images", algorithm_id=ALGORITHM, api_type=api_type
        )
        for api_type in ApiType
    }
    assert len(ids) == len(ApiType)


def test_the_completions_topic_carries_the_algorithms_id() -> None:
    assert completions_topic(ALGORITHM) == f"completions.{ALGORITHM}"
