"""Runs last: after all that the other tests did, no secret stands where it must not."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.e2e.conftest import Landscape
from tests.support.http import get_text

CHUNK_BYTES = 1 << 20


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
    needles = _secrets(landscape)
    processes = [
        one for service in landscape.cluster.services for one in _family(service.process.pid)
    ]
    assert len(processes) >= len(landscape.cluster.services)
    for process in processes:
        for page in ("environ", "cmdline"):
            text = Path(f"/proc/{process.pid}/{page}").read_bytes()
            held = [name for name, needle in needles.items() if needle in text]
            assert held == [], (process.name(), page)


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
    answers = "\n".join(landscape.answers).encode()
    assert [name for name, needle in needles.items() if needle in answers] == []
    assert answers.count(owner_key) == 1


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
