"""Runs last: after all that the other tests did, no secret stands where it must not.

Each place that is searched has a control: what is planted there has to be found.
"""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import psutil
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from examples.demo import steps, traffic
from tests.e2e.canaries import Canaries, lived, secrets_of
from tests.e2e.conftest import OWNER, Landscape
from tests.support.http import get_text
from tests.support.numbered import numbered_records
from tests.support.secret_search import CHUNK_BYTES, SecretSearch, spellings

RESULTS_TIMEOUT_S = 60.0
PLANT_TIMEOUT_S = 10.0


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


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def canaries(landscape: Landscape, used: None) -> Canaries:
    """A connection whose passwords came and went in every way that there is."""
    return await lived(landscape)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def customer_data(
    landscape: Landscape, tmp_path_factory: pytest.TempPathFactory
) -> SecretSearch:
    """For a record of our customer's that its algorithm quotes in each failure: it is retried until
    the flow backs off, and then halts its key."""
    word = f"customer-{secrets.token_hex(20)}"
    algorithm, version = await landscape.algorithm(tmp_path_factory.mktemp("quoting"))
    topic = await landscape.topic("quoted", partitions=1)
    rule = {"failure": "algorithm_error", "attempts_max": 4, "give_up": "halt_key"}
    flow = await landscape.wire(algorithm, version, topic, "subscriber", retries=[rule])
    await landscape.running(algorithm, flow)
    value = json.dumps({"id": word, "fail": True}).encode()
    async with traffic.producer(landscape.cluster.customer_kafka) as client:
        await client.send_and_wait(topic, key=word.encode(), value=value)
    (halted,) = await steps.wait_for_flows(
        landscape.owner, algorithm, lambda one: bool(one["state"] == "halted"), ids=[flow]
    )
    assert word in halted["reason"], "its owner is told"
    return SecretSearch({}, {"customer data": word.encode()})


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


def _found_in_files(landscape: Landscape, search: SecretSearch) -> dict[Path, set[str]]:
    found: dict[Path, set[str]] = {}
    for path in _files(landscape):
        with suppress(FileNotFoundError):  # a segment that was recycled meanwhile
            if held := search.in_file(path):
                found[path] = held
    return found


def _process_pages() -> Iterator[tuple[int, str, bytes]]:
    """(pid, page, its text) of every process of this run: services, their children, servers."""
    for process in psutil.Process().children(recursive=True):
        for page in ("environ", "cmdline"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                yield process.pid, page, Path(f"/proc/{process.pid}/{page}").read_bytes()


def _planted() -> tuple[str, SecretSearch]:
    """A new word, and a search for it."""
    word = f"planted-{secrets.token_hex(20)}"
    return word, SecretSearch({}, {"planted": word.encode()})


def test_the_search_finds_a_secret_in_every_spelling(tmp_path: Path) -> None:
    word, search = _planted()
    for number, spelling in enumerate(spellings(word.encode())):
        across = tmp_path / str(number)
        across.write_bytes(b"x" * (CHUNK_BYTES - 5) + spelling + b"y")
        assert search.in_file(across) == {"planted"}
    for before in range(4):
        inside = b"\xff" * before + word.encode() + b"\xfe\xfd"
        for text in (base64.b64encode(inside), inside.hex().encode()):
            assert search.in_bytes(text) == {"planted"}


async def test_what_is_planted_in_postgresql_is_found_in_its_tables_and_its_wal(
    landscape: Landscape,
) -> None:
    word, search = _planted()
    owner = await asyncpg.connect(landscape.cluster.postgres.dsn, timeout=PLANT_TIMEOUT_S)
    try:
        await owner.execute("CREATE TABLE planted (word text, raw bytea)")
        await owner.execute("INSERT INTO planted VALUES ($1, $2)", word, word.encode())
        await owner.execute("CHECKPOINT")
    finally:
        await owner.close()
    found = _found_in_files(landscape, search)
    assert any("base" in path.parts for path in found), found
    assert any("pg_wal" in path.parts for path in found), found


async def test_what_is_planted_in_kafka_is_found_in_its_data(landscape: Landscape) -> None:
    word, search = _planted()
    kafka = landscape.cluster.kafka
    topic = f"planted-{uuid4()}"
    await kafka.create_topic(topic, 1)
    async with AIOKafkaProducer(**kafka.client_settings()) as producer:
        await producer.send_and_wait(topic, base64.b64encode(word.encode()))
    found = _found_in_files(landscape, search)
    assert {path.parent.name for path in found} == {f"{topic}-0"}


def test_every_log_is_among_the_files(landscape: Landscape) -> None:
    """Each process of ours says in its log what it is; so the search reads what they write."""
    says = SecretSearch({"says who it is": b'"service"'}, {})
    logs = {path.name for path in _found_in_files(landscape, says) if path.suffix == ".log"}
    names = {service.log_path.name for service in landscape.cluster.services}
    assert len(names) == len(landscape.cluster.services)
    assert names <= logs
    servers = {landscape.cluster.postgres.log_path, landscape.cluster.kafka.log_path}
    assert servers <= set(_files(landscape))


def test_no_secret_stands_in_any_data_directory_or_log(
    landscape: Landscape, canaries: Canaries
) -> None:
    assert _found_in_files(landscape, canaries.search(landscape)) == {}


def test_no_log_holds_a_record_although_its_algorithm_quotes_it(
    landscape: Landscape, customer_data: SecretSearch
) -> None:
    """What each of our services and servers logs, at the level that they have by default."""
    cluster = landscape.cluster
    logs = [service.log_path for service in cluster.services]
    says = SecretSearch({"says what happened": b"a key halts"}, {})
    assert any(says.in_file(path) for path in logs)
    logs += [cluster.postgres.log_path, cluster.kafka.log_path]
    assert [path for path in logs if customer_data.in_file(path)] == []


def test_what_is_planted_in_a_process_is_found() -> None:
    in_argument, search_argument = _planted()
    in_environment, search_environment = _planted()
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", in_argument],
        env={"PLANTED": in_environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()  # it is our program by now, no longer a copy of us
        pages = list(_process_pages())
        child.stdin.close()
    assert [p[:2] for p in pages if search_argument.in_bytes(p[2])] == [(child.pid, "cmdline")]
    assert [p[:2] for p in pages if search_environment.in_bytes(p[2])] == [(child.pid, "environ")]


def test_no_secret_stands_in_an_environment_or_an_argument(
    landscape: Landscape, canaries: Canaries
) -> None:
    search, pages = canaries.search(landscape), list(_process_pages())
    searched = {pid for pid, page, text in pages if text}
    assert {service.process.pid for service in landscape.cluster.services} <= searched
    assert {landscape.cluster.postgres.process.pid, landscape.cluster.kafka.process.pid} <= searched
    assert [(pid, page, held) for pid, page, text in pages if (held := search.in_bytes(text))] == []


async def test_no_secret_stands_in_metrics_or_health_pages(
    landscape: Landscape, canaries: Canaries
) -> None:
    search, cluster = canaries.search(landscape), landscape.cluster
    says = SecretSearch({"says who it is": b"process_start_time_seconds"}, {})
    for name in ("registry", "runner", "rest", "rpc", "router-0", "router-1"):
        text = (await get_text(cluster.metrics_url(name))).encode()
        assert says.in_bytes(text), f"{name} gave something else than its metrics"
        assert search.in_bytes(text) == set(), name
    for index in range(2):
        text = (await get_text(cluster.router_health_url(index))).encode()
        assert b'"worker"' in text
        assert search.in_bytes(text) == set(), index


async def test_no_answer_holds_a_secret_but_the_one_that_hands_out_a_key(
    landscape: Landscape, canaries: Canaries
) -> None:
    needles = secrets_of(landscape)
    owner_key = needles.pop("API key 1")
    search = SecretSearch(needles, canaries.passwords)
    answers = "\n".join(landscape.answers).encode()
    assert search.in_bytes(answers) == set()
    assert answers.count(owner_key) == 1, "the one answer that hands it out is among them"
    assert canaries.connection.encode() in answers
    for held in canaries.rpc_answers:
        assert search.in_bytes(held) == set()
        assert owner_key not in held
    assert any(canaries.connection.encode() in held for held in canaries.rpc_answers)
