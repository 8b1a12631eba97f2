"""`make chaos [FAULT=name,…] [MINUTES=n] [SEED=n]`: the long form of the fault suite.

Without FAULT: every fault, then all at random. Without MINUTES: ten for each, so more than two
hours in all. Ends with the table, and with 1 when a promise was broken. Ctrl-C ends every process;
the table has what was finished.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
import time

from aiokafka.errors import KafkaError
from devstack import DevstackError
from devstack.rest import RestRefused

from examples.demo.steps import StepFailed
from tests.support.chaos_report import Report, broken_off, table
from tests.support.chaos_run import Plan, run_fault
from tests.support.chaos_strikes import RANDOM, STRIKES
from tests.support.chaos_world import World, running_world

MINUTES_EACH = 10.0
FAULTS = (*STRIKES, RANDOM)


async def main(faults: list[str], minutes: float | None, seed: int, reports: list[Report]) -> None:
    """One cluster for all faults; each has flows of its own, and adds its report."""
    async with running_world() as world:
        print(f"logs: {world.cluster.data_dir / 'logs'}", flush=True)
        for fault in faults:
            seconds = 60 * (MINUTES_EACH if minutes is None else minutes)
            print(f"{time.strftime('%H:%M:%S')} {fault}: {seconds:g} s …", flush=True)
            reports.append(await _report(world, Plan(fault=fault, seconds=seconds, seed=seed)))
            print(table(reports[-1:]), flush=True)


async def _report(world: World, plan: Plan) -> Report:
    """What a fault came to. One that ends in an error does not end the others."""
    try:
        return await run_fault(world, plan)
    except (DevstackError, StepFailed, RestRefused, KafkaError, OSError, TimeoutError) as error:
        await world.mend()
        return broken_off(plan.fault, error)


def wanted() -> tuple[list[str], float | None, int]:
    """What the environment asks for. Ends the program when it asks for what there is not."""
    faults = [name for name in os.environ.get("FAULT", "").split(",") if name] or list(FAULTS)
    if unknown := set(faults) - set(FAULTS):
        sys.exit(f"no fault {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    minutes = os.environ.get("MINUTES", "")
    seed = os.environ.get("SEED", "") or str(random.SystemRandom().randrange(1_000_000))
    return faults, float(minutes) if minutes else None, int(seed)


if __name__ == "__main__":
    what = wanted()
    print(f"SEED={what[2]}", flush=True)
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # it tells of every broker that is away
    found: list[Report] = []
    try:
        asyncio.run(main(*what, found))
    except KeyboardInterrupt as error:
        found.append(broken_off("Ctrl-C", error))
    finally:
        print(f"\nSEED={what[2]}\n{table(found)}", flush=True)
    sys.exit(any(one.problems for one in found))
