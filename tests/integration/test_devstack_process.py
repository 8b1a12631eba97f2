"""A process of ours ends when it is told, and never outlives us."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from devstack import DataDir, DevstackError, DiedAtStart, NotReadyInTime, Process

LIMIT_S = 10.0
SLEEP_FOR_EVER = ["sleep", "infinity"]

# Starts what an unlucky run would have: a server with backends of its own and a plain process.
DOOMED_PARENT = """
import asyncio, json
from pathlib import Path
from devstack import Postgres, Process

async def main():
    postgres = Postgres()
    await postgres.start()
    plain = Process.spawn(["sleep", "infinity"], log_path=postgres.data_dir / "plain.log")
    master = postgres.process.pid
    backends = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    pids = [plain.pid, master, *map(int, backends)]
    print(json.dumps({"pids": pids, "folder": str(postgres.data_dir)}), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_servers_and_folders_of_a_killed_run_vanish() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DOOMED_PARENT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        told = json.loads(await parent.stdout.readline())
    handles = [os.pidfd_open(pid) for pid in told["pids"]]
    assert len(handles) > 3, "PostgreSQL has no backends?"
    parent.kill()
    try:
        await asyncio.gather(*(_gone(handle) for handle in handles))
    finally:
        await parent.communicate()
    DataDir(name="next-run").discard()
    assert not Path(told["folder"]).exists()


async def test_a_folder_in_use_is_not_swept() -> None:
    first, second = DataDir(name="first"), DataDir(name="second")
    assert first.path.is_dir()
    second.discard()
    first.discard()


async def test_a_process_that_dies_at_start_gives_its_code_its_log_and_its_last_words(
    tmp_path: Path,
) -> None:
    broken = _spawn(tmp_path, "sh", "-c", "echo disk full >&2; exit 3")
    with pytest.raises(DiedAtStart, match="code 3") as death:
        await broken.wait_ready(_never)
    assert str(broken.log_path) in str(death.value)
    assert "disk full" in str(death.value)


async def test_a_program_that_does_not_exist_is_named_in_the_log(tmp_path: Path) -> None:
    absent = _spawn(tmp_path, "no-such-program")
    with pytest.raises(DiedAtStart, match="cannot run no-such-program: No such file"):
        await absent.wait_ready(_never)


async def test_a_process_that_never_answers_is_reported_with_the_last_refusal(
    tmp_path: Path,
) -> None:
    silent = _spawn(tmp_path, *SLEEP_FOR_EVER)
    try:
        with pytest.raises(NotReadyInTime, match=r"within 0\.2 s .*nobody home"):
            await silent.wait_ready(_refuse, timeout_s=0.2)
        with pytest.raises(NotReadyInTime, match="still waiting"):
            await silent.wait_ready(_never, timeout_s=0.2)
    finally:
        silent.kill()
    assert silent.returncode == -signal.SIGKILL


async def test_a_process_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    deaf = _spawn(tmp_path, "sh", "-c", "trap '' TERM; setsid sleep infinity & echo $!; wait; wait")
    await deaf.wait_ready(lambda: _first_line(deaf))
    child = os.pidfd_open(int(await _first_line(deaf)))
    assert await deaf.terminate(timeout_s=0.2) == -signal.SIGKILL
    await _gone(child)


async def test_stopping_politely_also_ends_the_children_left_behind(tmp_path: Path) -> None:
    careless = _spawn(tmp_path, "sh", "-c", "setsid sleep infinity & echo $!; wait")
    await careless.wait_ready(lambda: _first_line(careless))
    child = os.pidfd_open(int(await _first_line(careless)))
    assert await careless.terminate() == -signal.SIGTERM
    assert await careless.terminate() == -signal.SIGTERM, "harmless twice"
    await _gone(child)


async def test_a_process_gets_its_environment_its_folder_and_its_cpu(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    script = "import os; print(os.environ['COLOUR'], os.getcwd(), os.sched_getaffinity(0))"
    process = Process.spawn(
        [sys.executable, "-c", script],
        log_path=tmp_path / "log",
        env={"COLOUR": "blue"},
        cwd=tmp_path,
        cpus={cpu},
    )
    assert await process.wait(timeout_s=LIMIT_S) == 0
    assert process.log_tail() == f"blue {tmp_path} {{{cpu}}}"


async def test_a_paused_process_is_still_there_and_can_be_stopped(tmp_path: Path) -> None:
    process = _spawn(tmp_path, *SLEEP_FOR_EVER)
    process.pause()
    assert process.running
    assert await process.terminate() == -signal.SIGTERM


async def test_once_paused_nothing_of_a_process_runs_any_more(tmp_path: Path) -> None:
    busy = "for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; echo busy; wait"
    process = _spawn(tmp_path, "sh", "-c", busy)
    await process.wait_ready(lambda: _first_line(process))
    process.pause()
    states = [child.status() for child in psutil.Process(process.pid).children()]
    process.kill()
    assert states == [psutil.STATUS_STOPPED] * 8


async def test_spawning_outside_the_main_thread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DevstackError, match="main thread"):
        await asyncio.to_thread(_spawn, tmp_path, *SLEEP_FOR_EVER)


def _spawn(folder: Path, *argv: str) -> Process:
    return Process.spawn(argv, log_path=folder / "process.log")


async def _never() -> None:
    await asyncio.Event().wait()


async def _refuse() -> None:
    raise ConnectionError("nobody home")


async def _first_line(process: Process) -> str:
    return process.log_tail().splitlines()[0]


async def _gone(handle: int) -> None:
    """Wait until the process behind a pidfd has ended; closes the handle."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        async with asyncio.timeout(LIMIT_S):
            await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
