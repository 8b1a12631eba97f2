"""Runs last: after all that the other tests did, no secret stands where it must not."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import psutil
import pytest
import pytest_asyncio
from eventflows.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from eventflows.router.v1 import router_pb2, router_pb2_grpc

from examples.demo import steps, traffic
from tests.e2e.conftest import OWNER, Landscape
from tests.support.http import get_text
from tests.support.numbered import numbered_records

CHUNK_BYTES = 1 << 20
RESULTS_TIMEOUT_S = 60.0
RPC_TIMEOUT_S = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def used(landscape: Landscape, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Something to search, also when this file runs alone: a result, a dead letter, a bad build."""
    folder = tmp_path_factory.mktemp("used")
    algorithm, version = await landscape.algorithm(folder)
    images, labels = await landscape.topic("images"), await landscape.topic("labels")
    flows = [
        await landscape.wire(algorithm, version, images, "subscriber"),
        await landscape.wire(algorithm, version, labels, "publisher"),
    ]
    await landscape.running(algorithm, *flows)
    good = numbered_records(10, keys=2)
    kafka = landscape.cluster.customer_kafka
    async with traffic.result_reader(kafka, labels) as reader, traffic.producer(kafka) as client:
        await traffic.produce(client, images, numbered_records(1, keys=1, first=50, fail=True))
        await traffic.produce(client, images, good)
        assert await reader.until(len(good), timeout_s=RESULTS_TIMEOUT_S)
    await landscape.owner.post(
        f"/v1/algorithms/{OWNER}",
        steps.algorithm_body("nowhere", {"git_url": "file:///nowhere/at/all"}),
    )
    built = await landscape.owner.post(f"/v1/algorithms/{OWNER}/nowhere/compile", {})
    assert not built["compilation"]["successful"]


def _secrets(landscape: Landscape) -> dict[str, bytes]:
    """Everything that may stand only where it is meant to be, by name."""
    folder = landscape.cluster.secrets.folder
    password = landscape.cluster.customer_kafka.password
    assert password is not None
    found = {"broker password": password.encode()}
    for number, key in enumerate(landscape.keys):
        found[f"API key {number}"] = key.encode()
    for path in [*folder.glob("*.token"), *folder.glob("*.password"), folder / "master.key"]:
        found[path.name] = path.read_bytes().strip()
    master_key = base64.b64decode(found["master.key"])
    return found | {"raw master key": master_key}


def _files(landscape: Landscape) -> Iterator[Path]:
    """Data of PostgreSQL with its WAL, of our Kafka and services, and all logs.

    Left out: the files that hold the secrets by design, and the customer's own cluster.
    """
    root = landscape.cluster.data_dir
    left_out = {root / "secrets", root / "customer-kafka" / "identity.json"}
    left_out.add(root / "postgres" / "superuser-password")
    for path in root.rglob("*"):
        if path.is_file() and not left_out & {path, *path.parents}:
            yield path


def _holds(path: Path, needles: dict[str, bytes]) -> list[str]:
    overlap = max(map(len, needles.values()))
    tail, found = b"", set()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            text = tail + chunk
            found |= {name for name, needle in needles.items() if needle in text}
            tail = text[-overlap:]
    return sorted(found)


def test_the_search_itself_finds_a_secret(landscape: Landscape, tmp_path: Path) -> None:
    needles = _secrets(landscape)
    planted = tmp_path / "planted"
    planted.write_bytes(b"x" * (CHUNK_BYTES - 5) + needles["broker password"] + b"y")
    assert _holds(planted, needles) == ["broker password"]


def test_no_secret_stands_in_any_data_directory_or_log(landscape: Landscape) -> None:
    needles = _secrets(landscape)
    files = list(_files(landscape))
    assert any("pg_wal" in path.parts for path in files)
    assert any(path.suffix == ".log" for path in files)
    assert {str(path): held for path in files if (held := _holds(path, needles))} == {}


def test_no_secret_stands_in_an_environment_or_an_argument(landscape: Landscape) -> None:
    """Of any process of this run: our services with their children, PostgreSQL, both Kafkas."""
    needles = _secrets(landscape)
    processes = psutil.Process().children(recursive=True)
    assert {one.process.pid for one in landscape.cluster.services} <= {p.pid for p in processes}
    searched = 0
    for process in processes:
        for page in ("environ", "cmdline"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                text = Path(f"/proc/{process.pid}/{page}").read_bytes()
                searched += 1
                held = [name for name, needle in needles.items() if needle in text]
                assert held == [], (process.pid, page)
    assert searched > len(landscape.cluster.services)


async def test_no_secret_stands_in_metrics_or_health_pages(landscape: Landscape) -> None:
    needles = _secrets(landscape)
    cluster = landscape.cluster
    names = ["registry", "runner", "rest", "rpc", "router-0", "router-1"]
    urls = [cluster.metrics_url(name) for name in names]
    urls += [cluster.router_health_url(0), cluster.router_health_url(1)]
    for url in urls:
        text = (await get_text(url)).encode()
        assert [name for name, needle in needles.items() if needle in text] == [], url


async def test_no_answer_holds_a_secret_but_the_one_that_hands_out_a_key(
    landscape: Landscape,
) -> None:
    await landscape.admin.get("/v1/admin/broker-connections")
    await landscape.admin.get(f"/v1/admin/broker-connections/{landscape.connection}")
    needles = _secrets(landscape)
    owner_key = needles.pop("API key 1")
    answers = "\n".join([*landscape.answers, *await _rpc_answers(landscape)]).encode()
    assert [name for name, needle in needles.items() if needle in answers] == []
    assert answers.count(owner_key) == 1


async def _rpc_answers(landscape: Landscape) -> list[str]:
    """What both gRPC sides say of users, flows, topics and the connection."""
    admin, operator = landscape.keys[0], _token(landscape, "operator")
    async with grpc.aio.insecure_channel(landscape.cluster.gateway_address) as channel:
        metadata = (("authorization", f"Simple {admin}"),)
        users = await gateway_pb2_grpc.UsersStub(channel).ListUsers(
            gateway_pb2.ListUsersRequest(), metadata=metadata, timeout=RPC_TIMEOUT_S
        )
        flows = await gateway_pb2_grpc.EventFlowsStub(channel).ListAllEventFlows(
            gateway_pb2.ListAllEventFlowsRequest(), metadata=metadata, timeout=RPC_TIMEOUT_S
        )
    async with grpc.aio.insecure_channel(landscape.cluster.router_addresses[0]) as channel:
        router, metadata = router_pb2_grpc.RouterStub(channel), (("authorization", operator),)
        topics = await router.ListTopics(
            router_pb2.ListTopicsRequest(connection_id=landscape.connection),
            metadata=metadata,
            timeout=RPC_TIMEOUT_S,
        )
        statuses = await router.GetFlowStatus(
            router_pb2.GetFlowStatusRequest(), metadata=metadata, timeout=RPC_TIMEOUT_S
        )
    assert users.users
    assert flows.event_flows
    assert topics.topics
    assert statuses.flows
    return [str(answer) for answer in (users, flows, topics, statuses)]


def _token(landscape: Landscape, role: str) -> str:
    return f"Bearer {landscape.cluster.secrets.token(role).read_text().strip()}"
