"""A small Faust worker that shows one behaviour; run as a process by the tests of this folder.

    python hazard_app.py '{"case": "agent", "bootstrap": "127.0.0.1:9092", …}'

Each record's offset goes to the journal when its work begins (`began 7`) and when it is done
(`done 7`), one `write` a line, so the journal is whole also after SIGKILL. A record whose value
begins with `slow` takes `slow_s`; with `bad` it raises, while `raises` is set.
"""

import asyncio
import json
import os
import sys
from typing import Any

import mode.loop

mode.loop.use("uvloop")

import faust  # noqa: E402

OPTIONS = json.loads(sys.argv[1])
JOURNAL = os.open(OPTIONS["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(word: str, offset: object) -> None:
    os.write(JOURNAL, f"{word} {offset}\n".encode())


async def work(value: bytes) -> None:
    word, offset = value.decode().split()
    note("began", offset)
    if word == "slow":
        await asyncio.sleep(OPTIONS["slow_s"])
    if word == "bad" and OPTIONS["raises"]:
        raise ValueError("a bad record")
    if OPTIONS["work_s"]:
        await asyncio.sleep(OPTIONS["work_s"])
    note("done", offset)


async def plain(stream: Any) -> None:
    async for value in stream:
        await work(value)


async def in_batches(stream: Any) -> None:
    async for batch in stream.take(10, within=0.5):
        for value in batch:
            await work(value)


async def acked_by_hand(stream: Any) -> None:
    """Every record in a task of its own, acknowledged when it is done."""
    tasks: set[asyncio.Future[None]] = set()

    async def one(event: Any) -> None:
        await work(event.value)
        event.ack()

    async for event in stream.noack().events():
        task = asyncio.ensure_future(one(event))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def copying(app: Any, stream: Any) -> None:
    """Sends every record on to the topic `copies`, in Faust's transactions if those are on."""
    copies = app.topic(OPTIONS["copies"], value_type=bytes)
    async for value in stream:
        await copies.send(value=value)
        await work(value)


async def growing(app: Any, stream: Any) -> None:
    """Subscribes to the topics `added` at run time, one after the other, by Faust's own recipe."""
    first = True
    async for value in stream:
        await work(value)
        if first:
            first = False
            app.add_future(add_topics(app))


async def add_topics(app: Any) -> None:
    for name in OPTIONS["added"]:

        async def take(stream: Any) -> None:
            async for _ in stream:
                note("added", 0)

        agent = app.agent(app.topic(name, value_type=bytes), name=f"agent of {name}")(take)
        await agent.start()
        app.agents.update_topic_index()
        note("subscribed", 0)
        await asyncio.sleep(OPTIONS["added_pause_s"])


def make_app() -> Any:
    app = faust.App(
        OPTIONS["group"],
        broker=f"kafka://{OPTIONS['bootstrap']}",
        datadir=OPTIONS["data_dir"],
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=OPTIONS["commit_interval_s"],
        **OPTIONS["settings"],
    )
    topic = app.topic(OPTIONS["topic"], value_type=bytes)
    bodies = {"plain": plain, "take": in_batches, "noack": acked_by_hand}
    if OPTIONS["case"] == "copying":

        async def copy(stream: Any) -> None:
            await copying(app, stream)

        bodies["copying"] = copy
    if OPTIONS["case"] == "growing":
        app.topics._resubscribe_sleep_lock_seconds = OPTIONS["resubscribe_s"]

        async def grow(stream: Any) -> None:
            await growing(app, stream)

        bodies["growing"] = grow
    body = bodies[OPTIONS["case"]]
    app.agent(topic, name="agent", concurrency=OPTIONS["concurrency"])(body)
    return app


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    faust.Worker(make_app(), loop=loop, loglevel="warn", quiet=True).execute_from_commandline()
