"""Pin processes to cores, all their threads and children, so that a figure shows one of them."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

MEASURED = {0}
OTHERS = {1}


def pin(pid: int, cpus: set[int]) -> None:
    """Pin a process, its present threads and its present children. New threads inherit it."""
    process = psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        for task in Path(f"/proc/{one.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cpus)


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, user and system."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
