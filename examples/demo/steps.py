"""What people do with the public API, a function a step; end-to-end tests walk the same way."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from devstack import Kafka
from devstack.rest import Rest

GIT_TIMEOUT_S = 30.0
POLL_PAUSE_S = 0.05
FLOW_TIMEOUT_S = 60.0

Flow = dict[str, Any]


class StepFailed(Exception):
    """A step of the story did not come out as it should."""


async def make_account(admin: Rest, username: str) -> tuple[str, str]:
    """A user with a standard key: (user id, key)."""
    user = await admin.post("/v1/users", {"username": username, "email": f"{username}@example.com"})
    key = await admin.post(f"/v1/users/{username}/keys", {"key_type": "AlgorithmKey"})
    return user["id"], key["api_key"]


async def make_repository(source: Path, folder: Path) -> str:
    """A git repository with the files of `source` and one commit: its URL."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    identity = ["-c", "user.name=Demo", "-c", "user.email=demo@example.com"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "first"]):
        run = await asyncio.create_subprocess_exec("git", *words, cwd=folder)
        async with asyncio.timeout(GIT_TIMEOUT_S):
            if await run.wait() != 0:
                raise StepFailed(f"git {words[0]} failed in {folder}")
    return folder.resolve().as_uri()


async def publish_algorithm(owner_rest: Rest, *, owner: str, name: str, source: Flow) -> str:
    """Create, compile and publish `owner/name`; returns the version."""
    await owner_rest.post(f"/v1/algorithms/{owner}", algorithm_body(name, source))
    return await publish_version(owner_rest, owner=owner, name=name)


async def publish_version(owner_rest: Rest, *, owner: str, name: str) -> str:
    """Compile and publish what stands in the algorithm's source now; returns the version."""
    built = await owner_rest.post(f"/v1/algorithms/{owner}/{name}/compile", {})
    if not built["compilation"]["successful"]:
        raise StepFailed(f"the build of {owner}/{name} failed:\n{built['compilation']['output']}")
    published = await owner_rest.post(f"/v1/algorithms/{owner}/{name}/versions", {})
    return str(published["version_info"]["semantic_version"])


def algorithm_body(name: str, source: Flow) -> Flow:
    """What an owner sends to create an algorithm."""
    return {
        "name": name,
        "details": {"label": name},
        "settings": {
            "source_visibility": "closed",
            "license": "apl",
            "network_access": "full",
            "pipeline_enabled": True,
            "algorithm_environment": "python3",
        },
        "source": source,
    }


async def connect_kafka(admin: Rest, kafka: Kafka, *, name: str) -> str:
    """The admin's link to a customer's cluster; returns the connection's id."""
    answer = await admin.post("/v1/admin/broker-connections", connection_body(kafka, name=name))
    return str(answer["id"])


def connection_body(kafka: Kafka, *, name: str) -> dict[str, Any]:
    """What an admin fills in to connect a cluster with SCRAM over TLS."""
    return {
        "name": name,
        "broker_url": kafka.bootstrap_servers,
        "connection_type": "kafka_sasl_ssl",
        "broker_username": kafka.username,
        "broker_password": kafka.password,
        "ca_certificate": kafka.ca_pem,
        "sasl_mechanism": "SCRAM-SHA-512",
    }


async def grant(admin: Rest, *, connection: str, topic: str, algorithms: dict[str, str]) -> None:
    """Replace the grants of a topic: `{"owner/name": "publisher"}`."""
    rows = [{"algorithm": name, "api_type": kind} for name, kind in algorithms.items()]
    await admin.put(
        f"/v1/admin/broker-connections/{connection}/topics/{topic}", {"algorithms": rows}
    )


async def flows_of(owner_rest: Rest, algorithm: str) -> list[Flow]:
    """All flows of `owner/name` with their state."""
    return list(await owner_rest.get(f"/v1/algorithms/{algorithm}/event-flows"))


async def flow_of(owner_rest: Rest, algorithm: str, *, topic: str, api_type: str) -> Flow:
    """The flow of one topic and direction. Raises StepFailed when there is none."""
    for flow in await flows_of(owner_rest, algorithm):
        if flow["topic"] == topic and flow["api_type"] == api_type:
            return flow
    raise StepFailed(f"{algorithm} has no {api_type} flow on {topic}: was it granted?")


async def enable(
    owner_rest: Rest, algorithm: str, *, topic: str, api_type: str, version: str, **settings: Any
) -> str:
    """Enable a granted flow with a version; returns the flow's id."""
    flow = await flow_of(owner_rest, algorithm, topic=topic, api_type=api_type)
    body = {"enabled": True, "algorithm_version": version, **settings}
    await owner_rest.put(f"/v1/algorithms/{algorithm}/event-flows/{flow['id']}", body)
    return str(flow["id"])


async def listen_to_queue(owner_rest: Rest, user_id: str, algorithm: str) -> str:
    """An event listener on the SQS queue of Algorithmia's page; returns its id."""
    owner, name = algorithm.split("/")
    listener = await owner_rest.post(
        f"/v1/users/{user_id}/event-listeners",
        {
            "sourceType": "AmazonSQS",
            "sourceURI": "https://sqs.us-west-2.amazonaws.com/783449028191/demo-queue",
            "algoOwner": owner,
            "algoName": name,
            "credentials": "arn:aws:iam::783449028191:role/demo-sqs-event-flow-algoqueuerole",
        },
    )
    return str(listener["id"])


async def wait_for_flows(
    owner_rest: Rest,
    algorithm: str,
    wanted: Callable[[Flow], bool],
    *,
    ids: Collection[str],
    timeout_s: float = FLOW_TIMEOUT_S,
) -> list[Flow]:
    """Return when `wanted` holds for all flows in `ids`. Raises StepFailed with their state."""
    deadline = time.monotonic() + timeout_s
    while True:
        flows = [flow for flow in await flows_of(owner_rest, algorithm) if flow["id"] in ids]
        if len(flows) == len(ids) and all(map(wanted, flows)):
            return flows
        if time.monotonic() > deadline:
            raise StepFailed(f"after {timeout_s:g} s the flows are still {flows}")
        await asyncio.sleep(POLL_PAUSE_S)


def is_running(flow: Flow) -> bool:
    """A worker runs it and has its partitions."""
    return bool(flow["state"] == "running")
