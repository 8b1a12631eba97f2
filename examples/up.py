"""`make up`: a fresh cluster that stays until Ctrl-C or `make down`; prints addresses and keys."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path

from devstack.cluster import Cluster
from devstack.rest import Rest

from examples.demo import steps

UP_DIR = Path("build/up")
PID_FILE = UP_DIR / "pid"
ENV_FILE = UP_DIR / "env"
PROFILE_FILE = UP_DIR / "eventflows.toml"
CONNECTION_FILE = UP_DIR / "connection.json"
DIGITS = Path(__file__).parent / "digits"
OWNER = "acme"
TOPICS = ("images", "labels")
PARTITIONS = 4


async def main() -> None:
    """Start, print, stay, stop."""
    if running_pid() is not None:
        raise SystemExit("it is up already: `make down` stops it")
    shutil.rmtree(UP_DIR, ignore_errors=True)
    UP_DIR.mkdir(parents=True)
    PID_FILE.write_text(str(os.getpid()))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(
        "starting PostgreSQL, two Kafka clusters, registry, runner, router, gateway …", flush=True
    )
    try:
        await _stay(stop)
    finally:
        PID_FILE.unlink(missing_ok=True)


async def _stay(stop: asyncio.Event) -> None:
    async with Cluster(UP_DIR / "data") as cluster:
        cluster.write_profile(PROFILE_FILE)
        settings = await _first_accounts(cluster) | await _customer(cluster)
        settings["EVENTFLOWS_CONFIG"] = str(PROFILE_FILE.resolve())
        write_private(
            ENV_FILE, "".join(f"export {name}='{value}'\n" for name, value in settings.items())
        )
        width = max(map(len, settings))
        for name, value in settings.items():
            print(f"  {name:<{width}}  {value}")
        print(f"\nthe same as variables: source {ENV_FILE}\nlogs: {cluster.data_dir / 'logs'}")
        print("up. Ctrl-C or `make down` stops everything.", flush=True)
        await stop.wait()
        print("stopping …", flush=True)


async def _first_accounts(cluster: Cluster) -> dict[str, str]:
    """An admin and an owner `acme`, each with a key."""
    admin_key = await cluster.first_admin()
    async with Rest(cluster.rest_url, admin_key) as admin:
        user_id, owner_key = await steps.make_account(admin, OWNER)
    return {
        "API": cluster.rest_url,
        "GRPC": cluster.gateway_address,
        "ADMIN_API_KEY": admin_key,
        "STD_API_KEY": owner_key,
        "USER_ID": user_id,
    }


async def _customer(cluster: Cluster) -> dict[str, str]:
    """What a customer brings: topics, the way into their Kafka, an algorithm's repository."""
    kafka = cluster.customer_kafka
    for topic in TOPICS:
        await kafka.create_topic(topic, partitions=PARTITIONS)
    ca_file = UP_DIR / "customer-ca.pem"
    ca_file.write_text(kafka.ca_pem or "")
    write_private(CONNECTION_FILE, json.dumps(steps.connection_body(kafka, name="customer")))
    repository = UP_DIR / "digits"
    await steps.make_repository(DIGITS, repository)
    return {
        "CUSTOMER_KAFKA": kafka.bootstrap_servers,
        "CUSTOMER_KAFKA_USER": kafka.username or "",
        "CUSTOMER_KAFKA_PASSWORD": kafka.password or "",
        "CUSTOMER_KAFKA_CA": str(ca_file.resolve()),
        "DIGITS": str(repository.resolve()),
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def running_pid() -> int | None:
    """Process id of the `make up` that runs, None if there is none."""
    try:
        pid = int(PID_FILE.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return None
    return pid if b"examples.up" in command else None


if __name__ == "__main__":
    asyncio.run(main())
