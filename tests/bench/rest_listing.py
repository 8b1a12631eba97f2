"""`rest.listing_per_s`: ten event listeners as JSON, key checked, beside constant bytes."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from devstack import Process, free_ports
from devstack.cluster import Cluster
from devstack.rest import Rest
from devstack.service import answers_http

from examples.demo import steps
from tests.bench.cores import MEASURED, OTHERS, pin
from tests.bench.measurement import Measurement, measured

REPETITIONS = 3
LOAD_S = 5.0
LISTENERS = 10
OWNER, NAME = "acme", "echo"


async def measure() -> Measurement:
    """Alternate the gateway and the reference on one core, the load on the other."""
    async with Cluster(customer=False, cpus={"rest": MEASURED}) as cluster:
        url, key, body = await _listing(cluster)
        body_file = cluster.data_dir / "body.json"
        body_file.write_bytes(body)
        (port,) = free_ports(1)
        constant = Process.spawn(
            [
                sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws",
                "--host", "127.0.0.1", "--port", str(port), "tests.bench.constant_app:app",
            ],
            name="constant",
            env={"CONSTANT_BODY_FILE": str(body_file)},
            log_path=cluster.data_dir / "logs" / "constant.log",
            cpus=MEASURED,
        )  # fmt: skip
        constant_url = f"http://127.0.0.1:{port}/"
        try:
            await constant.wait_ready(answers_http(constant_url))
            pin(cluster.rest.process.pid, MEASURED)
            values, references = [], []
            for _ in range(REPETITIONS):
                references.append(await _load(constant_url, key))
                values.append(await _load(url, key))
        finally:
            await constant.terminate()
    return measured(
        "rest.listing_per_s",
        values,
        unit="answers/s",
        reference="granian, constant bytes",
        reference_values=references,
        packages=["granian", "starlette", "msgspec", "uvloop"],
        notes={"bytes an answer": len(body), "listeners": LISTENERS},
    )


async def _listing(cluster: Cluster) -> tuple[str, str, bytes]:
    """An account with ten listeners: (URL of the listing, its key, the answer's bytes)."""
    admin_key = await cluster.first_admin()
    async with Rest(cluster.rest_url, admin_key) as admin:
        user_id, key = await steps.make_account(admin, OWNER)
    async with Rest(cluster.rest_url, key) as owner:
        await steps.publish_algorithm(
            owner, owner=OWNER, name=NAME, source={"endpoint_url": cluster.rest_url + "/healthz"}
        )
        for number in range(LISTENERS):
            body = {
                "sourceType": "AmazonSQS",
                "sourceURI": f"https://sqs.us-west-2.amazonaws.com/783449028191/queue-{number}",
                "algoOwner": OWNER,
                "algoName": NAME,
                "credentials": f"arn:aws:iam::783449028191:role/reader-{number}",
            }
            await owner.post(f"/v1/users/{user_id}/event-listeners", body)
    url = f"{cluster.rest_url}/v1/users/{user_id}/event-listeners"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Simple {key}"}) as session,
        session.get(url) as answer,
    ):
        answer.raise_for_status()
        return url, key, await answer.read()


async def _load(url: str, key: str) -> float:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.http_load", url, str(LOAD_S),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    pin(run.pid, OTHERS)
    async with asyncio.timeout(LOAD_S + 30):
        output, _ = await run.communicate(f"{key}\n".encode())
    if run.returncode != 0:
        raise RuntimeError(f"the load generator ended with {run.returncode}")
    return float(output)
