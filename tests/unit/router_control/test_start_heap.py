"""The garbage collector is spared what stands for good."""

import asyncio
import gc
import weakref

from router.entrypoints.start_heap import StartHeap


async def test_what_stands_at_the_start_is_not_walked_by_later_collections() -> None:
    started, here = asyncio.Event(), [object()]
    running = asyncio.create_task(StartHeap(started).run())
    try:
        await asyncio.sleep(0)
        assert any(one is here for one in gc.get_objects())
        started.set()
        await running
        assert not any(one is here for one in gc.get_objects())
    finally:
        gc.unfreeze()


async def test_garbage_in_a_circle_is_freed_before() -> None:
    class Link:
        def __init__(self) -> None:
            self.itself = self

    freed: list[bool] = []
    was = gc.isenabled()
    gc.disable()
    try:
        weakref.finalize(Link(), freed.append, True)
        started = asyncio.Event()
        started.set()
        await StartHeap(started).run()
        assert freed == [True]
    finally:
        gc.unfreeze()
        if was:
            gc.enable()
