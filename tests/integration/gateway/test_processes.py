"""Both gateway processes with real peers: what a user, an admin and an operator see."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import aiohttp
import grpc
import grpc.aio
import psutil
import pytest
from devstack.rest import Rest, RestRefused
from eventflows.gateway.v1 import gateway_pb2 as pb
from eventflows.gateway.v1 import gateway_pb2_grpc
from servicekit.failures import error_from_status
from servicekit.rpc import rpc_channel

from tests.integration.gateway.cluster import Cluster, Owner

WAIT_S = 30.0
POLL_PAUSE_S = 0.05
ROLE = "arn:aws:iam::783449028191:role/reader"
QUEUE = "https://sqs.us-west-2.amazonaws.com/783449028191/demo-queue"


async def test_the_two_commands_of_the_page_answer_as_it_says(
    cluster: Cluster, owner: Owner, model_url: str
) -> None:
    name = await cluster.endpoint_algorithm(owner, model_url, callability="private")
    user = await cluster.admin.get(f"/v1/users/{owner.name}")
    assert list(user) == [
        "id", "username", "email", "fullname", "company_role", "self_link", "resource_type",
    ]  # fmt: skip
    assert user["self_link"] == f"{cluster.rest_url}/v1/users/{owner.name}"
    body = {
        "sourceType": "AmazonSQS", "sourceURI": QUEUE, "algoName": name, "algoOwner": owner.name,
        "credentials": ROLE,
    }  # fmt: skip
    made = await owner.rest.post(f"/v1/users/{user['id']}/event-listeners", body)
    listed = await owner.rest.get(f"/v1/users/{user['id']}/event-listeners")
    assert listed == [{"id": made["id"], **body, "listenerOwner": owner.name}]


async def test_a_run_goes_through_to_the_model_and_back(
    cluster: Cluster, owner: Owner, model_url: str
) -> None:
    name = await cluster.endpoint_algorithm(owner, model_url, callability="private")
    answer = await owner.rest.post(f"/v1/algo/{owner.name}/{name}/0.1.0", {"n": 1})
    assert answer["result"] == {"echo": {"n": 1}}
    assert answer["metadata"]["content_type"] == "json"
    answer = await owner.rest.post(f"/v1/algo/algo://{owner.name}/{name}/latestPrivate", [2])
    assert answer["result"] == {"echo": [2]}
    stranger = await cluster.owner()
    status, refused = await stranger.rest.answer("POST", f"/v1/algo/{owner.name}/{name}/0.1.0", {})
    assert (status, refused["error"]["code"]) == (404, 9004)


async def test_a_chunked_input_of_ten_mebibytes_passes_and_one_more_byte_does_not(
    cluster: Cluster, owner: Owner, model_url: str
) -> None:
    name = await cluster.endpoint_algorithm(owner, model_url, callability="private")
    url = f"{cluster.rest_url}/v1/algo/{owner.name}/{name}/0.1.0"
    headers = {"Authorization": owner.key, "Content-Type": "application/json"}
    filling = 10 * 1024 * 1024 - 2

    async def chunks(size: int) -> Any:
        yield b'"'
        for start in range(0, size, 64 * 1024):
            yield b"x" * min(64 * 1024, size - start)
        yield b'"'

    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        async with session.post(url, data=chunks(filling)) as answer:
            assert answer.status == 200, await answer.text()
            result = (await answer.json())["result"]
            assert result["echo"] == "x" * filling
        async with session.post(url, data=chunks(filling + 1)) as answer:
            assert answer.status == 413
            assert (await answer.json())["error"]["code"] == 9013


async def test_a_connection_is_tested_and_its_topics_are_listed_live(
    cluster: Cluster, owner: Owner, model_url: str
) -> None:
    topic = f"images-{owner.name}"
    await cluster.kafka.create_topic(topic, partitions=3)
    body = {
        "name": f"broker-{owner.name}", "broker_url": cluster.kafka.bootstrap_servers,
        "connection_type": "kafka_unauthenticated_plaintext",
    }  # fmt: skip
    made = await cluster.admin.post("/v1/admin/broker-connections", body)
    path = f"/v1/admin/broker-connections/{made['id']}"
    tested = await cluster.admin.post(f"{path}/test", {})
    assert tested["connected"] is True, tested
    assert tested["brokers"] == 1
    name = await cluster.endpoint_algorithm(owner, model_url, callability="private")
    rows = [{"algorithm": f"{owner.name}/{name}", "api_type": "subscriber"}]
    await cluster.admin.put(f"{path}/topics/{topic}", {"algorithms": rows})
    topics = (await cluster.admin.get(f"{path}/topics"))["topics"]
    assert {"name": topic, "partitions": 3, "algorithms": rows} in topics


async def test_an_enabled_flow_runs_and_says_so(
    cluster: Cluster, owner: Owner, model_url: str
) -> None:
    topic = f"records-{owner.name}"
    await cluster.kafka.create_topic(topic, partitions=2)
    body = {
        "name": f"broker-{owner.name}", "broker_url": cluster.kafka.bootstrap_servers,
        "connection_type": "kafka_unauthenticated_plaintext",
    }  # fmt: skip
    made = await cluster.admin.post("/v1/admin/broker-connections", body)
    name = await cluster.endpoint_algorithm(owner, model_url, callability="private")
    rows = [{"algorithm": f"{owner.name}/{name}", "api_type": "subscriber"}]
    await cluster.admin.put(
        f"/v1/admin/broker-connections/{made['id']}/topics/{topic}", {"algorithms": rows}
    )
    path = f"/v1/algorithms/{owner.name}/{name}/event-flows"
    (flow,) = await owner.rest.get(path)
    assert flow["state"] == "disabled"
    await owner.rest.put(f"{path}/{flow['id']}", {"enabled": True, "algorithm_version": "0.1.0"})
    async with asyncio.timeout(WAIT_S):
        while (shown := (await owner.rest.get(path))[0])["state"] != "running":
            assert shown["state"] in ("enabled", "starting"), shown
            await asyncio.sleep(POLL_PAUSE_S)
    assert shown["live"]["worker"]
    page = await cluster.admin.get("/v1/admin/event-flows?state=running")
    assert flow["id"] in {one["id"] for one in page["results"]}
    await _is_paused_and_resumed_over_grpc(cluster, owner, f"{owner.name}/{name}", flow["id"])


async def _is_paused_and_resumed_over_grpc(
    cluster: Cluster, owner: Owner, algorithm: str, flow: str
) -> None:
    """By its owner and by an admin; it has no dead letters, which the index knows."""
    async with rpc_channel(cluster.devstack.gateway_address, None) as channel:
        flows: Any = gateway_pb2_grpc.EventFlowsStub(channel)
        letters: Any = gateway_pb2_grpc.DeadLettersStub(channel)
        by_owner = (("authorization", f"Simple {owner.key}"),)
        by_admin = (("authorization", f"Simple {cluster.admin_key}"),)
        await flows.PauseEventFlow(
            pb.PauseEventFlowRequest(algorithm=algorithm, id=flow), metadata=by_owner
        )
        await _until_state(flows, pb.GetEventFlowRequest(algorithm=algorithm, id=flow), by_owner)
        resumed = await flows.ResumeEventFlow(pb.ResumeEventFlowRequest(id=flow), metadata=by_admin)
        assert not resumed.HasField("paused")
        for metadata, named in ((by_owner, algorithm), (by_admin, "")):
            found = await letters.ListDeadLetters(
                pb.ListDeadLettersRequest(algorithm=named, flow=flow), metadata=metadata
            )
            assert list(found.dead_letters) == []
            counted = await letters.RedriveDeadLetters(
                pb.RedriveDeadLettersRequest(algorithm=named, flow=flow, dry_run=True),
                metadata=metadata,
            )
            assert counted.letters == 0


async def _until_state(flows: Any, request: pb.GetEventFlowRequest, metadata: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await flows.GetEventFlow(request, metadata=metadata)).state != "paused":
            await asyncio.sleep(POLL_PAUSE_S)


async def test_grpc_sees_what_rest_wrote(cluster: Cluster, owner: Owner) -> None:
    async with rpc_channel(cluster.devstack.gateway_address, None) as channel:
        users: Any = gateway_pb2_grpc.UsersStub(channel)
        metadata = (("authorization", f"Simple {cluster.admin_key}"),)
        # Another process with a catalog of its own: it may be a moment behind.
        async with asyncio.timeout(WAIT_S):
            while (user := await _user_or_none(users, owner.name, metadata)) is None:
                await asyncio.sleep(POLL_PAUSE_S)
    assert user.id == owner.id
    assert user.self_link == f"{cluster.rest_url}/v1/users/{owner.name}"


async def _user_or_none(users: Any, name: str, metadata: Any) -> pb.User | None:
    try:
        user: pb.User = await users.GetUser(pb.GetUserRequest(name_or_id=name), metadata=metadata)
    except grpc.aio.AioRpcError as error:
        if error_from_status(error).code == 3000:
            return None
        raise
    return user


async def test_what_one_process_creates_twice_is_one_thing(cluster: Cluster) -> None:
    body = {"username": "only_once", "email": "only_once@x.io"}
    headers = {"Idempotency-Key": "a wish"}
    calls = [cluster.admin.call("POST", "/v1/users", body, headers=headers) for _ in range(4)]
    answers = await asyncio.gather(*calls)
    assert answers == [answers[0]] * 4


async def test_the_registrys_rules_reach_the_caller(cluster: Cluster, owner: Owner) -> None:
    with pytest.raises(RestRefused) as refused:
        await cluster.admin.post("/v1/users", {"username": "1st", "email": "a@b"})
    assert refused.value.status == 400
    assert "username" in refused.value.body["error"]["message"]
    with pytest.raises(RestRefused) as refused:
        await cluster.admin.post("/v1/users", {"username": owner.name, "email": "a@b"})
    assert (refused.value.status, refused.value.body["error"]["code"]) == (409, 3003)


async def test_metrics_count_requests(cluster: Cluster) -> None:
    await cluster.admin.get("/v1/users")
    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(cluster.devstack.metrics_url("rest")) as page,
    ):
        text = await page.text()
    assert (
        'eventflows_gateway_requests_total{operation="list_users",protocol="rest",status="200"}'
        in text
    )


async def test_one_process_is_all_there_is(cluster: Cluster) -> None:
    for service in (cluster.rest, cluster.rpc):
        assert psutil.Process(service.process.pid).children(recursive=True) == []


async def test_no_key_stands_in_any_log(cluster: Cluster, owner: Owner) -> None:
    await owner.rest.answer("POST", "/v1/users", {"username": owner.key})
    for service in (cluster.rest, cluster.rpc, cluster.registry):
        text = service.log_path.read_text()
        assert owner.key not in text
        assert cluster.admin_key not in text


async def test_sigterm_lets_a_run_end_and_then_the_process(
    cluster: Cluster, owner: Owner, model_url: str
) -> None:
    name = await cluster.endpoint_algorithm(owner, model_url, callability="private")
    started, release = asyncio.Event(), asyncio.Event()

    async def slow() -> Any:
        yield b'{"n":'
        started.set()
        await release.wait()
        yield b"1}"

    url = f"{cluster.rest_url}/v1/algo/{owner.name}/{name}/0.1.0"
    headers = {"Authorization": owner.key, "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:

        async def run() -> tuple[int, Any]:
            async with session.post(url, data=slow()) as answer:
                return answer.status, await answer.json()

        running = asyncio.create_task(run())
        await started.wait()
        process = cluster.rest.process
        os.kill(process.pid, signal.SIGTERM)
        await _stops_listening(cluster.rest_url)
        release.set()
        status, answer = await running
    assert (status, answer["result"]) == (200, {"echo": {"n": 1}})
    assert await cluster.rest.finish(timeout_s=WAIT_S) == 0
    await cluster.rest.start()
    assert (await cluster.admin.get(f"/v1/users/{owner.name}"))["id"] == owner.id


async def _stops_listening(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(POLL_PAUSE_S)


async def test_without_the_registry_reads_go_on_and_changes_are_refused(
    cluster: Cluster, owner: Owner
) -> None:
    await cluster.registry.stop()
    try:
        assert (await cluster.admin.get(f"/v1/users/{owner.name}"))["id"] == owner.id
        body = {"username": "too_late", "email": "too_late@x.io"}
        status, answer = await cluster.admin.answer("POST", "/v1/users", body)
        assert (status, answer["error"]["code"]) == (503, 9003)
        await _age_is_shown(cluster)
        assert (await cluster.admin.get(f"/v1/users/{owner.name}"))["id"] == owner.id
    finally:
        await cluster.registry.start()
    async with asyncio.timeout(WAIT_S):
        while (await cluster.admin.answer("POST", "/v1/users", body))[0] == 503:
            await asyncio.sleep(POLL_PAUSE_S)
    assert (await cluster.admin.get("/v1/users/too_late"))["username"] == "too_late"


async def _age_is_shown(cluster: Cluster) -> None:
    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    headers = {"Authorization": cluster.admin_key}
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
        asyncio.timeout(WAIT_S),
    ):
        age = None
        while age is None:
            async with session.get(f"{cluster.rest_url}/v1/users?limit=1") as answer:
                assert answer.status == 200
                age = answer.headers.get("X-Eventflows-Catalog-Age-Seconds")
            await asyncio.sleep(POLL_PAUSE_S)
    assert float(age) >= 2


async def test_a_killed_gateway_starts_again_and_knows_everything(
    cluster: Cluster, owner: Owner
) -> None:
    cluster.rest.kill()
    await cluster.rest.start()
    async with Rest(cluster.rest_url, cluster.admin_key) as rest:
        assert (await rest.get(f"/v1/users/{owner.name}"))["id"] == owner.id
