"""`make demo`: the whole story with real brokers, told on the terminal and judged at its end.

Exit code 0 only if nothing was lost, no order was broken and the answers are right.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
from aiokafka import AIOKafkaProducer
from devstack import DevstackError
from devstack.cluster import Cluster
from devstack.rest import Rest, RestRefused
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.demo import page, steps, traffic
from examples.demo.records import DemoRecord, demo_records
from examples.demo.report import Facts, print_report
from examples.demo.runs import runs_of
from examples.demo.verdict import judge

RECORDS = 10_000
KEYS = 50
STEADY_RECORDS = 1_500
STEADY_PER_S = 100.0
PARTITIONS = 4
OWNER, NAME = "acme", "digits"
ALGORITHM = f"{OWNER}/{NAME}"
IMAGES, LABELS = "images", "labels"
DIGITS = Path(__file__).parent.parent / "digits"
FOLDER = Path("build/demo")

RESULTS_TIMEOUT_S = 120.0
SETTLE_TIMEOUT_S = 30.0
VERIFY_TIMEOUT_S = 60.0
EXIT_INTERRUPTED = 130


async def main(console: Console) -> bool:
    """Tell the story; True when the verdict is good."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    async with AsyncExitStack() as exits:
        with console.status("starting PostgreSQL, two Kafka clusters and our services …"):
            started_s = time.monotonic()
            cluster = await exits.enter_async_context(Cluster(FOLDER / "data"))
        took_s = time.monotonic() - started_s
        console.print(f"[green]✓[/] everything is up after {took_s:.0f} s")
        admin_key = await cluster.first_admin()
        admin = await exits.enter_async_context(Rest(cluster.rest_url, admin_key))
        user_id, owner_key = await steps.make_account(admin, OWNER)
        owner = await exits.enter_async_context(Rest(cluster.rest_url, owner_key))
        version = await _publish(console, owner, FOLDER)
        connection = await _connect(console, cluster, admin)
        flows = await _enable(console, admin, owner, connection, version)
        facts = await _traffic(console, cluster, owner, flows, exits)
        await steps.listen_to_queue(owner, user_id, ALGORITHM)
        await page.run_commands(
            console, cluster.rest_url, OWNER, user_id, admin_key=admin_key, owner_key=owner_key
        )
        facts.events, facts.chain = await _verify(cluster)
    print_report(console, facts)
    return facts.passed


async def _publish(console: Console, owner: Rest, folder: Path) -> str:
    url = await steps.make_repository(DIGITS, folder / NAME)
    with console.status(f"building {ALGORITHM} from its git repository into its own environment …"):
        version = await steps.publish_algorithm(
            owner, owner=OWNER, name=NAME, source={"git_url": url}
        )
    console.print(f"[green]✓[/] {ALGORITHM} is built and published as {version}")
    return version


async def _connect(console: Console, cluster: Cluster, admin: Rest) -> str:
    kafka = cluster.customer_kafka
    for topic in (IMAGES, LABELS):
        await kafka.create_topic(topic, partitions=PARTITIONS)
    connection = await steps.connect_kafka(admin, kafka, name="customer")
    tested = await admin.post(f"/v1/admin/broker-connections/{connection}/test", {})
    if not tested["connected"]:
        raise steps.StepFailed(f"the customer's Kafka cannot be reached: {tested}")
    topics = await admin.get(f"/v1/admin/broker-connections/{connection}/topics")
    names = ", ".join(f"{t['name']} ({t['partitions']} partitions)" for t in topics["topics"])
    console.print(
        f"[green]✓[/] the admin connected the customer's Kafka; its topics: {names}", soft_wrap=True
    )
    return connection


async def _enable(
    console: Console, admin: Rest, owner: Rest, connection: str, version: str
) -> list[str]:
    wires = ((IMAGES, "subscriber"), (LABELS, "publisher"))
    for topic, api_type in wires:
        await steps.grant(
            admin, connection=connection, topic=topic, algorithms={ALGORITHM: api_type}
        )
    ids = [
        await steps.enable(owner, ALGORITHM, topic=topic, api_type=api_type, version=version)
        for topic, api_type in wires
    ]
    with console.status("waiting for the router to run both flows …"):
        await steps.wait_for_flows(owner, ALGORITHM, steps.is_running, ids=ids)
    console.print(
        f"[green]✓[/] {IMAGES} → {ALGORITHM} → {LABELS} runs with version {version}", soft_wrap=True
    )
    return ids


async def _traffic(
    console: Console, cluster: Cluster, owner: Rest, flows: list[str], exits: AsyncExitStack
) -> Facts:
    records = demo_records(RECORDS + STEADY_RECORDS, keys=KEYS)
    flood, steady = records[:RECORDS], records[RECORDS:]
    reader = await exits.enter_async_context(traffic.result_reader(cluster.customer_kafka, LABELS))
    client = await exits.enter_async_context(traffic.producer(cluster.customer_kafka))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(f"results on {LABELS}", total=len(records))

        def show(count: int) -> None:
            bars.update(bar, completed=count)

        facts = await _flood(console, cluster, reader, client, flood, show)
        if len(reader.numbers) == len(flood):
            facts.latencies_s = await _steadily(reader, client, steady, len(records), show)
    if len(reader.numbers) == len(records):
        await steps.wait_for_flows(
            owner, ALGORITHM, _is_settled, ids=flows, timeout_s=SETTLE_TIMEOUT_S
        )
    await reader.to_the_end(timeout_s=SETTLE_TIMEOUT_S)
    facts.runs = await runs_of(cluster.metrics_url("runner"))
    facts.verdict = judge(records, reader.results)
    return facts


async def _steadily(
    reader: traffic.ResultReader,
    client: AIOKafkaProducer,
    steady: list[DemoRecord],
    total: int,
    show: Callable[[int], None],
) -> list[float]:
    """Records at a fixed rate: how long each took, from when it was due to its result's arrival."""
    due = asyncio.create_task(traffic.produce_steadily(client, IMAGES, steady, per_s=STEADY_PER_S))
    await reader.until(total, timeout_s=RESULTS_TIMEOUT_S, progress=show)
    arrived = reader.arrived_at_s
    return sorted(
        arrived[number] - due_s for number, due_s in (await due).items() if number in arrived
    )


async def _flood(
    console: Console,
    cluster: Cluster,
    reader: traffic.ResultReader,
    client: AIOKafkaProducer,
    flood: list[DemoRecord],
    show: Callable[[int], None],
) -> Facts:
    """All records at once; half-way the router dies and is started again."""
    started_s = time.monotonic()
    producing = asyncio.create_task(traffic.produce(client, IMAGES, flood))
    await reader.until(len(flood) // 2, timeout_s=RESULTS_TIMEOUT_S, progress=show)
    (router,) = cluster.routers
    router.kill()
    killed_s = time.monotonic()
    console.print(
        f"[yellow]![/] the router was killed (SIGKILL) after {len(reader.numbers)} results"
    )
    router.spawn()
    await reader.to_the_end(timeout_s=SETTLE_TIMEOUT_S)
    before = len(reader.numbers)
    taken_over = await reader.until(before + 1, timeout_s=RESULTS_TIMEOUT_S, progress=show)
    takeover_s = (reader.newest_at_s if taken_over else time.monotonic()) - killed_s
    word = "[green]✓[/] taken over after" if taken_over else "[red]✗[/] nobody took over within"
    console.print(f"{word} {takeover_s:.1f} s")
    if taken_over:
        await reader.until(len(flood), timeout_s=RESULTS_TIMEOUT_S, progress=show)
    await producing
    working_s = max(reader.newest_at_s - started_s - takeover_s, 1e-9)
    return Facts(takeover_s=takeover_s, records_per_s=len(reader.numbers) / working_s)


def _is_settled(flow: steps.Flow) -> bool:
    return flow["state"] == "running" and (flow["live"] or {}).get("lag_records") == 0


async def _verify(cluster: Cluster) -> tuple[int, str]:
    """Number of events in the log, and what its verification says."""
    token = cluster.secrets.token("operator").read_text().strip()
    async with grpc.aio.insecure_channel(cluster.registry_address) as channel:
        registry = registry_pb2_grpc.RegistryStub(channel)
        call = registry.VerifyLog(
            registry_pb2.VerifyLogRequest(),
            metadata=(("authorization", f"Bearer {token}"),),
            timeout=VERIFY_TIMEOUT_S,
        )
        *_, answer = [progress async for progress in call]
    return answer.events, "verified" if answer.intact else f"BROKEN: {answer.problem}"


def run() -> int:
    """Exit code: 0 passed, 1 not, 130 interrupted. What failed keeps its logs."""
    console = Console(soft_wrap=True)  # commands are there to be copied
    try:
        passed = asyncio.run(main(console))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (steps.StepFailed, RestRefused, DevstackError, TimeoutError) as error:
        console.print(f"[bold red]failed:[/] {error or type(error).__name__}")
        passed = False
    if passed:
        shutil.rmtree(FOLDER, ignore_errors=True)
        return 0
    console.print(f"what the services say: {FOLDER / 'data' / 'logs'}")
    return 1


if __name__ == "__main__":
    sys.exit(run())
