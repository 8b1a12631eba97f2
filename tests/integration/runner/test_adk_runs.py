"""Unmodified ADK algorithms run, fail, crash and hang, and the runner tells what happened."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path

from tests.integration.runner.algorithms import LEGACY, LOADS_UNLESS, REQUIREMENTS, repository
from tests.integration.runner.world import World
from tests.support.runner_catalog import OWNER

GONE_TIMEOUT_S = 10.0


async def test_json_in_json_out(world: World) -> None:
    answer = await world.run("probe", b'{"do": "greet", "number": 1.50}')
    assert answer.status == 200
    assert answer.headers["X-Eventflows-Outcome"] == "succeeded"
    assert answer.json["result"] == {"did": "greet", "loaded": "model"}
    assert answer.json["metadata"]["content_type"] == "json"
    assert 0 <= answer.json["metadata"]["duration"] < 30
    assert answer.json["metadata"]["request_id"].startswith("req-")
    assert "stdout" not in answer.json["metadata"]


async def test_text_in_text_out(world: World) -> None:
    answer = await world.run("probe", "Grüße\n".encode(), content_type="text/plain")
    assert answer.json["result"] == "Grüße\n"
    assert answer.json["metadata"]["content_type"] == "text"


async def test_bytes_in_bytes_out(world: World) -> None:
    data = bytes(range(256)) * 40
    answer = await world.run("probe", data, content_type="application/octet-stream")
    assert base64.b64decode(answer.json["result"]) == data
    assert answer.json["metadata"]["content_type"] == "binary"


async def test_base64_input_is_decoded(world: World) -> None:
    answer = await world.run(
        "probe",
        base64.b64encode(b"\x00\xff"),
        content_type="application/octet-stream",
        Content_Encoding="base64",
        query="?output=raw",
    )
    assert (answer.status, answer.body) == (200, b"\x00\xff")


async def test_an_algorithm_error_is_told_and_the_process_lives_on(world: World) -> None:
    before = (await world.run("probe", json={"do": "pid"})).json["result"]
    answer = await world.run("probe", json={"do": "raise"}, X_Eventflows_Account=OWNER)
    assert answer.status == 200
    assert answer.headers["X-Eventflows-Outcome"] == "failed"
    assert answer.json["error"]["message"] == "no such file"
    assert answer.json["error"]["error_type"] == "InputError"
    assert "InputError: no such file" in answer.json["error"]["stacktrace"]
    assert "duration" in answer.json["metadata"]
    assert (await world.run("probe", json={"do": "pid"})).json["result"] == before


async def test_an_algorithm_exception_without_a_type_is_an_algorithm_error(world: World) -> None:
    answer = await world.run("probe", json={"do": "raise AlgorithmException"})
    assert answer.json["error"] == {"message": "'msg'", "error_type": "AlgorithmError"}


async def test_stdout_is_for_the_owner_who_asks(world: World) -> None:
    mine = await world.run(
        "probe", json={"do": "x"}, query="?stdout=True", X_Eventflows_Account=OWNER
    )
    others = await world.run("probe", json={"do": "x"}, query="?stdout=True")
    assert mine.json["metadata"]["stdout"] == "doing x\n"
    assert "stdout" not in others.json["metadata"]


async def test_not_a_number_is_a_parsing_error(world: World) -> None:
    answer = await world.run("probe", json={"do": "nan"})
    assert answer.json["error"]["error_type"] == "ParsingError"


async def test_a_crash_is_a_system_exit_and_the_next_call_gets_a_fresh_process(
    world: World,
) -> None:
    answer = await world.run("probe", json={"do": "exit"})
    assert answer.status == 200
    assert answer.json["error"]["error_type"] == "SystemExit"
    assert answer.json["error"]["message"] == "exited with code 3\nlast words"
    assert (await world.run("probe", json={"do": "x"})).json["result"]["did"] == "x"


async def test_a_timeout_kills_the_whole_process_group(world: World, tmp_path: Path) -> None:
    pid_file = tmp_path / "pids"
    answer = await world.run(
        "probe", json={"do": "hang", "pid_file": str(pid_file)}, query="?timeout=2"
    )
    assert answer.status == 200
    assert answer.json["error"]["error_type"] == "TimeoutError"
    assert answer.headers["X-Eventflows-Outcome"] == "timed_out"
    child, grandchild = (int(pid) for pid in pid_file.read_text().split())
    await _gone(child)
    await _gone(grandchild)
    fresh = await world.run("probe", json={"do": "pid"})
    assert fresh.json["result"] != child


async def test_a_timeout_that_the_algorithm_raises_is_not_the_platforms(world: World) -> None:
    answer = await world.run("probe", json={"do": "raise TimeoutError"})
    assert answer.json["error"]["error_type"] == "TimeoutError"
    assert answer.headers["X-Eventflows-Outcome"] == "failed"


async def test_nothing_of_the_runners_environment_is_visible_inside(world: World) -> None:
    os.environ["EVENTFLOWS_RUNNER_TEST_MARK"] = "secret"
    try:
        await world.run("probe", json={"do": "exit"})  # the next process starts with the mark set
        answer = await world.run("probe", json={"do": "environment"})
    finally:
        del os.environ["EVENTFLOWS_RUNNER_TEST_MARK"]
    assert set(answer.json["result"]) == {"PATH", "LANG", "HOME", "TMPDIR", "PYTHONPATH"}
    assert world.token not in json.dumps(answer.json)


async def test_a_result_of_12_mb_comes_through_whole(world: World) -> None:
    answer = await world.run("probe", json={"do": "letters", "count": 12_000_000})
    assert answer.json["result"] == "x" * 12_000_000


async def test_a_result_above_15_mb_is_too_large_and_the_process_lives_on(world: World) -> None:
    before = (await world.run("probe", json={"do": "pid"})).json["result"]
    answer = await world.run("probe", json={"do": "letters", "count": 16_000_000})
    assert answer.json["error"]["error_type"] == "TooLargeError"
    assert (await world.run("probe", json={"do": "pid"})).json["result"] == before


async def test_memory_above_the_limit_is_an_error_of_the_run(world: World) -> None:
    count = world.settings.memory_per_process_bytes
    answer = await world.run("probe", json={"do": "allocate", "count": count})
    assert answer.json["error"] == {"message": "MemoryError", "error_type": "OutOfMemoryError"}
    assert (await world.run("probe", json={"do": "x"})).status == 200


async def test_as_many_runs_as_processes_go_on_at_the_same_time(
    world: World, tmp_path: Path
) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    order = {"do": "wait for", "path": str(gate), "started": str(started)}
    runs = [asyncio.create_task(world.run("probe", json=order)) for _ in range(3)]
    await _has_size(started, 2)
    assert started.stat().st_size == 2, "the third waits for a process"
    gate.touch()
    answers = await asyncio.gather(*runs)
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert started.stat().st_size == 3


async def test_a_load_error_answers_every_call(world: World, tmp_path: Path) -> None:
    switch = tmp_path / "broken"
    url = repository(tmp_path / "l", "loads", LOADS_UNLESS.format(switch=switch), REQUIREMENTS)
    algorithm_id = world.registry.add_algorithm("loads", url)
    report = await world.build(algorithm_id)
    world.registry.publish(algorithm_id, report.commit_sha)
    switch.touch()
    for _ in range(2):
        answer = await world.run("loads", b"hello", content_type="text/plain")
        assert answer.status == 200
        assert answer.json["error"] == {"message": "no model here", "error_type": "LoadingError"}


async def test_a_process_that_dies_while_loading_is_a_loading_error(
    world: World, tmp_path: Path
) -> None:
    switch = tmp_path / "broken"
    code = LEGACY + f"\nimport os\nif os.path.exists({str(switch)!r}):\n    os._exit(4)\n"
    algorithm_id = world.registry.add_algorithm("dies", repository(tmp_path / "d", "dies", code))
    report = await world.build(algorithm_id)
    world.registry.publish(algorithm_id, report.commit_sha)
    switch.touch()
    answer = await world.run("dies", b"hello", content_type="text/plain")
    assert answer.json["error"] == {"message": "exited with code 4", "error_type": "LoadingError"}
    switch.unlink()
    assert (await world.run("dies", b"hello", content_type="text/plain")).json["result"] == "hello"


async def test_the_legacy_form_without_an_adk_is_served(world: World, tmp_path: Path) -> None:
    algorithm_id = world.registry.add_algorithm(
        "legacy", repository(tmp_path / "l", "legacy", LEGACY)
    )
    report = await world.build(algorithm_id)
    assert report.succeeded, report.log_tail
    world.registry.publish(algorithm_id, report.commit_sha)
    good = await world.run("legacy", b"\x00", content_type="application/octet-stream")
    bad = await world.run("legacy", b"raise", content_type="text/plain", query="?stdout=true")
    assert good.json["result"] == "AA=="
    assert bad.json["error"] == {"message": "bad", "error_type": "AlgorithmError"}


async def _gone(pid: int) -> None:
    async with asyncio.timeout(GONE_TIMEOUT_S):
        while Path(f"/proc/{pid}").exists() and "Z" not in _state(pid):
            await asyncio.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


async def _has_size(path: Path, size: int) -> None:
    async with asyncio.timeout(GONE_TIMEOUT_S):
        while not path.exists() or path.stat().st_size < size:
            await asyncio.sleep(0.01)
